//! Exit codes, and errors that carry one.

use std::{fmt, process::ExitCode};

use dispatch_core::{
    ports::{RecordsError, StoreError},
    task::{TaskState, TerminalReason},
};

/// What the process ends with. `boocoder run --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Completed, and applied if that was asked for.
    Completed = 0,
    /// The task failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The work could not be started.
    CouldNotStart = 3,
    /// Completed, but the change could not be applied.
    NotApplied = 4,
    /// Stopped by the user.
    Stopped = 130,
    /// Ended by SIGTERM or SIGHUP.
    Terminated = 143,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

impl Code {
    /// The code of a task's end.
    pub fn of_task(state: TaskState, reason: Option<TerminalReason>) -> Self {
        use TerminalReason::{AgentNotInstalled, CouldNotStart, NoProject, NoWorktree};
        match (state, reason) {
            (TaskState::Completed, _) => Self::Completed,
            (TaskState::Cancelled, _) => Self::Stopped,
            (_, Some(AgentNotInstalled | CouldNotStart | NoProject | NoWorktree)) => Self::CouldNotStart,
            _ => Self::Failed,
        }
    }
}

/// What went wrong, in words that say what, where and what to do.
#[derive(Debug)]
pub struct Error {
    code: Code,
    text: String,
}

impl Error {
    /// The command line or the configuration is wrong.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { code: Code::Usage, text: text.into() }
    }

    /// The work could not be started.
    pub fn start(text: impl Into<String>) -> Self {
        Self { code: Code::CouldNotStart, text: text.into() }
    }

    /// The command did not do what was asked.
    pub fn failed(text: impl Into<String>) -> Self {
        Self { code: Code::Failed, text: text.into() }
    }

    /// A completed change was not applied.
    pub fn not_applied(text: impl Into<String>) -> Self {
        Self { code: Code::NotApplied, text: text.into() }
    }

    /// What the process ends with.
    pub const fn code(&self) -> Code {
        self.code
    }
}

/// A `--state` that is none.
pub fn unknown_state(given: &str, all: &[impl fmt::Display], more: &str) -> Error {
    let all = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Error::usage(format!("--state {given}: there is no such state; there are {all}{more}"))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::start(format!("the record: {error}"))
    }
}

impl From<RecordsError> for Error {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Store(error) => error.into(),
            RecordsError::NotFound { .. } | RecordsError::Ambiguous { .. } | RecordsError::Refused(_) => {
                Self::usage(error.to_string())
            }
        }
    }
}
