//! Tool calls, and what leave is asked for.

use std::collections::{HashMap, HashSet};

use dispatch_core::agent::{
    OptionKind, PermissionOption, PermissionRequest, ToolCall, ToolCallPatch, ToolContent, ToolStatus,
};
use serde_json::Value;

use super::wire::{Asked, Part, ToolState};
use crate::common::{json, named_tool};

/// Open calls that are remembered; what asks beyond them has less to show.
const REMEMBERED: usize = 256;
/// What is remembered of them takes so many bytes, about. Of calls beyond that it is how they stand.
const BYTES: usize = 4 << 20;
/// Calls that are known to be done; those beyond may be told of again.
const DONE: usize = 16_384;
/// The longest title that is shown, in characters.
const TITLE: usize = 1000;

/// The calls of a turn.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: HashMap<String, Call>,
    /// What is remembered of them, in bytes.
    bytes: usize,
    /// The parts of those that are done.
    done: HashSet<String>,
}

/// A call that is open.
#[derive(Debug)]
struct Call {
    /// What names it in a permission request.
    message: String,
    id: String,
    /// What was said of it, but for its output.
    call: ToolCall,
    /// Whether its arguments were told.
    has_input: bool,
    bytes: usize,
    /// Bytes of output that were shown.
    shown: usize,
}

impl Calls {
    /// What an event about a call changes; `None` when that is nothing. The call's id is its part's: those of models
    /// repeat within a turn.
    pub(super) fn patch(&mut self, part: Part) -> Option<ToolCallPatch> {
        let Part { id: part, message, tool, call, state, .. } = part;
        let (tool, state) = (tool.unwrap_or_default(), state?);
        let status = status(&state.status)?;
        // What is done is told again when it is asked for, and told late when the answer is ahead of the events.
        if self.done.contains(&part) {
            return None;
        }
        let known = self.open.get(&part);
        let shown = known.map_or(0, |known| known.shown);
        let output = output(&state);
        // The whole output comes with every line of it. It is shown when it has doubled, and in the end, so that
        // all that is shown stays below three times its size.
        let is_shown = status.is_terminal() || output.as_ref().is_some_and(|text| text.len() > 2 * shown);
        let output = output.filter(|text| is_shown && !text.is_empty());
        let shown = output.as_ref().map_or(shown, String::len);
        let mut patch = describe(part, &tool, status, state);
        if let Some(Call { call, has_input, .. }) = known {
            patch.status = patch.status.filter(|status| *status != call.status);
            patch.title = patch.title.filter(|title| *title != call.title);
            patch.kind = patch.kind.filter(|kind| *kind != call.kind);
            patch.input = patch.input.filter(|_| !has_input);
            if patch.input.is_none() {
                (patch.content, patch.locations) = (None, None);
            }
        }
        self.learn(&patch, message, call.unwrap_or_default(), status, shown);
        if let Some(text) = output {
            // Diffs stay: they say what the call is about, its output only that it worked.
            let diffs = patch.content.take().or_else(|| self.content(&patch.id)).unwrap_or_default();
            let text = ToolContent::Text { text };
            patch.content = Some(diffs.into_iter().chain([text]).collect());
        }
        if status.is_terminal() {
            self.bytes -= self.open.remove(&patch.id).map_or(0, |call| call.bytes);
            if self.done.len() < DONE {
                self.done.insert(patch.id.clone());
            }
        }
        (patch != nothing(&patch.id)).then_some(patch)
    }

    fn learn(
        &mut self,
        patch: &ToolCallPatch,
        message: String,
        id: String,
        status: ToolStatus,
        shown: usize,
    ) {
        let (has_input, bytes) = (patch.input.is_some(), id.len() + weight(patch));
        let is_kept = self.bytes + bytes <= BYTES;
        let kept = if is_kept { patch.clone() } else { outline(patch) };
        let bytes = if is_kept { bytes } else { 0 };
        if let Some(known) = self.open.get_mut(&patch.id) {
            known.call.apply(kept);
            known.shown = shown;
            known.has_input |= has_input;
            known.bytes += bytes;
        } else if !status.is_terminal() && self.open.len() < REMEMBERED {
            let id = if is_kept { id } else { String::new() };
            let call = ToolCall::begin(kept);
            self.open.insert(patch.id.clone(), Call { message, id, call, has_input, bytes, shown });
        } else {
            return;
        }
        self.bytes += bytes;
    }

    fn content(&self, part: &str) -> Option<Vec<ToolContent>> {
        self.open.get(part).map(|known| known.call.content.clone())
    }

