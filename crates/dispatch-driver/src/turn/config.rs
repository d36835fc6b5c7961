//! What turns are given by their node.

use std::sync::Arc;

use dispatch_core::{permission::PermissionRule, profile::TurnLimits};

/// What is the same for all turns of a node.
#[derive(Debug, Clone)]
pub struct TurnConfig {
    /// Their limits.
    pub limits: TurnLimits,
    /// The rules by which permission requests are answered under the policy `auto`.
    pub rules: Arc<[PermissionRule]>,
    /// What their processes are tagged with.
    pub run_tag: String,
    /// Whether a task whose agent is missing may run natively instead.
    pub may_fall_back: bool,
}

impl TurnConfig {
    /// The default limits, no rules, no falling back.
    #[must_use]
    pub fn new(run_tag: impl Into<String>) -> Self {
        let limits = TurnLimits::default();
        Self { limits, rules: Arc::default(), run_tag: run_tag.into(), may_fall_back: false }
    }
}
