//! What the model is told: the chat so far, and the turn under way.

use serde_json::{Value, json};

/// How much of a shortened result stays at least, at its beginning and at its end, in bytes.
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

    /// How many bytes the model is told, but for what JSON adds.
    pub(super) fn bytes(&self) -> usize {
        self.exchanges.iter().map(Exchange::bytes).sum()
    }

    /// Shortens it to about this many bytes: results of tools from the oldest on, then exchanges from the oldest on,
    /// then results of the turn under way; those of its last round, which the model has not seen yet, only as far as
    /// it must be. What the user asked for now always stays.
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
            if let Some(newest) = current.rounds.last_mut() {
                done.results += newest.clip(bytes.saturating_sub(target));
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
            if let Some(stub) = ends_of(&call.result, 2 * STUB) {
                *bytes -= call.result.len() - stub.len();
                call.result = stub;
                count += 1;
            }
        }
        count
    }

    /// Takes so many bytes off its results: off the longest, so that the short ones stay whole. Returns how many were
    /// shortened.
    fn clip(&mut self, excess: usize) -> usize {
        let mut lengths: Vec<usize> = self.calls.iter().map(|call| call.result.len()).collect();
        lengths.sort_unstable();
        let mut room = lengths.iter().sum::<usize>().saturating_sub(excess);
        let mut longest = usize::MAX;
        for (at, length) in lengths.iter().enumerate() {
            let share = room / (lengths.len() - at);
            if *length > share {
                longest = share.max(2 * STUB);
                break;
            }
            room -= length;
        }
        let long = self.calls.iter_mut().filter(|call| call.result.len() > longest);
        long.filter_map(|call| {
            // What is said of what is left out has a place, too.
            call.result = ends_of(&call.result, longest.saturating_sub(STUB).max(2 * STUB))?;
            Some(())
        })
        .count()
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

/// The beginning and the end of a long text, of about so many bytes together; `None` where little would be left out.
fn ends_of(text: &str, bytes: usize) -> Option<String> {
    let half = bytes / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len().saturating_sub(half));
    let left_out = tail.checked_sub(head).filter(|left_out| *left_out > STUB)?;
    Some(format!("{}\n[{left_out} bytes left out to fit the context]\n{}", &text[..head], &text[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(conversation: &Conversation) -> Vec<String> {
        let role = |message: &Value| message["role"].as_str().unwrap().to_owned();
        conversation.messages("s").iter().map(role).collect()
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
        assert_eq!(conversation.shorten(10_500), Shortened { results: 1, exchanges: 1 });
        assert_eq!(roles(&conversation), ["system", "user", "assistant", "tool", "assistant", "tool"]);
        let left = conversation.messages("s");
        assert_eq!(left[1]["content"], "third");
        assert!(left[3]["content"].as_str().unwrap().contains("left out"), "an older round's");
        assert_eq!(left[5]["content"].as_str().unwrap().len(), 10_000, "the last round's stays");
        assert_eq!(conversation.left_out, 2);
    }

    #[test]
    fn what_the_model_has_not_seen_yet_is_clipped_to_what_fits() {
        let call = |result: usize| Called {
            id: "x".into(),
            name: "t".into(),
            arguments: "{}".into(),
            result: "ab".repeat(result / 2),
        };
        let mut conversation = Conversation::default();
        conversation.say("now".into());
        conversation
            .answered(Round { text: String::new(), calls: [100, 60_000, 5000, 90_000].map(call).into() });
        assert_eq!(conversation.shorten(20_000), Shortened { results: 2, exchanges: 0 });
        let lengths = |conversation: &Conversation| -> Vec<usize> {
            let results = conversation.messages("s").into_iter().filter(|message| message["role"] == "tool");
            results.map(|message| message["content"].as_str().unwrap().len()).collect()
        };
        let [short, long, middle, longest] = lengths(&conversation)[..] else { panic!() };
        assert_eq!((short, middle, long), (100, 5000, longest), "those that are short are whole");
        assert!((19_000..=20_000).contains(&conversation.bytes()), "{}", conversation.bytes());
        conversation.shorten(0);
        assert!(
            lengths(&conversation)[1..].iter().all(|length| *length < 500),
            "{:?}",
            lengths(&conversation)
        );
        assert!(conversation.shorten(0).is_nothing());
    }
}
