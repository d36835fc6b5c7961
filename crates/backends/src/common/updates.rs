//! Appending to a batch of updates.

use dispatch_core::agent::AgentUpdate;

/// Appends text of the answer; text that follows text becomes one piece.
pub(crate) fn push_text(text: String, into: &mut Vec<AgentUpdate>) {
    match into.last_mut() {
        _ if text.is_empty() => {}
        Some(AgentUpdate::Text(last)) => last.push_str(&text),
        _ => into.push(AgentUpdate::Text(text)),
    }
}

/// The same of reasoning.
pub(crate) fn push_reasoning(text: String, into: &mut Vec<AgentUpdate>) {
    match into.last_mut() {
        _ if text.is_empty() => {}
        Some(AgentUpdate::Reasoning(last)) => last.push_str(&text),
        _ => into.push(AgentUpdate::Reasoning(text)),
    }
}
