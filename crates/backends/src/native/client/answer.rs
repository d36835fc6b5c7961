//! The pieces of one answer, put together.

use dispatch_core::agent::Usage;

use super::chunk::{CallPiece, Piece};

/// The most tool calls of one answer.
const CALLS: usize = 64;
/// The most bytes of a call's id and of its name.
const LONGEST_WORD: usize = 256;

/// How much of an answer is kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::native) struct AnswerLimits {
    /// Bytes of text and of tool calls together.
    pub(in crate::native) bytes: usize,
}

/// An answer, or what has come of it. Its reasoning is shown and not kept.
#[derive(Debug, Default)]
pub(in crate::native) struct Answer {
    pub(in crate::native) text: String,
    pub(in crate::native) calls: Vec<WireCall>,
    pub(in crate::native) finish: Option<Finish>,
    pub(in crate::native) usage: Usage,
    bytes: usize,
}

/// A tool call as the service sent it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::native) struct WireCall {
    /// Empty where the service gave none.
    pub(in crate::native) id: String,
    pub(in crate::native) name: String,
    /// JSON, if the model is good at it.
    pub(in crate::native) arguments: String,
    index: Option<u64>,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::native) enum Finish {
    /// It has said what it wanted to say.
    Done,
    /// At the most tokens that it may write.
    Length,
    /// The service does not let it say more.
    Filtered,
}

/// What a user is shown of an answer while it comes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::native) enum Shown {
    Text(String),
    Reasoning(String),
    /// The model begins to write a call of this tool, which may take it minutes; `at` is its place in the answer.
    Call {
        at: usize,
        name: String,
    },
}

/// The answer is longer than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Answer {
    /// Takes a piece; what a user is shown of it is returned.
    pub(super) fn add(&mut self, piece: Piece, limits: AnswerLimits) -> Result<Option<Shown>, TooMuch> {
        match piece {
            Piece::Text(text) => {
                self.weigh(text.len(), limits)?;
                self.text.push_str(&text);
                return Ok(Some(Shown::Text(text)));
            }
            Piece::Reasoning(text) => return Ok(Some(Shown::Reasoning(text))),
            Piece::Call(call) => {
                self.weigh(call.arguments.len(), limits)?;
                return self.call(call);
            }
            Piece::Finish(word) => {
                // A filter's word stands, whatever follows.
                if self.finish != Some(Finish::Filtered) {
                    self.finish = Some(finish(&word));
                }
            }
            Piece::Usage(usage) => self.usage.update(usage),
            Piece::Error(_) => {}
        }
        Ok(None)
    }

    fn weigh(&mut self, bytes: usize, limits: AnswerLimits) -> Result<(), TooMuch> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limits.bytes { Err(TooMuch) } else { Ok(()) }
    }

    fn call(&mut self, piece: CallPiece) -> Result<Option<Shown>, TooMuch> {
        let CallPiece { index, id, name, arguments } = piece;
        let is_long = |word: &Option<String>| word.as_ref().is_some_and(|word| word.len() > LONGEST_WORD);
        if is_long(&id) || is_long(&name) {
            return Err(TooMuch);
        }
        let at = match self.open_call(index, id.as_deref(), name.is_some()) {
            Some(at) => at,
            None if self.calls.len() < CALLS => {
                self.calls.push(WireCall { index, ..WireCall::default() });
                self.calls.len() - 1
            }
            None => return Err(TooMuch),
        };
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id = id.unwrap_or_default();
        }
        call.arguments.push_str(&arguments);
        if !call.name.is_empty() {
            return Ok(None);
        }
        call.name = name.unwrap_or_default();
        let is_named = !call.name.is_empty();
        Ok(is_named.then(|| Shown::Call { at, name: call.name.clone() }))
    }

    /// The call that a piece goes on with; `None` where it begins one. Some services number every call 0, some
    /// number none, some name them only in their first piece.
    fn open_call(&self, index: Option<u64>, id: Option<&str>, is_named: bool) -> Option<usize> {
        let goes_on = |call: &WireCall| match id {
            Some(id) => call.id.is_empty() || call.id == id,
            // A name begins a call, unless the index says which one it belongs to.
            None => !is_named || index.is_some(),
        };
        let last = |fits: &dyn Fn(&WireCall) -> bool| self.calls.iter().rposition(fits);
        match (index, id) {
            (Some(_), _) => last(&|call| call.index == index).filter(|&at| goes_on(&self.calls[at])),
            (None, Some(id)) => last(&|call| call.id == id),
            (None, None) => last(&|_| true).filter(|&at| goes_on(&self.calls[at])),
        }
    }

    /// How many bytes of text and of tool calls it has.
    pub(in crate::native) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Other words (`stop`, `tool_calls`, `function_call`, `eos`, `abort` …) say that the model is done; whether it wants
