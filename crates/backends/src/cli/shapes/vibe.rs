//! `vibe --output streaming`, after recordings: entries of its history, each whole.

use dispatch_core::agent::{AgentUpdate, EndedHow, Failure, ToolContent, ToolStatus, Usage};
use serde_json::Value;

use super::{Paragraphs, Shape};
use crate::common::json::{take, take_text, text};
use crate::common::named_tool::{self, result_text};
use crate::common::oddities::Oddities;
use crate::common::updates::push_reasoning;

/// Translates one turn.
#[derive(Debug, Default)]
pub(super) struct Vibe {
    conversation: Option<String>,
    paragraphs: Paragraphs,
}

impl Shape for Vibe {
    fn line(&mut self, mut line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        if self.conversation.is_none() {
            self.conversation = take_text(&mut line, "sessionId");
        }
        match text(&line, "type") {
            "message" if text(&line, "role") == "assistant" => {
                let said = line.get("content").map(result_text).unwrap_or_default();
                self.paragraphs.message(said, into);
            }
            // The user's own words come back.
            "message" => {}
            "reasoning" => {
                self.paragraphs.end();
                push_reasoning(take_text(&mut line, "text").unwrap_or_default(), into);
            }
            "effect" => {
                self.paragraphs.end();
                effect(line, into, oddities);
            }
            other => oddities.add_word("entry of unknown type", other),
        }
    }

    /// It says nothing of its end: its exit does.
    fn ended(&self) -> Option<EndedHow> {
        None
    }

    fn trouble(&self) -> Option<Failure> {
        None
    }

    fn says_when_done(&self) -> bool {
        false
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn conversation(&self) -> Option<&str> {
        self.conversation.as_deref()
    }
}

fn effect(mut line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
    let Some(id) = take_text(&mut line, "id") else { return oddities.add("tool calls without an id") };
    let mut detail = take(&mut line, "detail").unwrap_or_default();
    let mut state = take(&mut line, "state").unwrap_or_default();
    let kind = take_text(&mut detail, "kind").unwrap_or_default();
    let summary = detail.get_mut("display").and_then(|display| take_text(display, "summary"));
    let input = take(&mut detail, "input").unwrap_or_default();
    let mut patch = named_tool::announced(id, &kind, input);
    patch.title = summary.or_else(|| take_text(&mut line, "title")).or(patch.title);
    patch.status = match text(&state, "status") {
        "completed" => Some(ToolStatus::Completed),
        "failed" | "error" | "rejected" | "denied" => Some(ToolStatus::Failed),
        "cancelled" => Some(ToolStatus::Cancelled),
        _ => Some(ToolStatus::InProgress),
    };
    let said = take_text(&mut state, "outputText").filter(|said| !said.is_empty());
    if let Some(text) = said {
        patch.content.get_or_insert_default().push(ToolContent::Text { text });
    }
    into.push(AgentUpdate::ToolCall(patch));
}
