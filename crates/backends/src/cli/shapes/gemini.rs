//! `gemini --output-format stream-json`, after recordings of 0.61.0.

use dispatch_core::agent::{
    AgentUpdate, EndedHow, Failure, Notice, NoticeCode, ToolCallPatch, ToolContent, ToolStatus, Usage,
};
use dispatch_core::task::TerminalReason;
use serde_json::Value;

use super::Shape;
use crate::common::json::{take, take_text, text};
use crate::common::oddities::Oddities;
use crate::common::updates::push_text;
use crate::common::{failure, named_tool};

/// Translates one turn.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    conversation: Option<String>,
    /// The last error that was told besides the result, which may hold none.
    error: Option<String>,
    ended: Option<EndedHow>,
    usage: Usage,
}

impl Shape for Gemini {
    fn line(&mut self, mut line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        match text(&line, "type") {
            "init" => self.conversation = take_text(&mut line, "session_id"),
            // The user's own words come back.
            "message" if text(&line, "role") != "assistant" => {}
            "message" => push_text(take_text(&mut line, "content").unwrap_or_default(), into),
            "tool_use" => match take_text(&mut line, "tool_id") {
                Some(id) => {
                    let input = take(&mut line, "parameters").unwrap_or_default();
                    into.extend(named_tool::plan(text(&line, "tool_name"), &input).map(AgentUpdate::Plan));
                    let patch = named_tool::announced(id, text(&line, "tool_name"), input);
                    into.push(AgentUpdate::ToolCall(patch));
                }
                None => oddities.add("tool calls without an id"),
            },
            "tool_result" => match take_text(&mut line, "tool_id") {
                Some(id) => into.push(AgentUpdate::ToolCall(result(id, line))),
                None => oddities.add("results of no tool call"),
            },
            "error" => {
                let said = take_text(&mut line, "message").unwrap_or_default();
                if text(&line, "severity") == "error" {
                    self.error = Some(said);
                } else {
                    into.push(AgentUpdate::Notice(Notice { code: NoticeCode::AgentOddity, text: said }));
                }
            }
            "result" => self.result(line),
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

impl Gemini {
    fn result(&mut self, line: Value) {
        let count = |key: &str| line.get("stats").and_then(|stats| stats.get(key)?.as_u64());
        self.usage = Usage {
            input_tokens: count("input_tokens"),
            output_tokens: count("output_tokens"),
            total_tokens: count("total_tokens"),
            cached_tokens: count("cached"),
            ..Usage::default()
        };
        let said =
            line.get("error").map(|error| text(error, "message").to_owned()).filter(|said| !said.is_empty());
        self.ended = Some(match text(&line, "status") {
            "success" => EndedHow::Completed,
            _ => EndedHow::Failed(match said.or_else(|| self.error.take()) {
                Some(said) => failure::of_message(&said),
                None => {
                    Failure::new(TerminalReason::AgentFailed, "the agent says that it failed, and not why")
                }
            }),
        });
    }
}

fn result(id: String, mut line: Value) -> ToolCallPatch {
    let has_failed = text(&line, "status") != "success";
    let said = take_text(&mut line, "output");
    let said = said.or_else(|| take_text(line.get_mut("error")?, "message")).filter(|said| !said.is_empty());
    ToolCallPatch {
        id,
        status: Some(if has_failed { ToolStatus::Failed } else { ToolStatus::Completed }),
        content: said.map(|text| vec![ToolContent::Text { text }]),
        ..ToolCallPatch::default()
    }
}
