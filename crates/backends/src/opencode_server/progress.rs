//! How far a turn is, by what opencode says of its messages and of itself: whether it goes on, and how it ended.

use std::collections::HashMap;

use dispatch_core::agent::{EndedHow, Failure};
use dispatch_core::task::TerminalReason;

use super::failure;
use super::wire::{ErrorData, Info, Status, WireError};

/// Whether the turn goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does, or has not begun.
    Running,
    /// opencode says that it is idle, or failed, and was still writing: it says so again when it has cleared up.
    Unsure,
    /// It is over.
    Over,
}

/// Messages of one turn that are told apart.
const MOST: usize = 16_384;

/// How far a turn is.
#[derive(Debug)]
pub(super) struct Progress {
    /// The id of the turn's prompt.
    prompt: String,
    /// Whether opencode has taken the prompt: what was said before belongs to an earlier turn.
    is_taken: bool,
    is_busy: bool,
    /// Whether it was idle when it was asked, with nothing to show for it.
    was_idle: bool,
    standing: Standing,
    messages: HashMap<String, Said>,
    answer: Option<Answer>,
    /// What failed, unless something followed it.
    error: Option<EndedHow>,
    /// Why opencode tries again.
    retry: Option<String>,
}

/// What a message is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said {
    /// An answer of the model.
    Answer,
    /// A summary that opencode makes for itself.
    Compaction,
    /// A prompt.
    Prompt,
}

/// The model's last answer.
#[derive(Debug)]
struct Answer {
    id: String,
    is_complete: bool,
    finish: Option<Finish>,
    error: Option<EndedHow>,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy)]
enum Finish {
    Length,
    Filtered,
    Error,
    /// `stop`; `tool-calls` where a tool ended the turn, as one does that is refused.
    Other,
}

