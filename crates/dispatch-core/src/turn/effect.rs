//! What must now be done for a turn.

use std::{fmt, time::Duration};

use super::{outcome::Outcome, phase::Phase, timer::Timer};
use crate::{agent::Answer, frame::FrameBody, ports::Close, ports::Release, profile::Stop};

/// What must now be done. Imperative; safe to repeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make or find the worktree → `WorkspaceReady` or `WorkspaceFailed`.
    PrepareWorkspace,
    /// Ask the workspace call that is under way to give up; its own event still comes.
    CancelWorkspaceCall,
    /// Record the empty assistant message → `MessageBegun`.
    BeginMessage,
    /// Take the `before` checkpoint and record it → `CheckpointTaken`.
    Checkpoint,
    /// Start the agent and get it ready → `SessionReady` or `SessionFailed`.
    OpenSession,
    /// Record that the prompt goes out → `PromptSentRecorded`. SPEC D6 hangs on this coming first.
    RecordPromptSent,
    /// Send the prompt and listen → `Updates` …, `Ended`.
    SendPrompt,
    /// Append frames to the session.
    Append(Vec<FrameBody>),
    /// Answer a permission request.
    Answer(String, Answer),
    /// Climb a rung of the stop ladder.
    Interrupt(Stop),
    /// Arm a timer → `Elapsed`, unless it is replaced or disarmed before.
    Arm(Timer, Duration),
    /// Disarm a timer.
    Disarm(Timer),
    /// Let the agent go → `SessionClosed`.
    CloseSession(Close),
    /// Compute what changed → `ChangeCollected`.
    CollectChange,
    /// Record the end, after all frames → `Settled`.
    Settle(Box<Outcome>),
    /// Make the task pending again, with these last frames → `Requeued`.
    Requeue(Vec<FrameBody>),
    /// Give the worktree back → `WorkspaceReleased`.
    ReleaseWorkspace(Release),
    /// Tell whoever looks after the program that something came that no row expects.
    Report(Anomaly),
}

/// An event that its phase does not expect: a fault of an adapter or of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// What the turn was waiting for.
    pub at: Phase,
    /// What came.
    pub event: String,
}

/// Effects in the order in which they are to be done.
pub type Effects = Vec<Effect>;

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append(frames) => {
                f.write_str("Append[")?;
                for (i, frame) in frames.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { " " }, frame.name())?;
                }
                f.write_str("]")
            }
            Self::Answer(id, answer) => write!(f, "Answer({id}, {answer:?})"),
            Self::Arm(timer, after) => write!(f, "Arm({timer:?}, {after:?})"),
            Self::Settle(outcome) => write!(f, "Settle({} {})", outcome.state, outcome.reason),
            Self::Requeue(frames) => write!(f, "Requeue({})", frames.len()),
            Self::Report(anomaly) => write!(f, "Report({} + {})", anomaly.at, anomaly.event),
            other => write!(f, "{other:?}"),
        }
    }
}
