//! One tool call: shown, allowed, done, and told to the model.

use dispatch_core::agent::{
    AgentUpdate, Answer, OptionKind, PermissionOption, PermissionRequest, ToolCall, ToolCallPatch,
    ToolContent, ToolStatus,
};
use serde_json::{Map, Value, json};

use super::client::{Answer as ModelAnswer, WireCall};
use super::conversation::Called;
use super::tools::{Done, Prepared};
use super::turn::Turn;
use crate::common::json;

impl Turn {
    /// A call that the model begins to write, at this place of its answer: its arguments are still to come.
    pub(super) fn begun_call(&self, at: usize, name: &str) -> ToolCallPatch {
        ToolCallPatch {
            id: call_id(self.calls + at as u64 + 1),
            title: Some(plain_name(name)),
            status: Some(ToolStatus::Pending),
            ..ToolCallPatch::default()
        }
    }

    /// Ends what was shown of calls of an answer that broke off: they are not done.
    pub(super) async fn take_back_calls(&mut self, answer: &ModelAnswer) {
        for call in &answer.calls {
            self.calls += 1;
            if call.name.is_empty() {
                continue;
            }
            let (id, status) = (call_id(self.calls), Some(ToolStatus::Failed));
            let ended = ToolCallPatch { id, status, ..ToolCallPatch::default() };
            self.outbox.send(AgentUpdate::ToolCall(ended)).await;
        }
    }

    /// Does what the model asks for; what cannot be done is told to it.
    pub(super) async fn call(&mut self, call: WireCall) -> Called {
        self.calls += 1;
        let id = call_id(self.calls);
        let WireCall { id: wire_id, name, arguments, .. } = call;
        let name = plain_name(&name);
        let input = read_arguments(&arguments);
        let known = input.as_ref().map_or_else(|_| json!({}), Clone::clone);
        let done = self.do_call(&id, &name, input, &arguments).await;
        let status = if done.is_failed { ToolStatus::Failed } else { ToolStatus::Completed };
        let output = match &done.content {
            Some(_) => json!({ "tool": name }),
            None => json!({ "tool": name, "result": done.result }),
        };
        let ended = ToolCallPatch {
            id,
            status: Some(status),
            content: done.content,
            output: Some(output),
            ..ToolCallPatch::default()
        };
        self.outbox.send(AgentUpdate::ToolCall(ended)).await;
        // Services read the arguments again, and some fail on what is no JSON.
        Called { id: wire_id, name, arguments: known.to_string(), result: done.result }
    }

    async fn do_call(&mut self, id: &str, name: &str, input: Result<Value, String>, raw: &str) -> Done {
        let prepared = match (&input, &self.link.tools) {
            (Err(why), _) => Err(why.clone()),
            (Ok(_), None) => Err("there are no tools here".to_owned()),
            (Ok(arguments), Some(tools)) => tools.prepare(name, arguments).await,
        };
        let input = input.unwrap_or_else(|_| Value::from(raw));
        match prepared {
            Ok(prepared) => self.perform(id, input, prepared).await,
            Err(why) => {
                let shown = ToolCallPatch {
                    id: id.to_owned(),
                    title: Some(name.to_owned()),
                    input: Some(input),
                    ..ToolCallPatch::default()
                };
                self.outbox.send(AgentUpdate::ToolCall(shown)).await;
                Done::refused(why)
            }
        }
    }

    async fn perform(&mut self, id: &str, input: Value, prepared: Prepared) -> Done {
        let begin = if prepared.needs_leave { ToolStatus::Pending } else { ToolStatus::InProgress };
        let shown = ToolCallPatch {
            id: id.to_owned(),
            title: Some(prepared.title.clone()),
            kind: Some(prepared.kind.to_owned()),
            status: Some(begin),
            content: (!prepared.content.is_empty()).then(|| prepared.content.clone()),
            locations: Some(prepared.locations.clone()),
            input: Some(input),
            output: None,
        };
        if prepared.needs_leave {
            let answer = self.ask_leave(shown).await;
            if let Some(why) = answer.why_not() {
                return Done::refused(why.to_owned());
            }
            let begun = ToolStatus::InProgress;
            let begun = ToolCallPatch { id: id.to_owned(), status: Some(begun), ..ToolCallPatch::default() };
            self.outbox.send(AgentUpdate::ToolCall(begun)).await;
        } else {
            self.outbox.send(AgentUpdate::ToolCall(shown)).await;
        }
        match &self.link.tools {
            Some(tools) => {
                let show = |text: String| {
                    let content = Some(vec![ToolContent::Text { text }]);
                    let printed = ToolCallPatch { id: id.to_owned(), content, ..ToolCallPatch::default() };
                    self.outbox.send(AgentUpdate::ToolCall(printed))
                };
                tools.perform(prepared, show).await
            }
            None => Done::refused("there are no tools here".to_owned()),
        }
    }

    /// Shows the call and asks for leave; a request that nobody can answer any more is refused.
    async fn ask_leave(&self, call: ToolCallPatch) -> Answer {
        let id = format!("permission-{}", self.calls);
        let option =
            |id: &str, name: &str, kind| PermissionOption { id: id.to_owned(), name: name.to_owned(), kind };
        let request = PermissionRequest {
            id: id.clone(),
            tool_call: ToolCall::begin(call.clone()),
            options: vec![
                option("allow", "Allow once", OptionKind::AllowOnce),
                option("reject", "Reject", OptionKind::RejectOnce),
            ],
            paths: Vec::new(),
        };
        let answer = self.link.ask(id);
        self.outbox.send(AgentUpdate::ToolCall(call)).await;
        self.outbox.send(AgentUpdate::Permission(request)).await;
        answer.await.unwrap_or(Answer::Cancelled)
    }
}

/// The id of the turn's nth call.
fn call_id(number: u64) -> String {
    format!("call-{number}")
}

/// A name as OpenAI's services accept it: they refuse a conversation that holds another.
fn plain_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let is_good = (1..=64).contains(&name.len()) && name.chars().all(is_plain);
    if is_good { name.to_owned() } else { "unknown".to_owned() }
}

/// A tool without arguments is called with none, or with an empty text.
fn read_arguments(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    if !json::is_modest(text.as_bytes()) {
        return Err("the arguments have too many members".to_owned());
    }
    match json::decode(text) {
        Ok(arguments @ Value::Object(_)) => Ok(arguments),
        Ok(_) => Err("the arguments are not a JSON object".to_owned()),
        Err(error) => Err(format!("the arguments are not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_names_may_be_anything() {
        assert_eq!(read_arguments(" "), Ok(json!({})));
        assert_eq!(read_arguments("{\"a\":1}"), Ok(json!({ "a": 1 })));
        assert_eq!(read_arguments(r#"{"a":"\ud83d"}"#), Ok(json!({ "a": "\u{fffd}" })), "half a character");
        let many = format!("{{\"a\":[{}1]}}", "{},".repeat(1 << 16));
        assert!(read_arguments(&many).unwrap_err().contains("too many"));
        for bad in ["[1]", "{\"a\"", "x", "null"] {
            assert!(read_arguments(bad).is_err(), "{bad}");
        }
        for bad in ["", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(plain_name(bad), "unknown");
        }
        assert_eq!(plain_name("read_file"), "read_file");
    }
}
