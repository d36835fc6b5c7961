//! `goose run --output-format stream-json`, after recordings of 1.34.0.

use std::collections::HashMap;

use dispatch_core::agent::{AgentUpdate, EndedHow, Failure, ToolCallPatch, ToolContent, ToolStatus, Usage};
use serde_json::Value;

use super::Shape;
use crate::common::id_hash::id_hash;
use crate::common::json::{take, take_list, take_text, text};
use crate::common::oddities::Oddities;
use crate::common::updates::{push_reasoning, push_text};
use crate::common::{failure, named_tool};

/// Bytes of a last message that may be an error.
const LONGEST_ERROR: usize = 4096;
/// Open calls that are remembered.
const REMEMBERED: usize = 256;

/// Translates one turn.
#[derive(Debug)]
pub(super) struct Goose {
    /// What an error begins with that comes as text, in a turn that ends like any other but without usage.
    error_text: Option<String>,
    last_message: String,
    /// Whether the last message has no id: it is goose's own, and not the model's.
    is_anonymous: bool,
    /// Whether each open call shows a change: its result then only says that it worked.
    calls: HashMap<u64, bool>,
    failure: Option<Failure>,
    usage: Option<Usage>,
}

impl Shape for Goose {
    fn line(&mut self, mut line: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        match text(&line, "type") {
            "message" => match take(&mut line, "message") {
                Some(message) => self.message(message, into, oddities),
                None => oddities.add("messages without content"),
            },
            "complete" => self.usage = Some(tokens(&line)),
            "error" => {
                let said = take_text(&mut line, "error").unwrap_or_default();
                self.failure = Some(failure::of_message(&said));
            }
            "notification" | "model_change" => {}
            other => oddities.add_word("line of unknown type", other),
        }
    }

    fn ended(&self) -> Option<EndedHow> {
        let usage = self.usage.as_ref()?;
        let failure = self.failure.clone().or_else(|| self.error_in_text(usage));
        Some(failure.map_or(EndedHow::Completed, EndedHow::Failed))
    }

    fn trouble(&self) -> Option<Failure> {
        self.failure.clone()
    }

    fn says_when_done(&self) -> bool {
        true
    }

    fn usage(&self) -> Usage {
        self.usage.clone().unwrap_or_default()
    }

    fn conversation(&self) -> Option<&str> {
        None
    }
}

impl Goose {
    pub(super) fn new(error_text: Option<String>) -> Self {
        Self {
            error_text,
            last_message: String::new(),
            is_anonymous: false,
            calls: HashMap::new(),
            failure: None,
            usage: None,
        }
    }

    fn message(&mut self, mut message: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        let is_answer = text(&message, "role") == "assistant";
        let is_shown = message.pointer("/metadata/userVisible").and_then(Value::as_bool).unwrap_or(true);
        let is_anonymous = message.get("id").is_some_and(Value::is_null);
        for mut content in take_list(&mut message, "content") {
            let kind = take_text(&mut content, "type").unwrap_or_default();
            match kind.as_str() {
                "text" if is_answer && is_shown => {
                    self.text(take_text(&mut content, "text").unwrap_or_default(), is_anonymous, into);
                }
                "thinking" | "reasoning" if is_answer => {
                    self.last_message.clear();
                    let said =
                        take_text(&mut content, "thinking").or_else(|| take_text(&mut content, "text"));
                    push_reasoning(said.unwrap_or_default(), into);
                }
                "toolRequest" => self.request(content, into, oddities),
                "toolResponse" => self.response(content, into, oddities),
                "text" | "thinking" | "reasoning" | "redactedThinking" | "systemNotification" => {}
                other => oddities.add_word("content of unknown type", other),
            }
        }
    }

    fn text(&mut self, text: String, is_anonymous: bool, into: &mut Vec<AgentUpdate>) {
        let beginning = self.error_text.as_deref();
        let begins = |text: &str| beginning.is_some_and(|beginning| text.trim_start().starts_with(beginning));
        // goose's own sentence, sent as one piece behind what the model had said.
        if is_anonymous != self.is_anonymous || begins(&text) && !begins(&self.last_message) {
            self.last_message.clear();
        }
        self.is_anonymous = is_anonymous;
        if self.last_message.len() < LONGEST_ERROR {
            self.last_message.push_str(&text);
        }
        push_text(text, into);
    }

