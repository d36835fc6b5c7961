//! Tool calls, read leniently: one unknown word in a call must not lose the call.

use std::collections::HashMap;

use dispatch_core::agent::{ToolCall, ToolCallPatch, ToolContent, ToolStatus};
use serde_json::Value;

/// Open calls that are remembered; an agent that has more open asks about its newest ones with less to show.
const REMEMBERED: usize = 256;

/// What was said of the calls that are open, for permission requests that only name one (vibe). Output that grows is
/// not kept.
#[derive(Debug, Default)]
pub(super) struct OpenCalls(HashMap<String, ToolCall>);

impl OpenCalls {
    /// Remembers a patch.
    pub(super) fn learn(&mut self, patch: &ToolCallPatch) {
        if patch.status.is_some_and(ToolStatus::is_terminal) {
            self.0.remove(&patch.id);
            return;
        }
        let is_output = |content: &ToolContent| matches!(content, ToolContent::Text { .. });
        let mut patch = ToolCallPatch { output: None, ..patch.clone() };
        patch.content = patch.content.filter(|content| !content.iter().any(is_output));
        let has_room = self.0.len() < REMEMBERED;
        match self.0.get_mut(&patch.id) {
            Some(call) => call.apply(patch),
            None if has_room => drop(self.0.insert(patch.id.clone(), ToolCall::begin(patch))),
            None => {}
        }
    }

    /// What a permission request adds to what is known: goose's have a poorer title and no kind, opencode's no
    /// locations, and none of them says anything about the call's state. All of it, where nothing is known.
    pub(super) fn news(&self, patch: ToolCallPatch) -> ToolCallPatch {
        let Some(known) = self.0.get(&patch.id) else { return patch };
        ToolCallPatch {
            title: patch.title.filter(|_| known.title.is_empty()),
            kind: patch.kind.filter(|_| known.kind == "other"),
            status: None,
            content: patch.content.filter(|content| !content.is_empty()),
            locations: patch.locations.filter(|locations| !locations.is_empty()),
            ..patch
        }
    }

    /// The call as it stands.
    pub(super) fn get(&self, id: &str) -> Option<&ToolCall> {
        self.0.get(id)
    }
}

/// Reads a `tool_call`, a `tool_call_update` or the `toolCall` of a permission request: each is a patch, since a call
/// may first be seen in any of them. `None` without an id.
pub(super) fn patch(mut call: Value) -> Option<ToolCallPatch> {
    let id = call.get("toolCallId")?.as_str()?.to_owned();
    let mut word = |key: &str| match call.get_mut(key).map(Value::take) {
        Some(Value::String(word)) => Some(word),
        _ => None,
    };
    let (title, kind, status) = (word("title"), word("kind"), word("status"));
    let mut list = |key: &str| match call.get_mut(key).map(Value::take) {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    };
    let (content, locations) = (list("content"), list("locations"));
    let mut value = |key: &str| call.get_mut(key).map(Value::take).filter(|value| !value.is_null());
    Some(ToolCallPatch {
        id,
        title: title.filter(|title| !title.is_empty()),
        kind,
        status: status.as_deref().and_then(self::status),
        content: content.map(|items| items.into_iter().map(self::content).collect()),
        locations: locations.map(|items| items.iter().filter_map(location).collect()),
        input: value("rawInput"),
        output: value("rawOutput"),
    })
}

/// An unknown status changes nothing.
fn status(word: &str) -> Option<ToolStatus> {
    match word {
        "pending" => Some(ToolStatus::Pending),
        "in_progress" => Some(ToolStatus::InProgress),
        "completed" => Some(ToolStatus::Completed),
        "failed" => Some(ToolStatus::Failed),
        "cancelled" => Some(ToolStatus::Cancelled),
        _ => None,
    }
}

fn content(value: Value) -> ToolContent {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let known = match (value.get("type").and_then(Value::as_str), text("/content/type").as_deref()) {
        (Some("content"), Some("text")) => text("/content/text").map(|text| ToolContent::Text { text }),
        (Some("diff"), _) => text("/path").zip(text("/newText")).map(|(path, new_text)| ToolContent::Diff {
            path,
            old_text: text("/oldText"),
            new_text,
        }),
        (Some("terminal"), _) => text("/terminalId").map(|terminal_id| ToolContent::Terminal { terminal_id }),
        _ => None,
    };
    known.unwrap_or(ToolContent::Other { value })
}

fn location(value: &Value) -> Option<String> {
    value.get("path").and_then(Value::as_str).map(str::to_owned)
}
