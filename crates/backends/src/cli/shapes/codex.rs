//! `codex exec --json`, after recordings and the sources of its events.

use std::collections::HashMap;

use dispatch_core::agent::{
    AgentUpdate, EndedHow, Failure, Notice, NoticeCode, PlanEntry, ToolCallPatch, ToolContent, ToolStatus,
    Usage,
};
use dispatch_core::task::TerminalReason;
use serde_json::Value;

use super::{Paragraphs, Shape};
use crate::common::failure;
use crate::common::id_hash::id_hash;
use crate::common::json::{take, take_list, take_text, text};
use crate::common::named_tool::result_text;
use crate::common::oddities::Oddities;
use crate::common::updates::push_reasoning;

/// Warnings that are shown.
const MOST_WARNINGS: usize = 5;
/// Messages that may be growing at once.
const GROWING: usize = 64;

/// Translates one turn.
#[derive(Debug, Default)]
pub(super) struct Codex {
    conversation: Option<String>,
    paragraphs: Paragraphs,
    /// Bytes shown of messages that are not complete.
    shown: HashMap<u64, usize>,
    warnings: Vec<String>,
    has_told_retry: bool,
    /// The last error of the model's service, which it tries to overcome.
    error: Option<String>,
    ended: Option<EndedHow>,
    usage: Usage,
}

impl Shape for Codex {
    fn line(&mut self, mut line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        match text(&line, "type") {
            "thread.started" => self.conversation = take_text(&mut line, "thread_id"),
            "turn.started" => {}
            "item.started" | "item.updated" | "item.completed" => {
                let is_complete = text(&line, "type") == "item.completed";
                match take(&mut line, "item") {
                    Some(item) => self.item(item, is_complete, into, oddities),
                    None => oddities.add("items without content"),
                }
            }
            "error" => {
                let said = take_text(&mut line, "message").unwrap_or_default();
                if !std::mem::replace(&mut self.has_told_retry, true) {
                    let text = format!("a call of the model failed; the agent tries it again: {said}");
                    into.push(AgentUpdate::Notice(Notice { code: NoticeCode::AgentOddity, text }));
                }
                self.error = Some(said);
            }
            "turn.completed" => {
                self.usage = line.get("usage").map(tokens).unwrap_or_default();
                self.ended = Some(EndedHow::Completed);
            }
            "turn.failed" => {
                let said = line.get_mut("error").and_then(|error| take_text(error, "message"));
                self.ended = Some(EndedHow::Failed(self.failure(said)));
            }
            other => oddities.add_word("line of unknown type", other),
        }
    }

    fn ended(&self) -> Option<EndedHow> {
        self.ended.clone()
    }

    fn trouble(&self) -> Option<Failure> {
        self.error.as_deref().map(failure::of_message)
    }

    fn says_when_done(&self) -> bool {
        true
    }

    fn usage(&self) -> Usage {
        self.usage.clone()
    }

    fn conversation(&self) -> Option<&str> {
        self.conversation.as_deref()
    }
}

impl Codex {
    fn failure(&self, said: Option<String>) -> Failure {
        match said.or_else(|| self.error.clone()) {
            Some(said) => failure::of_message(&said),
            None => Failure::new(TerminalReason::AgentFailed, "the agent says that it failed, and not why"),
        }
    }

    fn item(
        &mut self,
        mut item: Value,
        is_complete: bool,
        into: &mut Vec<AgentUpdate>,
        oddities: &mut Oddities,
    ) {
        let Some(id) = take_text(&mut item, "id") else { return oddities.add("items without an id") };
        let kind = take_text(&mut item, "type").unwrap_or_default();
        if kind != "agent_message" {
            self.paragraphs.end();
        }
        // An answer after errors: they were overcome.
        if matches!(kind.as_str(), "agent_message" | "command_execution" | "file_change" | "mcp_tool_call") {
            self.error = None;
        }
        match kind.as_str() {
            "agent_message" => {
                let (is_first, news) =
                    self.news(&id, take_text(&mut item, "text").unwrap_or_default(), is_complete);
                if is_first {
                    self.paragraphs.message(news, into);
                } else {
                    crate::common::updates::push_text(news, into);
                }
            }
            "reasoning" => {
                let (_, news) = self.news(&id, take_text(&mut item, "text").unwrap_or_default(), is_complete);
                push_reasoning(news, into);
            }
            "todo_list" => into.push(AgentUpdate::Plan(plan(&mut item))),
            "error" => self.warning(take_text(&mut item, "message").unwrap_or_default(), into),
            "command_execution" => into.push(AgentUpdate::ToolCall(command(id, item))),
            "file_change" => into.push(AgentUpdate::ToolCall(file_change(id, item))),
            "mcp_tool_call" => into.push(AgentUpdate::ToolCall(mcp_call(id, item))),
            "web_search" => into.push(AgentUpdate::ToolCall(web_search(id, &item, is_complete))),
            other => oddities.add_word("item of unknown type", other),
        }
    }

    /// What of a message that grows was not shown yet, and whether it is its beginning.
    fn news(&mut self, id: &str, whole: String, is_complete: bool) -> (bool, String) {
        let id = id_hash(id);
        let shown = if is_complete { self.shown.remove(&id) } else { self.shown.get(&id).copied() };
        if !is_complete && (shown.is_some() || self.shown.len() < GROWING) {
            self.shown.insert(id, whole.len());
        } else if !is_complete {
            return (true, String::new());
        }
        match shown {
            None => (true, whole),
            Some(shown) => (false, whole.get(shown..).unwrap_or_default().to_owned()),
        }
    }