/// tools shows in what it sent.
fn finish(word: &str) -> Finish {
    match word {
        "length" | "max_tokens" | "model_length" => Finish::Length,
        "content_filter" | "safety" | "refusal" => Finish::Filtered,
        _ => Finish::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AnswerLimits = AnswerLimits { bytes: 100 };

    fn piece(index: Option<u64>, id: &str, name: &str, arguments: &str) -> Piece {
        let word = |word: &str| (!word.is_empty()).then(|| word.to_owned());
        Piece::Call(CallPiece { index, id: word(id), name: word(name), arguments: arguments.to_owned() })
    }

    fn calls(pieces: Vec<Piece>) -> Vec<(String, String, String)> {
        let mut answer = Answer::default();
        for piece in pieces {
            answer.add(piece, LIMITS).unwrap();
        }
        answer.calls.into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }

    #[test]
    fn calls_are_told_apart_by_what_there_is() {
        let two = |first: &str, second: &str| {
            [(first, "f", "{1}"), (second, "g", "{2}")]
                .map(|(id, name, arguments)| (id.into(), name.into(), arguments.into()))
        };
        let (zero, one) = (Some(0), Some(1));
        let openai = vec![
            piece(zero, "a", "f", ""),
            piece(zero, "", "", "{1"),
            piece(one, "b", "g", "{2"),
            piece(zero, "", "", "}"),
            piece(one, "", "", "}"),
        ];
        assert_eq!(calls(openai), two("a", "b"));
        let all_zero = vec![piece(zero, "a", "f", "{1}"), piece(zero, "b", "g", "{2}")];
        assert_eq!(calls(all_zero), two("a", "b"));
        let no_index = vec![
            piece(None, "a", "f", "{1"),
            piece(None, "", "", "}"),
            piece(None, "b", "g", "{2"),
            piece(None, "b", "", "}"),
        ];
        assert_eq!(calls(no_index), two("a", "b"));
        let nothing = vec![piece(None, "", "f", "{1"), piece(None, "", "", "}"), piece(None, "", "g", "{2}")];
        assert_eq!(calls(nothing), two("", ""));
        let id_and_name_again =
            vec![piece(zero, "a", "f", "{1"), piece(zero, "a", "f", "}"), piece(one, "b", "g", "{2}")];
        assert_eq!(calls(id_and_name_again), two("a", "b"));
        let late_id =
            vec![piece(zero, "", "f", "{1"), piece(zero, "a", "", "}"), piece(one, "b", "g", "{2}")];
        assert_eq!(calls(late_id), two("a", "b"));
    }

    #[test]
    fn an_answer_is_bounded() {
        let mut answer = Answer::default();
        assert_eq!(answer.add(Piece::Text("x".repeat(101)), LIMITS), Err(TooMuch));
        let mut answer = Answer::default();
        answer.add(Piece::Text("x".repeat(100)), LIMITS).unwrap();
        answer.add(Piece::Reasoning("x".repeat(1000)), LIMITS).unwrap();
        assert_eq!(answer.add(piece(None, "", "f", "1"), LIMITS), Err(TooMuch));
        let mut answer = Answer::default();
        assert_eq!(answer.add(piece(None, "", &"f".repeat(257), ""), LIMITS), Err(TooMuch));
        let mut answer = Answer::default();
        for n in 0..CALLS as u64 {
            answer.add(piece(Some(n), "", "f", ""), LIMITS).unwrap();
        }
        let refused = answer.add(piece(Some(CALLS as u64), "", "f", ""), LIMITS);
        assert_eq!(refused, Err(TooMuch));
    }

    #[test]
    fn a_refusal_stands() {
        let mut answer = Answer::default();
        for word in ["content_filter", "stop"] {
            answer.add(Piece::Finish(word.into()), LIMITS).unwrap();
        }
        assert_eq!(answer.finish, Some(Finish::Filtered));
    }
}
