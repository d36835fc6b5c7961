//! How an attempt ends.

use super::usage::Usage;
use crate::task::TerminalReason;

/// How an agent's attempt ended, as the agent or its process tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// How it ended.
    pub how: EndedHow,
    /// What the agent reported at the end; merged over what came before.
    pub usage: Usage,
    /// What its process printed outside the protocol.
    pub printed: Printed,
}

impl End {
    /// An end without usage or stray output.
    #[must_use]
    pub fn new(how: EndedHow) -> Self {
        Self { how, usage: Usage::default(), printed: Printed::default() }
    }
}

/// The ways in which an attempt ends.
#[derive(Debug, Clone, PartialEq)]
pub enum EndedHow {
    /// The agent says that it is done.
    Completed,
    /// The agent says that it was cancelled, whoever asked.
    Cancelled,
    /// The agent says, or its exit code shows, that it failed.
    Failed(Failure),
    /// The process or the connection was lost.
    Crashed(Failure),
}

impl std::fmt::Display for EndedHow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Failed(failure) => write!(f, "failed: {}", failure.reason),
            Self::Crashed(failure) => write!(f, "crashed: {}", failure.reason),
        }
    }
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The kind of failure.
    pub reason: TerminalReason,
    /// What a person reads: the agent's own words where it has any.
    pub text: String,
}

impl Failure {
    /// A failure of a kind, in these words.
    pub fn new(reason: TerminalReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// What a process printed that was not part of its protocol; both are bounded by the backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Printed {
    /// Standard output that could not be parsed.
    pub stdout: String,
    /// The last of standard error.
    pub stderr: String,
}