    /// Not the turn's failure: codex goes on.
    fn warning(&mut self, said: String, into: &mut Vec<AgentUpdate>) {
        if self.warnings.len() < MOST_WARNINGS && !self.warnings.contains(&said) {
            self.warnings.push(said.clone());
            into.push(AgentUpdate::Notice(Notice { code: NoticeCode::AgentOddity, text: said }));
        }
    }
}

fn tokens(usage: &Value) -> Usage {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    let (input, output) = (count("input_tokens"), count("output_tokens"));
    Usage {
        input_tokens: input,
        output_tokens: output,
        total_tokens: input.zip(output).map(|(input, output)| input + output),
        cached_tokens: count("cached_input_tokens"),
        ..Usage::default()
    }
}

fn plan(item: &mut Value) -> Vec<PlanEntry> {
    let entry = |mut step: Value| {
        let is_done = step.get("completed").and_then(Value::as_bool).unwrap_or(false);
        let status = if is_done { "completed" } else { "pending" };
        Some(PlanEntry {
            content: take_text(&mut step, "text")?,
            status: status.to_owned(),
            priority: String::new(),
        })
    };
    take_list(item, "items").into_iter().filter_map(entry).collect()
}

fn status(item: &Value) -> ToolStatus {
    match text(item, "status") {
        "completed" => ToolStatus::Completed,
        "failed" | "declined" => ToolStatus::Failed,
        _ => ToolStatus::InProgress,
    }
}

fn command(id: String, mut item: Value) -> ToolCallPatch {
    let status = status(&item);
    let output = take_text(&mut item, "aggregated_output").filter(|output| !output.is_empty());
    let exit = take(&mut item, "exit_code");
    let command = take_text(&mut item, "command");
    ToolCallPatch {
        id,
        title: command.clone(),
        kind: Some("execute".to_owned()),
        status: Some(status),
        content: output.map(|text| vec![ToolContent::Text { text }]),
        input: command.map(|command| serde_json::json!({"command": command})),
        output: exit.map(|code| serde_json::json!({"exit_code": code})),
        ..ToolCallPatch::default()
    }
}

fn file_change(id: String, mut item: Value) -> ToolCallPatch {
    let status = status(&item);
    let changes = take_list(&mut item, "changes");
    let paths: Vec<String> = changes.iter().map(|change| text(change, "path").to_owned()).collect();
    let words: Vec<String> = changes
        .iter()
        .take(5)
        .map(|change| format!("{} {}", text(change, "kind"), text(change, "path")))
        .collect();
    let more = if changes.len() > words.len() { ", …" } else { "" };
    ToolCallPatch {
        id,
        title: Some(format!("{}{more}", words.join(", "))),
        kind: Some("edit".to_owned()),
        status: Some(status),
        locations: Some(paths),
        input: Some(Value::Array(changes)),
        ..ToolCallPatch::default()
    }
}

fn mcp_call(id: String, mut item: Value) -> ToolCallPatch {
    let said = item.get_mut("error").and_then(|error| take_text(error, "message"));
    let said =
        said.or_else(|| item.get("result")?.get("content").map(result_text)).filter(|said| !said.is_empty());
    ToolCallPatch {
        id,
        title: Some(format!("{} {}", text(&item, "server"), text(&item, "tool"))),
        kind: Some("other".to_owned()),
        status: Some(status(&item)),
        content: said.map(|text| vec![ToolContent::Text { text }]),
        input: take(&mut item, "arguments"),
        ..ToolCallPatch::default()
    }
}

fn web_search(id: String, item: &Value, is_complete: bool) -> ToolCallPatch {
    ToolCallPatch {
        id,
        title: Some(format!("web search {}", text(item, "query"))),
        kind: Some("fetch".to_owned()),
        status: Some(if is_complete { ToolStatus::Completed } else { ToolStatus::InProgress }),
        ..ToolCallPatch::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_that_grows_is_shown_once_and_warnings_are_no_failure() {
        let (mut codex, mut oddities, mut into) = (Codex::default(), Oddities::default(), Vec::new());
        let item = |kind: &str, id: &str, text: &str| json!({"type": kind, "item": {"id": id, "type": "agent_message", "text": text}});
        let warning =
            json!({"type": "item.completed", "item": {"id": "w", "type": "error", "message": "careful"}});
        for line in [
            item("item.started", "a", "On"),
            item("item.updated", "a", "One"),
            item("item.completed", "a", "One."),
            item("item.completed", "b", "Two."),
            warning.clone(),
            warning,
            json!({"type": "item.updated", "item": {"id": "t", "type": "todo_list", "items": [
                {"text": "x", "completed": true}, {"text": "y", "completed": false}]}}),
        ] {
            codex.line(line, &mut into, &mut oddities);
        }
        let plan = |content: &str, status: &str| PlanEntry {
            content: content.into(),
            status: status.into(),
            priority: String::new(),
        };
        let notice = Notice { code: NoticeCode::AgentOddity, text: "careful".into() };
        assert_eq!(
            into,
            [
                AgentUpdate::Text("One.\n\nTwo.".into()),
                AgentUpdate::Notice(notice),
                AgentUpdate::Plan(vec![plan("x", "completed"), plan("y", "pending")]),
            ]
        );
        assert_eq!(codex.ended(), None);
    }
}
