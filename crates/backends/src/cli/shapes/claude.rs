//! Claude Code's lines, and qwen's.

use dispatch_core::agent::{AgentUpdate, EndedHow, Failure, Usage};
use serde_json::Value;

use super::Shape;
use crate::claude_sdk::Translator;
use crate::common::oddities::Oddities;

/// A process has one turn here, so what it cost is what the turn cost.
#[derive(Debug, Default)]
pub(super) struct Claude(Translator);

impl Shape for Claude {
    fn line(&mut self, line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        self.0.line(line, into, oddities);
    }

    fn ended(&self) -> Option<EndedHow> {
        self.0.outcome().map(|outcome| outcome.how.clone())
    }

    fn trouble(&self) -> Option<Failure> {
        None
    }

    fn says_when_done(&self) -> bool {
        true
    }

    fn usage(&self) -> Usage {
        self.0.outcome().map(|outcome| outcome.usage_after(0.0)).unwrap_or_default()
    }

    fn conversation(&self) -> Option<&str> {
        self.0.conversation()
    }
}
