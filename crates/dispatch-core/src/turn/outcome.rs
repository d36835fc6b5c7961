//! How a turn ends.

use super::event::Why;
use crate::{
    agent::{EndedHow, Failure, Usage},
    change::ChangeDraft,
    conversation::MessageState,
    frame::{AgentStatus, StatusReason},
    task::{TaskState, TerminalReason},
};

/// How a turn ends, before it is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The task's final state.
    pub state: TaskState,
    /// Why.
    pub reason: TerminalReason,
    /// What went wrong, in the agent's or our words; `None` where nothing did.
    pub words: Option<String>,
    /// Whether the process or connection was lost.
    pub crashed: bool,
    /// What the agent reported at the very end.
    pub usage: Usage,
    /// What to show where there is no text (SPEC T11).
    pub stand_in: Option<String>,
    /// What happens to the session's changes.
    pub change: OutcomeChange,
    /// Whether what the turn changed could not be computed, so that its worktree is kept.
    pub undiffed: bool,
}

/// What a turn did to its worktree, as far as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutcomeChange {
    /// Nothing, or nothing that may be queued.
    Leave,
    /// The worktree is back at its base.
    BackAtBase,
    /// It differs from its base.
    Changed(Box<ChangeDraft>),
}

impl Outcome {
    fn new(state: TaskState, reason: TerminalReason, words: Option<String>) -> Self {
        Self {
            state,
            reason,
            words,
            crashed: false,
            usage: Usage::default(),
            stand_in: None,
            change: OutcomeChange::Leave,
            undiffed: false,
        }
    }

    /// The end of a turn whose agent ended it. An agent that cancelled a turn which nobody stopped did
    /// not do what was asked, so that is never `completed`.
    pub(super) fn of_agent(how: EndedHow) -> Self {
        match how {
            EndedHow::Completed => Self::new(TaskState::Completed, TerminalReason::Completed, None),
            EndedHow::Cancelled => Self::failed(Failure::new(
                TerminalReason::AgentFailed,
                "the agent cancelled the turn by itself",
            )),
            EndedHow::Failed(failure) => Self::failed(failure),
            EndedHow::Crashed(failure) => Self { crashed: true, ..Self::failed(failure) },
        }
    }

    /// The end of a turn whose node died after the prompt had gone out (SPEC D6).
    #[must_use]
    pub fn interrupted() -> Self {
        let words = "its dispatcher ended while the agent worked: interrupted".to_owned();
        Self::new(TaskState::Interrupted, TerminalReason::NodeLost, Some(words))
    }

    /// The end of a turn that a user's Stop ended (SPEC S2).
    #[must_use]
    pub fn stopped() -> Self {
        Self::of_stop(Why::User)
    }

    /// The end of a turn that failed.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self::new(TaskState::Failed, failure.reason, Some(failure.text))
    }

    /// The end of a turn that was stopped before its agent ended it.
    pub(super) fn of_stop(why: Why) -> Self {
        let failed = |reason, text: &str| Self::failed(Failure::new(reason, text));
        match why {
            Why::User => Self::new(TaskState::Cancelled, TerminalReason::Stopped, None),
            Why::Shutdown => Self::new(TaskState::Cancelled, TerminalReason::Shutdown, None),
            Why::Stalled => failed(TerminalReason::Stalled, "nothing was heard of the agent for too long"),
            Why::OutputLimit => failed(TerminalReason::OutputLimit, "the turn's output limit was reached"),
        }
    }

    /// The same end after the change could not be computed (SPEC T14).
    pub(super) fn without_diff(mut self, text: &str) -> Self {
        self.state = TaskState::Failed;
        self.reason = TerminalReason::DiffFailed;
        let mut words = self.words.take().map(|words| words + "; ").unwrap_or_default();
        words.push_str("could not compute the changes: ");
        words.push_str(text);
        self.words = Some(words);
        self.undiffed = true;
        self
    }

    /// Whether what the turn changed is to be queued: not after a Stop or a shutdown (SPEC T12).
    pub(super) fn queues_change(&self) -> bool {
        self.state != TaskState::Cancelled
    }

    /// The state that the assistant message ends in.
    #[must_use]
    pub const fn message_state(&self) -> MessageState {
        match self.state {
            TaskState::Completed => MessageState::Complete,
            TaskState::Cancelled => MessageState::Cancelled,
            TaskState::Failed | TaskState::Interrupted | TaskState::Pending | TaskState::Running => {
                MessageState::Failed
            }
        }
    }

    /// The last status that the agent shows (SPEC T13).
    #[must_use]
    pub const fn agent_status(&self) -> (AgentStatus, StatusReason) {
        match (self.state, self.reason) {
            (TaskState::Completed, _) => (AgentStatus::Idle, StatusReason::TurnComplete),
            (TaskState::Cancelled, TerminalReason::Shutdown) => (AgentStatus::Idle, StatusReason::Shutdown),
            (TaskState::Cancelled, _) => (AgentStatus::Idle, StatusReason::Cancelled),
            (TaskState::Interrupted, _) => (AgentStatus::Error, StatusReason::Interrupted),
            _ if self.crashed => (AgentStatus::Error, StatusReason::Crashed),
            _ => (AgentStatus::Error, StatusReason::Failed),
        }
    }
}
