//! The world around a node's turns.

use std::sync::Arc;

use dispatch_core::ports::{Agents, Publisher, Store, Workspace};

/// The world as a turn needs it.
#[derive(Clone)]
pub struct Ports {
    /// The durable record.
    pub store: Arc<dyn Store>,
    /// Worktrees and checkpoints.
    pub workspace: Arc<dyn Workspace>,
    /// The agents that can be reached.
    pub agents: Arc<dyn Agents>,
    /// Who watches.
    pub publisher: Arc<dyn Publisher>,
}
