//! What was thought and done in a turn.

use dispatch_core::agent::{AgentUpdate, ToolCall};

use crate::support::said::Said;

impl Said {
    pub fn reasoning(&self) -> String {
        self.all(|update| match update {
            AgentUpdate::Reasoning(text) => Some(text.as_str()),
            _ => None,
        })
        .concat()
    }

    /// The tool calls, merged.
    pub fn tools(&self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = Vec::new();
        for update in &self.0 {
            if let AgentUpdate::ToolCall(patch) = update {
                match calls.iter_mut().find(|call| call.id == patch.id) {
                    Some(call) => call.apply(patch.clone()),
                    None => calls.push(ToolCall::begin(patch.clone())),
                }
            }
        }
        calls
    }
}