    /// The request that is shown to a person. opencode's `always` is left out: it would hold for all conversations of
    /// the project.
    pub(super) fn request(&self, asked: &Asked) -> PermissionRequest {
        let Asked { id, permission, patterns, metadata, tool, .. } = asked;
        let by = tool.as_ref().and_then(|by| {
            self.open.values().find(|known| known.message == by.message && known.id == by.call)
        });
        let mut call =
            by.map_or_else(|| ToolCall { id: id.clone(), ..ToolCall::default() }, |by| by.call.clone());
        // Leave to go outside is another thing than leave to edit, whichever tool wants it.
        call.kind = match named_tool::kind(permission) {
            "other" => permission.clone(),
            kind => kind.to_owned(),
        };
        let what = metadata.command.clone().unwrap_or_else(|| patterns.join(", "));
        call.title = if what.is_empty() { permission.clone() } else { format!("{permission}: {what}") };
        match &metadata.filepath {
            // For several files it is all their names in one.
            Some(_) if call.kind == "edit" && patterns.len() > 1 => call.locations.clone_from(patterns),
            // What the model wrote may be relative.
            Some(path) => call.locations = vec![path.clone()],
            None => {}
        }
        if let Some(diff) = metadata.diff.as_ref().filter(|_| call.content.is_empty()) {
            call.content.push(ToolContent::Text { text: diff.clone() });
        }
        let option =
            |id: &str, name: &str, kind| PermissionOption { id: id.to_owned(), name: name.to_owned(), kind };
        let options = vec![
            option("once", "Allow once", OptionKind::AllowOnce),
            option("reject", "Reject", OptionKind::RejectOnce),
        ];
        PermissionRequest { id: id.clone(), tool_call: call, options, paths: Vec::new() }
    }
}

/// A patch that changes nothing.
fn nothing(part: &str) -> ToolCallPatch {
    ToolCallPatch { id: part.to_owned(), ..ToolCallPatch::default() }
}

/// What is short of a patch.
fn outline(patch: &ToolCallPatch) -> ToolCallPatch {
    let ToolCallPatch { id, status, title, kind, .. } = patch;
    ToolCallPatch { status: *status, title: title.clone(), kind: kind.clone(), ..nothing(id) }
}

/// What a patch takes in memory, about, in bytes.
fn weight(patch: &ToolCallPatch) -> usize {
    let content = patch.content.iter().flatten().map(|content| match content {
        ToolContent::Text { text } => text.len(),
        ToolContent::Diff { path, old_text, new_text } => {
            path.len() + old_text.as_ref().map_or(0, String::len) + new_text.len()
        }
        ToolContent::Terminal { terminal_id } => terminal_id.len(),
        ToolContent::Other { value } => json::weight(value),
    });
    let locations = patch.locations.iter().flatten().map(String::len);
    let input = patch.input.as_ref().map_or(0, json::weight);
    content.chain(locations).sum::<usize>() + input
}

/// A call as the event tells it.
fn describe(part: String, tool: &str, status: ToolStatus, state: ToolState) -> ToolCallPatch {
    let ToolState { input, title, .. } = state;
    // A call that is announced has no arguments yet.
    let input = input.filter(|input| input.as_object().is_none_or(|members| !members.is_empty()));
    let patch = match input {
        Some(input) => named_tool::announced(part, tool, input),
        None => {
            let (title, kind) = (Some(tool.to_owned()), Some(named_tool::kind(tool).to_owned()));
            ToolCallPatch { id: part, title, kind, ..ToolCallPatch::default() }
        }
    };
    let title = title.filter(|title| !title.is_empty()).or(patch.title);
    let title = title.map(|title| title.chars().take(TITLE).collect());
    ToolCallPatch { status: Some(status), title, ..patch }
}

/// What a call has printed so far, or printed, or why it failed.
fn output(state: &ToolState) -> Option<String> {
    let running = || state.metadata.as_ref()?.output.as_ref().and_then(Value::as_str).map(str::to_owned);
    state.error.clone().or_else(|| state.output.clone()).or_else(running)
}