    fn request(&mut self, mut content: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        self.last_message.clear();
        let Some(id) = take_text(&mut content, "id") else { return oddities.add("tool calls without an id") };
        let mut call = take(&mut content, "toolCall").unwrap_or_default();
        let mut value = take(&mut call, "value").unwrap_or_default();
        let name = take_text(&mut value, "name").unwrap_or_default();
        let patch = named_tool::announced(id, &name, take(&mut value, "arguments").unwrap_or_default());
        if self.calls.len() < REMEMBERED {
            self.calls.insert(id_hash(&patch.id), patch.content.is_some());
        }
        into.push(AgentUpdate::ToolCall(patch));
    }

    fn response(&mut self, mut content: Value, into: &mut Vec<AgentUpdate>, oddities: &mut Oddities) {
        self.last_message.clear();
        let Some(id) = take_text(&mut content, "id") else { return oddities.add("results of no tool call") };
        let mut result = take(&mut content, "toolResult").unwrap_or_default();
        let error = take_text(&mut result, "error");
        let is_error = result.pointer("/value/isError").and_then(Value::as_bool).unwrap_or(false);
        let has_failed = text(&result, "status") != "success" || is_error;
        let said = error.or_else(|| result.pointer("/value/content").map(named_tool::result_text));
        let shows_change = self.calls.remove(&id_hash(&id)).unwrap_or(false);
        let said = said.filter(|said| !said.is_empty() && (has_failed || !shows_change));
        into.push(AgentUpdate::ToolCall(ToolCallPatch {
            id,
            status: Some(if has_failed { ToolStatus::Failed } else { ToolStatus::Completed }),
            content: said.map(|text| vec![ToolContent::Text { text }]),
            ..ToolCallPatch::default()
        }));
    }

    fn error_in_text(&self, usage: &Usage) -> Option<Failure> {
        let beginning = self.error_text.as_deref()?;
        let is_own = self.is_anonymous && !self.last_message.is_empty();
        let is_error = is_own || self.last_message.trim_start().starts_with(beginning);
        (usage.is_empty() && is_error).then(|| failure::of_text(&self.last_message))
    }
}

fn tokens(line: &Value) -> Usage {
    let count = |key: &str| line.get(key).and_then(Value::as_u64);
    Usage {
        input_tokens: count("input_tokens"),
        output_tokens: count("output_tokens"),
        total_tokens: count("total_tokens"),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ended(messages: &[(Value, &str)], complete: Value) -> EndedHow {
        let (mut goose, mut oddities, mut into) =
            (Goose::new(Some("Ran into".to_owned())), Oddities::default(), Vec::new());
        for (id, text) in messages {
            let content = json!([{"type": "text", "text": text}]);
            let message = json!({"id": id, "role": "assistant", "content": content});
            goose.line(json!({"type": "message", "message": message}), &mut into, &mut oddities);
        }
        goose.line(complete, &mut into, &mut oddities);
        goose.ended().unwrap()
    }

    /// As seen of 1.34.0 with nobody at the service's address: `Network error: …`, with no id.
    #[test]
    fn a_sentence_of_its_own_instead_of_usage_is_an_error() {
        let (none, some) = (
            json!({"type": "complete", "total_tokens": null}),
            json!({"type": "complete", "total_tokens": 5}),
        );
        let network = (Value::Null, "Network error: nobody there");
        let said = |ended: &EndedHow| match ended {
            EndedHow::Failed(failure) => failure.text.clone(),
            _ => String::new(),
        };
        assert_eq!(
            said(&ended(&[(json!("1"), "Here is"), network.clone()], none.clone())),
            "Network error: nobody there"
        );
        assert_eq!(
            said(&ended(&[(json!("1"), "Here is"), (json!("1"), "Ran into this")], none.clone())),
            "Ran into this"
        );
        assert_eq!(ended(&[network], some), EndedHow::Completed);
        assert_eq!(ended(&[(json!("1"), "Here is")], none), EndedHow::Completed);
    }
}
