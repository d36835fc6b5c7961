//! `opencode run --format json`, after recordings of 1.18.33.

use dispatch_core::agent::{
    AgentUpdate, Cost, EndedHow, Failure, ToolCallPatch, ToolContent, ToolStatus, Usage,
};
use dispatch_core::task::TerminalReason;
use serde_json::Value;

use super::{Paragraphs, Shape};
use crate::common::json::{take, take_text, text};
use crate::common::oddities::Oddities;
use crate::common::updates::push_reasoning;
use crate::common::{failure, named_tool};

/// Translates one turn.
#[derive(Debug, Default)]
pub(super) struct Opencode {
    conversation: Option<String>,
    paragraphs: Paragraphs,
    failure: Option<Failure>,
    usage: Usage,
    cost: Option<f64>,
}

impl Shape for Opencode {
    fn line(&mut self, mut line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        if self.conversation.is_none() {
            self.conversation = take_text(&mut line, "sessionID");
        }
        let mut part = take(&mut line, "part").unwrap_or_default();
        match text(&line, "type") {
            "step_start" => {}
            "text" => self.paragraphs.message(take_text(&mut part, "text").unwrap_or_default(), into),
            "reasoning" => {
                self.paragraphs.end();
                push_reasoning(take_text(&mut part, "text").unwrap_or_default(), into);
            }
            "tool_use" => {
                self.paragraphs.end();
                self.tool(part, into, oddities);
            }
            "step_finish" => self.step(&part),
            "error" => self.failure = Some(error(take(&mut line, "error").unwrap_or_default())),
            other => oddities.add_word("line of unknown type", other),
        }
    }

    /// It says nothing of its end: its exit does.
    fn ended(&self) -> Option<EndedHow> {
        None
    }

    fn trouble(&self) -> Option<Failure> {
        self.failure.clone()
    }

    fn says_when_done(&self) -> bool {
        false
    }

    fn usage(&self) -> Usage {
        let cost = self.cost.map(|amount| Cost { amount, currency: "USD".to_owned() });
        Usage { cost, ..self.usage.clone() }
    }

    fn conversation(&self) -> Option<&str> {
        self.conversation.as_deref()
    }
}

impl Opencode {
    /// A call comes once, when it has ended.
    fn tool(&self, mut part: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        let Some(id) = take_text(&mut part, "callID") else {
            return oddities.add("tool calls without an id");
        };
        let name = take_text(&mut part, "tool").unwrap_or_default();
        let mut state = take(&mut part, "state").unwrap_or_default();
        let input = take(&mut state, "input").unwrap_or_default();
        into.extend(named_tool::plan(&name, &input).map(AgentUpdate::Plan));
        let has_failed = text(&state, "status") == "error";
        let said = take_text(&mut state, if has_failed { "error" } else { "output" })
            .filter(|said| !said.is_empty());
        let mut patch: ToolCallPatch = named_tool::announced(id, &name, input);
        patch.status = Some(if has_failed { ToolStatus::Failed } else { ToolStatus::Completed });
        if has_failed || patch.content.is_none() {
            let said = said.map(|text| ToolContent::Text { text });
            patch.content = Some(patch.content.into_iter().flatten().chain(said).collect());
        }
        into.push(AgentUpdate::ToolCall(patch));
    }

    /// One call of the model.
    fn step(&mut self, part: &Value) {
        let count = |at: &str| part.pointer(at).and_then(Value::as_u64);
        let cached = count("/tokens/cache/read");
        let read = count("/tokens/input").map(|input| {
            input
                .saturating_add(cached.unwrap_or(0))
                .saturating_add(count("/tokens/cache/write").unwrap_or(0))
        });
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        };
        add(&mut self.usage.input_tokens, read);
        add(&mut self.usage.output_tokens, count("/tokens/output"));
        add(&mut self.usage.total_tokens, count("/tokens/total"));
        add(&mut self.usage.cached_tokens, cached);
        self.usage.context_used = count("/tokens/total").or(self.usage.context_used);
        if let Some(cost) =
            part.get("cost").and_then(Value::as_f64).filter(|cost| cost.is_finite() && *cost >= 0.0)
        {
            self.cost = Some(self.cost.unwrap_or(0.0) + cost);
        }
        if text(part, "reason") == "length" {
            let text = "the agent stopped at the model's output limit";
            self.failure = Some(Failure::new(TerminalReason::AgentFailed, text));
        }
    }
}

fn error(mut error: Value) -> Failure {
    let name = take_text(&mut error, "name").unwrap_or_default();
    let mut data = take(&mut error, "data").unwrap_or_default();
    let status = data.get("statusCode").and_then(Value::as_i64).and_then(failure::reason_of_status);
    let said =
        take_text(&mut data, "message").filter(|said| !said.is_empty()).unwrap_or_else(|| name.clone());
    let Failure { reason, text } = failure::of_message(&said);
    let by_name = match name.as_str() {
        "ProviderAuthError" => Some(TerminalReason::Unauthorised),
        "ContentFilterError" => Some(TerminalReason::ModelRefused),
        "ContextOverflowError" => Some(TerminalReason::ContextTooLong),
        _ => None,
    };
    Failure::new(by_name.or(status).unwrap_or(reason), text)
}
