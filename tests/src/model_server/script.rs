//! What the model answers, in no wire format's words.

use super::toolbox::Call;
use std::time::Duration;

/// The answers to one prompt: the first to the prompt itself, the next to the first one's tool results, and so on.
#[derive(Debug, Clone, Default)]
pub struct Script {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    /// What the first attempts get, one each.
    failures: Vec<Answer>,
    answer: Answer,
}

impl Script {
    /// A script without answers; a prompt that goes beyond its script is answered "(the script ends here)".
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next answer.
    #[must_use]
    pub fn then(self, answer: impl Into<Answer>) -> Self {
        self.then_after([], answer)
    }

    /// Adds the next answer, which is given only when the same request has met each of `failures` once.
    #[must_use]
    pub fn then_after(
        mut self,
        failures: impl IntoIterator<Item = Answer>,
        answer: impl Into<Answer>,
    ) -> Self {
        self.steps.push(Step { failures: failures.into_iter().collect(), answer: answer.into() });
        self
    }

    /// The answer to the `step`-th request (from 0), asked for the `attempt`-th time (from 0).
    pub(super) fn answer(&self, step: usize, attempt: usize) -> Answer {
        match self.steps.get(step) {
            Some(step) => step.failures.get(attempt).unwrap_or(&step.answer).clone(),
            None => Reply::text("(the script ends here)").into(),
        }
    }
}

/// What one request gets.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The model speaks.
    Reply(Reply),
    /// The server refuses.
    Error(ModelError),
    /// Not even the response's head comes, until [`ModelServer::release`](super::ModelServer::release).
    Silence,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<ModelError> for Answer {
    fn from(error: ModelError) -> Self {
        Self::Error(error)
    }
}

/// An HTTP error of a model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelError {
    /// 401.
    Unauthorised,
    /// 429 with `retry-after` in whole seconds.
    Overloaded {
        /// What `retry-after` says.
        retry_after: u64,
    },
    /// 500.
    Internal,
    /// 400, the prompt being longer than the model's context.
    ContextTooLong,
    /// 404, the model not being there.
    NoSuchModel,
}

/// What the model says in one answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub(super) parts: Vec<Part>,
    pub(super) ending: Ending,
    pub(super) usage: Usage,
    pub(super) pace: Duration,
    /// What is said instead where the agent offers no tool for a call.
    pub(super) otherwise: Option<&'static str>,
}

/// A piece of an answer.
#[derive(Debug, Clone)]
pub enum Part {
    /// Text, streamed in these deltas.
    Text(Vec<String>),
    /// Reasoning, streamed in these deltas.
    Reasoning(Vec<String>),
    /// A tool call; the agent's own tool is looked up when the request is there.
    Call(Call),
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// As the parts suggest: with tool calls, or because nothing is left to say.
    #[default]
    Normal,
    /// At the output limit.
    Length,
    /// By the content filter.
    Refusal,
    /// Not before [`ModelServer::release`](super::ModelServer::release): the parts are sent, then nothing.
    Stall,
    /// The connection breaks after the parts.
    Cut,
}

/// Tokens of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { input: 1000, output: 10 }
    }
}

impl Reply {
    /// An empty answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An answer that is this text in one delta.
    pub fn text(text: &str) -> Self {
        Self::new().and_text([text])
    }

    /// An answer of `count` deltas `word1 `, `word2 ` …
    pub fn words(count: usize) -> Self {
        Self::new().and_text((1..=count).map(|number| format!("word{number} ")))
    }

    /// Adds text in these deltas.
    #[must_use]
    pub fn and_text<T: Into<String>>(mut self, deltas: impl IntoIterator<Item = T>) -> Self {
        self.parts.push(Part::Text(deltas.into_iter().map(Into::into).collect()));
        self
    }

    /// Adds reasoning in these deltas.
    #[must_use]
    pub fn reasoning<T: Into<String>>(mut self, deltas: impl IntoIterator<Item = T>) -> Self {
        self.parts.push(Part::Reasoning(deltas.into_iter().map(Into::into).collect()));
        self
    }

    /// Adds a tool call.
    #[must_use]
    pub fn call(mut self, call: Call) -> Self {
        self.parts.push(Part::Call(call));
        self
    }

    /// Ends otherwise than normally.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Reports these figures instead of 1000 and 10.
    #[must_use]
    pub fn usage(mut self, input: u64, output: u64) -> Self {
        self.usage = Usage { input, output };
        self
    }

    /// Waits that long before each delta.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Says this instead where the agent offers no tool for one of its calls; without it, that is the test's mistake.
    #[must_use]
    pub fn or_say(mut self, text: &'static str) -> Self {
        self.otherwise = Some(text);
        self
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.parts.iter().filter_map(|part| match part {
            Part::Call(call) => Some(call),
            Part::Text(_) | Part::Reasoning(_) => None,
        })
    }
}