/// An unknown status says nothing.
fn status(word: &str) -> Option<ToolStatus> {
    match word {
        "pending" => Some(ToolStatus::Pending),
        "running" => Some(ToolStatus::InProgress),
        "completed" => Some(ToolStatus::Completed),
        "error" => Some(ToolStatus::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(state: Value) -> Part {
        let part = json!({"id": "prt_1", "messageID": "msg_1", "type": "tool", "tool": "bash", "callID": "c", "state": state});
        serde_json::from_value(part).unwrap()
    }

    fn running(output: &str) -> Part {
        part(json!({"status": "running", "input": {"command": "make"}, "metadata": {"output": output}}))
    }

    #[test]
    fn a_growing_output_costs_no_more_than_a_few_times_its_size() {
        let mut calls = Calls::default();
        let (mut output, mut shown) = (String::new(), 0);
        let length = |patch: Option<ToolCallPatch>| match patch.and_then(|patch| patch.content).as_deref() {
            Some([ToolContent::Text { text }]) => text.len(),
            _ => 0,
        };
        for _ in 0..10_000 {
            output.push_str("a line\n");
            shown += length(calls.patch(running(&output)));
        }
        assert!(shown > output.len() / 4 && shown <= 2 * output.len(), "{shown}");
        let done = json!({"status": "completed", "input": {"command": "make"}, "output": output});
        assert_eq!(length(calls.patch(part(done))), output.len(), "whole in the end");
    }

    /// An answer may be ahead of the events, which are heard all the same.
    #[test]
    fn what_is_done_is_not_begun_again() {
        let mut calls = Calls::default();
        let done = json!({"status": "completed", "input": {"command": "make"}, "output": "made"});
        assert!(calls.patch(part(done.clone())).is_some());
        assert_eq!((calls.patch(running("")), calls.patch(part(done))), (None, None));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_shown_is_whole() {
        let mut calls = Calls::default();
        let write = |number: usize, status: &str| -> Part {
            let input = json!({"filePath": "a", "content": "x".repeat(1 << 20)});
            let part = json!({"id": format!("prt_{number}"), "messageID": "m", "type": "tool", "tool": "write",
                "callID": format!("c{number}"), "state": {"status": status, "input": input}});
            serde_json::from_value(part).unwrap()
        };
        for number in 0..100 {
            let shown = calls.patch(write(number, "running")).unwrap();
            assert!(shown.input.is_some());
            assert_eq!(calls.patch(write(number, "running")), None, "said before");
        }
        let kept: usize = calls.open.values().map(|known| json::weight(&json!(known.call))).sum();
        assert!(kept <= 2 * BYTES && calls.bytes <= BYTES, "{kept}");
        for number in 0..100 {
            let done = calls.patch(write(number, "completed")).unwrap();
            assert_eq!((done.status, done.input), (Some(ToolStatus::Completed), None));
        }
        assert_eq!((calls.open.len(), calls.bytes), (0, 0));
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let mut calls = Calls::default();
        assert!(calls.patch(running("")).unwrap().input.is_some());
        assert_eq!(calls.patch(running("")), None);
        let done = part(json!({"status": "error", "input": {"command": "make"}, "error": "no"}));
        let patch = calls.patch(done).unwrap();
        assert_eq!((patch.status, patch.input), (Some(ToolStatus::Failed), None));
    }

    #[test]
    fn a_request_shows_the_call_that_asks_and_never_an_always() {
        let mut calls = Calls::default();
        let write = json!({"id": "prt_1", "messageID": "msg_1", "type": "tool", "tool": "write", "callID": "c", "state":
            {"status": "running", "input": {"filePath": "/up/x", "content": "new"}}});
        calls.patch(serde_json::from_value(write).unwrap());
        let asked = |permission: &str, patterns: &[&str]| {
            let asked = json!({"id": "per_1", "sessionID": "s", "permission": permission, "patterns": patterns,
                "metadata": {"filepath": "/up/x"}, "always": ["*"], "tool": {"messageID": "msg_1", "callID": "c"}});
            calls.request(&serde_json::from_value(asked).unwrap())
        };
        let request = asked("edit", &["../up/x"]);
        assert_eq!((request.tool_call.id.as_str(), request.tool_call.kind.as_str()), ("prt_1", "edit"));
        assert_eq!(request.tool_call.locations, ["/up/x"]);
        assert!(
            matches!(&request.tool_call.content[..], [ToolContent::Diff { new_text, .. }] if new_text == "new")
        );
        assert_eq!(asked("edit", &["a", "b"]).tool_call.locations, ["a", "b"]);
        let kinds: Vec<_> = request.options.iter().map(|option| option.kind).collect();
        assert_eq!(kinds, [OptionKind::AllowOnce, OptionKind::RejectOnce]);
        let outside = asked("external_directory", &["/up/*"]).tool_call;
        assert_eq!(
            (outside.kind.as_str(), outside.title.as_str()),
            ("external_directory", "external_directory: /up/*")
        );
    }
}
