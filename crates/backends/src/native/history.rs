//! The chat so far, as a conversation that the model is told.

use dispatch_core::agent::{ToolCall, ToolContent};
use dispatch_core::conversation::{Message, Part, Role};
use serde_json::Value;

use super::conversation::{Called, Conversation, Round};
use super::tools::is_tool;

/// The most bytes of another agent's tool call that are told.
const FOREIGN: usize = 2000;

impl Conversation {
    /// The chat so far, as it is stored: neither reasoning, nor what stands in for an answer, nor why a turn failed;
    /// and of a long one no more than about `most` bytes, the newest.
    pub(super) fn of_history(history: &[Message], most: usize) -> Self {
        let mut conversation = Self::default();
        let mut bytes = 0;
        let told = history.iter().rev().take_while(|message| {
            bytes += weight(message);
            bytes <= most
        });
        let left_out = history.len() - told.count();
        // An answer is not told without its question.
        let is_user = |message: &Message| message.role == Role::User;
        let begin = left_out + history[left_out..].iter().position(is_user).unwrap_or(0);
        conversation.left_out = history[..begin].iter().filter(|message| is_user(message)).count();
        for message in &history[begin..] {
            match message.role {
                Role::User => conversation.say(user_text(message)),
                Role::Assistant => conversation.recall(message),
            }
        }
        conversation
    }

    fn recall(&mut self, message: &Message) {
        let mut round = Round::default();
        for part in &message.parts {
            match part {
                Part::Text { text, placeholder: false } => {
                    if !round.calls.is_empty() {
                        self.answered(std::mem::take(&mut round));
                    }
                    round.text.push_str(text);
                }
                Part::ToolCall { tool_call } => match own_call(tool_call) {
                    Some(call) => round.calls.push(call),
                    None => round.text.push_str(&foreign_call(tool_call)),
                },
                Part::Text { .. } | Part::Reasoning { .. } | Part::Plan { .. } | Part::Error { .. } => {}
            }
        }
        if !round.text.is_empty() || !round.calls.is_empty() {
            self.answered(round);
        }
    }
}

/// About how many bytes of a message are told.
fn weight(message: &Message) -> usize {
    let shown = |content: &ToolContent| match content {
        ToolContent::Text { text } => text.len(),
        _ => 0,
    };
    let of_part = |part: &Part| match part {
        Part::Text { text, .. } => text.len(),
        Part::ToolCall { tool_call } => {
            let input = tool_call.input.as_ref().map_or(0, |input| input.to_string().len());
            input + tool_call.content.iter().map(shown).sum::<usize>()
        }
        Part::Reasoning { .. } | Part::Plan { .. } | Part::Error { .. } => 0,
    };
    message.parts.iter().map(of_part).sum::<usize>().max(user_text(message).len())
}

fn user_text(message: &Message) -> String {
    let texts = message.parts.iter().filter_map(|part| match part {
        Part::Text { text, placeholder: false } => Some(text.as_str()),
        _ => None,
    });
    let text: String = texts.collect();
    if text.is_empty() { message.content.clone() } else { text }
}

/// A call of one of our own tools, which carries the tool's name beside its result.
fn own_call(call: &ToolCall) -> Option<Called> {
    let output = call.output.as_ref()?;
    // Other agents' outputs may hold anything.
    let name = output.get("tool")?.as_str().filter(|name| is_tool(name))?.to_owned();
    let told = output.get("result").and_then(Value::as_str).map(str::to_owned);
    let result = told.unwrap_or_else(|| shown_text(call));
    // Arguments that could not be read are shown as the text that they were; the model was told of none.
    let arguments = call.input.as_ref().filter(|input| input.is_object());
    let arguments = arguments.map_or_else(|| "{}".to_owned(), Value::to_string);
    Some(Called { id: String::new(), name, arguments, result })
}

/// What another agent did, which spoke in this chat before.
fn foreign_call(call: &ToolCall) -> String {
    let result = shown_text(call);
    let result = &result[..result.floor_char_boundary(FOREIGN)];
    let title = &call.title[..call.title.floor_char_boundary(FOREIGN)];
    format!("\n[a tool was used: {title}]\n{result}\n")
}

