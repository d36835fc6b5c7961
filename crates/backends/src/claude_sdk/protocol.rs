//! What is said to Claude Code: one JSON object a line. A line that is no JSON makes it exit.

use serde_json::{Value, json};

/// A prompt, which begins a turn.
pub(super) fn user(text: &str) -> Value {
    json!({
        "type": "user",
        "message": {"role": "user", "content": text},
        "parent_tool_use_id": null,
        "session_id": "",
    })
}

/// A prompt, as the line that a program is given which takes only one.
pub(crate) fn prompt_line(text: &str) -> String {
    format!("{}\n", user(text))
}

/// A request of ours; its answer carries `id`.
pub(super) fn request(id: &str, request: Value) -> Value {
    json!({"type": "control_request", "request_id": id, "request": request})
}

/// Asks it to end its turn. An idle one takes it without harm.
pub(super) fn interrupt(id: &str) -> Value {
    request(id, json!({"subtype": "interrupt"}))
}

/// Leave to use a tool with these arguments, this once.
pub(super) fn allow(id: &str, input: &Value) -> Value {
    answer(id, json!({"behavior": "allow", "updatedInput": input}))
}

/// No leave; the turn goes on.
pub(super) fn deny(id: &str, why: &str) -> Value {
    answer(id, json!({"behavior": "deny", "message": why, "interrupt": false}))
}

/// A request of the agent's that this build does not serve.
pub(super) fn unserved(id: &str, subtype: &str) -> Value {
    let error = format!("unsupported control request: {subtype}");
    json!({"type": "control_response", "response": {"subtype": "error", "request_id": id, "error": error}})
}

fn answer(id: &str, response: Value) -> Value {
    json!({"type": "control_response", "response": {"subtype": "success", "request_id": id, "response": response}})
}
