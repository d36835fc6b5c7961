//! What the model is told: the chat so far, and the turn under way.

use dispatch_core::agent::{ToolCall, ToolContent};
use dispatch_core::conversation::{Message, Part, Role};
use serde_json::{Value, json};

use super::tools::is_tool;

/// The most bytes of another agent's tool call that are told.
const FOREIGN: usize = 2000;
/// How much of a shortened result stays, at its beginning and at its end, in bytes.
const STUB: usize = 200;

/// A conversation as the model is told it: exchanges, of which the last is under way. A tool's call and its result are
/// never told apart from each other.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    exchanges: Vec<Exchange>,
    /// How many exchanges were left out.
    pub(super) left_out: usize,
}

/// What a user said, and what came of it.
#[derive(Debug, Default)]
struct Exchange {
    user: String,
    rounds: Vec<Round>,
}

/// One answer of the model, with what its tools gave.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) text: String,
    pub(super) calls: Vec<Called>,
}

/// A tool call and its result.
#[derive(Debug)]
pub(super) struct Called {
    /// The service's id; empty where it gave none.
    pub(super) id: String,
    pub(super) name: String,
    /// JSON.
    pub(super) arguments: String,
    pub(super) result: String,
}

/// What was shortened, for a notice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortened {
    /// Results of tools.
    pub(super) results: usize,
    /// Whole exchanges.
    pub(super) exchanges: usize,
}