fn shown_text(call: &ToolCall) -> String {
    let texts = call.content.iter().filter_map(|content| match content {
        ToolContent::Text { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatch_core::conversation::MessageState;
    use dispatch_core::ids::{ChatId, MessageId, TaskId, Timestamp};
    use serde_json::json;

    fn message(role: Role, parts: Vec<Part>) -> Message {
        Message {
            id: MessageId::from_random([1; 16]),
            chat: ChatId::from_random([1; 16]),
            task: TaskId::from_random([1; 16]),
            role,
            state: MessageState::Complete,
            model: None,
            content: "content".into(),
            content_truncated: false,
            reasoning: String::new(),
            reasoning_truncated: false,
            parts,
            usage: dispatch_core::agent::Usage::default(),
            created_at: Timestamp(0),
            finished_at: None,
        }
    }

    fn text(text: &str) -> Part {
        Part::Text { text: text.into(), placeholder: false }
    }

    fn tool(call: ToolCall) -> Part {
        Part::ToolCall { tool_call: call }
    }

    #[test]
    fn history_keeps_what_was_said_and_done_and_nothing_else() {
        let own = ToolCall {
            title: "read a".into(),
            input: Some(json!({ "path": "a" })),
            output: Some(json!({ "tool": "read_file" })),
            content: vec![ToolContent::Text { text: "inside".into() }],
            ..ToolCall::default()
        };
        let foreign = ToolCall { title: "Edit b".into(), ..ToolCall::default() };
        let history = [
            message(Role::User, vec![]),
            message(
                Role::Assistant,
                vec![
                    Part::Reasoning { text: "thought".into() },
                    text("one"),
                    tool(own),
                    text("two"),
                    tool(foreign),
                    Part::Text { text: "(no text output)".into(), placeholder: true },
                    Part::Error { reason: "agent_failed".into(), text: "broke".into() },
                ],
            ),
            message(Role::User, vec![text("unanswered")]),
            message(Role::Assistant, vec![Part::Error { reason: "x".into(), text: "y".into() }]),
        ];
        let mut conversation = Conversation::of_history(&history, 1 << 20);
        conversation.say("now".into());
        let messages = conversation.messages("be good");
        let id = "call00001";
        let function = json!({ "name": "read_file", "arguments": "{\"path\":\"a\"}" });
        assert_eq!(
            messages,
            [
                json!({ "role": "system", "content": "be good" }),
                json!({ "role": "user", "content": "content" }),
                json!({ "role": "assistant", "content": "one", "tool_calls": [{ "id": id, "type": "function", "function": function }] }),
                json!({ "role": "tool", "tool_call_id": id, "content": "inside" }),
                json!({ "role": "assistant", "content": "two\n[a tool was used: Edit b]\n\n" }),
                json!({ "role": "user", "content": "unanswered\n\nnow" }),
            ]
        );
    }

    #[test]
    fn arguments_that_nobody_could_read_are_told_as_none() {
        let call = ToolCall {
            input: Some(json!("{\"path\":")),
            output: Some(json!({ "tool": "read_file", "result": "the arguments are not JSON" })),
            ..ToolCall::default()
        };
        let history = [message(Role::User, vec![]), message(Role::Assistant, vec![tool(call)])];
        let messages = Conversation::of_history(&history, 1 << 20).messages("s");
        assert_eq!(messages[2]["tool_calls"][0]["function"]["arguments"], "{}");
    }

    #[test]
    fn of_a_long_history_the_newest_is_told_and_no_answer_without_its_question() {
        let history: Vec<Message> = (0..4)
            .flat_map(|n| {
                let question = message(Role::User, vec![text(&format!("question {n}"))]);
                [question, message(Role::Assistant, vec![text(&"x".repeat(100))])]
            })
            .collect();
        let conversation = Conversation::of_history(&history, 329);
        assert_eq!(conversation.left_out, 2);
        assert_eq!(conversation.messages("s")[1]["content"], "question 2");
        assert_eq!(Conversation::of_history(&history, 0).messages("s").len(), 1);
    }
}
