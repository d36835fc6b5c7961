//! What happened to a turn.

use std::fmt;

use super::timer::Timer;
use crate::{
    agent::{AgentUpdate, Answer, End, Failure},
    ports::{Collected, SessionInfo, WriteAnswer},
};

/// Why a turn is stopped before its agent ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A user's Stop, accepted by the store.
    User,
    /// The node is being stopped and the grace period is over.
    Shutdown,
    /// Nothing was heard for too long.
    Stalled,
    /// The turn stored too much.
    OutputLimit,
}

/// What happened. Past tense; each answers an effect or comes from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The worktree is there.
    WorkspaceReady,
    /// The worktree could not be made.
    WorkspaceFailed(Failure),
    /// The assistant message is recorded, or not.
    MessageBegun(WriteAnswer),
    /// The `before` checkpoint was taken, with the tree that it saved, or could not be.
    CheckpointTaken(Result<String, String>),
    /// The agent is ready for the prompt.
    SessionReady(SessionInfo),
    /// The agent did not get ready.
    SessionFailed(Failure),
    /// It is recorded that the prompt goes out, or not.
    PromptSentRecorded(WriteAnswer),
    /// The agent told news.
    Updates(Vec<AgentUpdate>),
    /// A user answered a permission request.
    PermissionAnswered {
        /// The request's id.
        id: String,
        /// The answer.
        answer: Answer,
    },
    /// The agent's attempt ended.
    Ended(End),
    /// A timer ran out that was not replaced or disarmed.
    Elapsed(Timer),
    /// The turn is to be stopped. A user's Stop has been accepted by the store before this is sent.
    StopAccepted(Why),
    /// Whoever waits for the stop cannot wait any longer: the ladder ends now.
    Hurried,
    /// The node takes no more work: what has not sent its prompt goes back to the queue.
    ShuttingDown,
    /// The node's lease is lost: nothing may be written any more.
    LeaseLost,
    /// The record gave up on a write of this turn.
    StoreLost,
    /// The agent is gone, or back in its pool.
    SessionClosed,
    /// What the turn changed is known, or could not be computed.
    ChangeCollected(Result<Collected, String>),
    /// The end is recorded, or not.
    Settled(WriteAnswer),
    /// The task is pending again, or not.
    Requeued(WriteAnswer),
    /// The worktree was given back, as far as that was possible.
    WorkspaceReleased,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = |ok: bool| if ok { "ok" } else { "failed" };
        match self {
            Self::WorkspaceFailed(failure) => write!(f, "WorkspaceFailed({})", failure.reason),
            Self::CheckpointTaken(taken) => write!(f, "CheckpointTaken({})", result(taken.is_ok())),
            Self::SessionReady(_) => f.write_str("SessionReady"),
            Self::SessionFailed(failure) => write!(f, "SessionFailed({})", failure.reason),
            Self::Updates(batch) => write!(f, "Updates({})", batch.len()),
            Self::PermissionAnswered { id, answer } => write!(f, "PermissionAnswered({id}, {answer:?})"),
            Self::Ended(end) => write!(f, "Ended({})", end.how),
            Self::ChangeCollected(Ok(collected)) => {
                write!(f, "ChangeCollected({})", if collected.draft.is_some() { "changed" } else { "same" })
            }
            Self::ChangeCollected(Err(_)) => f.write_str("ChangeCollected(failed)"),
            other => write!(f, "{other:?}"),
        }
    }
}