impl Shortened {
    pub(super) const fn is_nothing(self) -> bool {
        self.results == 0 && self.exchanges == 0
    }
}

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

    /// The user speaks: an exchange begins.
    pub(super) fn say(&mut self, text: String) {
        match self.exchanges.last_mut() {
            // What nobody answered is said again with what follows: some models take no two users in a row.
            Some(last) if last.rounds.is_empty() => {
                last.user.push_str("\n\n");
                last.user.push_str(&text);
            }
            _ => self.exchanges.push(Exchange { user: text, rounds: Vec::new() }),
        }
    }

    /// The model has answered, and its tools have been run.
    pub(super) fn answered(&mut self, round: Round) {
        self.current().rounds.push(round);
    }

    /// The exchange under way; one without words of a user where there is none.
    fn current(&mut self) -> &mut Exchange {
        if self.exchanges.is_empty() {
            self.exchanges.push(Exchange::default());
        }
        self.exchanges.last_mut().expect("because there is one")
    }

    fn recall(&mut self, message: &Message) {
        let exchange = self.current();
        let mut round = Round::default();
        for part in &message.parts {
            match part {
                Part::Text { text, placeholder: false } => {
                    if !round.calls.is_empty() {
                        exchange.rounds.push(std::mem::take(&mut round));
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
            exchange.rounds.push(round);
        }
    }

    /// How many bytes the model is told, but for what JSON adds.
    pub(super) fn bytes(&self) -> usize {
        self.exchanges.iter().map(Exchange::bytes).sum()
    }

    /// Shortens it to about this many bytes: results of tools from the oldest on, then exchanges from the oldest on,
    /// then results of the turn under way but for its last round's. What the user asked for now always stays.
    pub(super) fn shorten(&mut self, target: usize) -> Shortened {
        let mut done = Shortened::default();
        let mut bytes = self.bytes();
        let last = self.exchanges.len().saturating_sub(1);
        for exchange in &mut self.exchanges[..last] {
            for round in &mut exchange.rounds {
                done.results += round.shorten(&mut bytes, target);
            }
        }
        while bytes > target && self.exchanges.len() > 1 {
            bytes -= self.exchanges.remove(0).bytes();
            done.exchanges += 1;
            self.left_out += 1;
        }
        if let Some(current) = self.exchanges.last_mut() {
            let last = current.rounds.len().saturating_sub(1);
            for round in &mut current.rounds[..last] {
                done.results += round.shorten(&mut bytes, target);
            }
        }
        done
    }

    /// The messages of a request, after the system's.
    pub(super) fn messages(&self, system: &str) -> Vec<Value> {
        let mut messages = vec![json!({ "role": "system", "content": system })];
        let mut number = 0;
        for exchange in &self.exchanges {
            if !exchange.user.is_empty() {
                messages.push(json!({ "role": "user", "content": exchange.user }));
            }
            exchange.rounds.iter().for_each(|round| round.tell(&mut number, &mut messages));
        }
        messages
    }
}

impl Exchange {
    fn bytes(&self) -> usize {
        self.user.len() + self.rounds.iter().map(Round::bytes).sum::<usize>()
    }
}

impl Round {
    fn bytes(&self) -> usize {
        let of_call = |call: &Called| call.name.len() + call.arguments.len() + call.result.len();
        self.text.len() + self.calls.iter().map(of_call).sum::<usize>()
    }

    /// Shortens its results while `bytes` is more than `target`; returns how many.
    fn shorten(&mut self, bytes: &mut usize, target: usize) -> usize {
        let mut count = 0;
        for call in &mut self.calls {
            if *bytes <= target {
                break;
            }
            if let Some(stub) = stub(&call.result) {
                *bytes -= call.result.len() - stub.len();
                call.result = stub;
                count += 1;
            }
        }
        count
    }

    fn tell(&self, number: &mut usize, messages: &mut Vec<Value>) {
        let text = if self.text.is_empty() { Value::Null } else { Value::from(self.text.as_str()) };
        if self.calls.is_empty() {
            // Not every service takes an answer without words.
            if !text.is_null() {
                messages.push(json!({ "role": "assistant", "content": text }));
            }
            return;
        }
        let first = messages.len();
        let mut calls = Vec::new();
        messages.push(Value::Null);
        for call in &self.calls {
            *number += 1;
            // Nine letters and digits, which Mistral's services insist on.
            let id = if call.id.is_empty() { format!("call{number:05}") } else { call.id.clone() };
            let function = json!({ "name": call.name, "arguments": call.arguments });
            calls.push(json!({ "id": id, "type": "function", "function": function }));
            messages.push(json!({ "role": "tool", "tool_call_id": id, "content": call.result }));
        }
        messages[first] = json!({ "role": "assistant", "content": text, "tool_calls": calls });
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
    let arguments = call.input.as_ref().map_or_else(|| "{}".to_owned(), Value::to_string);
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

/// The beginning and the end of a long text.
fn stub(text: &str) -> Option<String> {
    let (head, tail) =
        (text.floor_char_boundary(STUB), text.ceil_char_boundary(text.len().saturating_sub(STUB)));
    let left_out = tail.checked_sub(head).filter(|left_out| *left_out > STUB)?;
    Some(format!("{}\n[{left_out} bytes left out to fit the context]\n{}", &text[..head], &text[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatch_core::conversation::MessageState;
    use dispatch_core::ids::{ChatId, MessageId, TaskId, Timestamp};

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

    fn roles(conversation: &Conversation) -> Vec<String> {
        let role = |message: &Value| message["role"].as_str().unwrap().to_owned();
        conversation.messages("s").iter().map(role).collect()
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

    #[test]
    fn results_go_first_then_exchanges_and_what_is_asked_now_stays() {
        let round = |result: usize| Round {
            text: String::new(),
            calls: vec![Called {
                id: "x".into(),
                name: "t".into(),
                arguments: "{}".into(),
                result: "é".repeat(result),
            }],
        };
        let mut conversation = Conversation::default();
        for user in ["first", "second", "third"] {
            conversation.say(user.into());
            conversation.answered(round(5000));
            conversation.answered(round(5000));
        }
        let whole = conversation.bytes();
        assert!(conversation.shorten(whole).is_nothing());
        assert_eq!(conversation.shorten(whole - 9000), Shortened { results: 1, exchanges: 0 });
        assert_eq!(conversation.shorten(21_500), Shortened { results: 3, exchanges: 1 });
        assert_eq!(conversation.shorten(0), Shortened { results: 1, exchanges: 1 });
        assert_eq!(roles(&conversation), ["system", "user", "assistant", "tool", "assistant", "tool"]);
        let left = conversation.messages("s");
        assert_eq!(left[1]["content"], "third");
        assert!(left[3]["content"].as_str().unwrap().contains("left out"), "an older round's");
        assert_eq!(left[5]["content"].as_str().unwrap().len(), 10_000, "the last round's stays");
        assert_eq!(conversation.left_out, 2);
    }
}
