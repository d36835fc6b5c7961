//! What a turn is waiting for.

use std::fmt;

use super::event::Why;

/// What a turn is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The worktree is being made.
    Preparing,
    /// The assistant message is being recorded.
    Opening,
    /// The `before` checkpoint is being taken.
    Snapshotting,
    /// The agent is getting ready.
    Starting,
    /// That the prompt goes out is being recorded.
    Committing,
    /// The agent works.
    Running,
    /// The agent works but is asked to stop.
    Stopping {
        /// Why.
        why: Why,
        /// The rung of the stop ladder that was climbed last, from 0.
        rung: usize,
    },
    /// The agent is being let go.
    Closing,
    /// What the turn changed is being computed.
    Collecting,
    /// The end is being recorded.
    Settling,
    /// The task is being made pending again.
    Requeueing,
    /// The worktree is being given back.
    Releasing,
    /// Nothing more will be done.
    Done,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping { why, rung } => write!(f, "Stopping({why:?}, {rung})"),
            other => write!(f, "{other:?}"),
        }
    }
}