impl Progress {
    pub(super) fn new(prompt: String) -> Self {
        Self {
            prompt,
            is_taken: false,
            is_busy: false,
            was_idle: false,
            standing: Standing::Running,
            messages: HashMap::new(),
            answer: None,
            error: None,
            retry: None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether a message is one of the turn's: its prompt, or one that comes after it.
    pub(super) fn concerns(&mut self, message: &str) -> bool {
        self.is_taken |= self.is_prompt(message);
        self.is_taken
    }

    /// Whether a message is the turn's prompt.
    pub(super) fn is_prompt(&self, message: &str) -> bool {
        message == self.prompt
    }

    /// Whether opencode has taken the prompt.
    pub(super) fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Whether a message is known.
    pub(super) fn knows(&self, message: &str) -> bool {
        self.messages.contains_key(message)
    }

    /// What a message is that is known.
    pub(super) fn said(&self, message: &str) -> Option<Said> {
        self.messages.get(message).copied()
    }

    /// Takes what is said of a message of the turn, but for what it used; `false` when there are more messages than
    /// are followed.
    pub(super) fn message(&mut self, info: &Info) -> bool {
        let said = match info.role.as_str() {
            "assistant" if info.mode.as_deref() == Some("compaction") => Said::Compaction,
            "assistant" => Said::Answer,
            _ => Said::Prompt,
        };
        let is_new = !self.messages.contains_key(&info.id);
        let is_followed = !is_new || self.messages.len() < MOST;
        if is_followed {
            self.messages.insert(info.id.clone(), said);
        }
        if matches!(said, Said::Prompt) {
            return is_followed;
        }
        if is_new {
            // opencode went on after what failed before: it compacts a conversation that is too long.
            self.error = None;
            self.answer = Some(Answer { id: info.id.clone(), is_complete: false, finish: None, error: None });
        }
        // Of those before the last one nothing is asked any more.
        if let Some(answer) = self.answer.as_mut().filter(|answer| answer.id == info.id) {
            answer.is_complete |= info.time.completed.is_some();
            answer.finish = info.finish.as_deref().map(Finish::of).or(answer.finish);
            answer.error = info.error.as_ref().map(failure::ended_by).or(answer.error.take());
        }
        is_followed
    }

    /// What opencode says of the conversation when it is asked; before its [`status`](Self::status) where it is busy.
    pub(super) fn asked_for(&mut self, is_idle: bool) {
        if !is_idle {
            if self.standing == Standing::Unsure {
                self.standing = Standing::Running;
            }
        } else if self.is_settled() || self.was_idle {
            self.standing = Standing::Over;
        } else {
            // A prompt that was just sent may be stored only in a second, and nothing is busy until then.
            self.was_idle = self.is_taken;
        }
    }

    /// Whether a conversation that is idle now has done what it was asked to.
    fn is_settled(&self) -> bool {
        let has_answer = self.answer.as_ref().is_some_and(|answer| answer.is_complete);
        self.standing == Standing::Unsure || self.error.is_some() || has_answer
    }

    /// Takes the conversation's status; returns why opencode tries again, the first time that it does.
    pub(super) fn status(&mut self, status: Status) -> Option<&str> {
        match status.kind.as_str() {
            "busy" => (self.is_busy, self.was_idle) = (true, false),
            "retry" => {
                (self.is_busy, self.was_idle) = (true, false);
                let message = status.message.unwrap_or_default();
                let is_first = self.retry.is_none();
                let retry = self.retry.insert(message.chars().take(500).collect());
                return is_first.then_some(retry.as_str());
            }
            // Before the prompt is taken, an idle is an earlier turn's.
            "idle" if self.is_taken => self.idle(),
            _ => {}
        }
        None
    }

    fn idle(&mut self) {
        self.is_busy = false;
        let is_writing = self.answer.as_ref().is_some_and(|answer| !answer.is_complete);
        self.standing = match self.standing {
            Standing::Running if is_writing => Standing::Unsure,
            Standing::Running | Standing::Unsure | Standing::Over => Standing::Over,
        };
    }

    /// opencode does not do what it was asked to.
    pub(super) fn refused(&mut self, text: String) {
        let data = ErrorData { message: Some(text), status: None };
        self.failed(Some(WireError { name: String::new(), data }));
        self.standing = if self.standing == Standing::Over { Standing::Over } else { Standing::Unsure };
    }

    /// Something failed.
    pub(super) fn failed(&mut self, error: Option<WireError>) {
        if self.standing == Standing::Over {
            return;
        }
        let unnamed = || WireError { name: String::new(), data: ErrorData::default() };
        // The second of two is a stack trace of the first.
        if self.error.is_none() {
            self.error = Some(failure::ended_by(&error.unwrap_or_else(unnamed)));
        }
        // A prompt that is refused, as for an agent that there is not, is followed by nothing.
        if !self.is_busy && self.standing == Standing::Running {
            self.standing = Standing::Unsure;
        }
    }

    /// How the turn ended, once it is over.
    pub(super) fn how(&self) -> EndedHow {
        let failed = |reason, text: &str| EndedHow::Failed(Failure::new(reason, text));
        let agent_failed = |text| failed(TerminalReason::AgentFailed, text);
        let answer = self.answer.as_ref();
        if let Some(error) = answer.and_then(|answer| answer.error.as_ref()).or(self.error.as_ref()) {
            return error.clone();
        }
        match (answer.and_then(|answer| answer.finish), &self.retry) {
            (Some(Finish::Length), _) => EndedHow::Failed(failure::output_limit()),
            (Some(Finish::Filtered), _) => {
                failed(TerminalReason::ModelRefused, "the model refused to answer")
            }
            (Some(Finish::Error), _) => agent_failed("the model's answer ended with an error"),
            (Some(Finish::Other), _) => EndedHow::Completed,
            // It was aborted while it waited to try again, which is no error to opencode.
            (None, Some(message)) => EndedHow::Failed(failure::of_retry(message)),
            (None, None) => agent_failed("opencode ended the turn before the model's answer was complete"),
        }
    }
}

impl Finish {
    fn of(word: &str) -> Self {
        match word {
            "length" => Self::Length,
            "content-filter" => Self::Filtered,
            "error" => Self::Error,
            _ => Self::Other,
        }
    }
}
