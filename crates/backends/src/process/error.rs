//! Why a child could not be started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why [`Command::spawn`](super::Command::spawn) started nothing. Nothing is left running when it is returned.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such program, neither at the path nor in `PATH`; or a script's interpreter is missing.
    #[error("program {} or its interpreter was not found", program.display())]
    NotFound {
        /// The program as asked for.
        program: OsString,
    },
    /// The program exists but may not be executed.
    #[error("program {} may not be executed", program.display())]
    PermissionDenied {
        /// The program as asked for.
        program: OsString,
    },
    /// The working folder is missing, is no folder, or may not be entered.
    #[error("failed to enter working folder {}", path.display())]
    Directory {
        /// The folder as asked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused to start the program for another reason, such as too many processes or a bad format.
    #[error("failed to execute {}", program.display())]
    Execute {
        /// The program as asked for.
        program: OsString,
        /// What the kernel said.
        source: io::Error,
    },
    /// A NUL byte in the program, an argument, the folder or the environment, a `=` in a variable's name, a
    /// folder that is not absolute.
    #[error("{what} cannot be passed to a program")]
    Invalid {
        /// Which of them, such as `argument 2`.
        what: String,
    },
    /// Arguments and environment are larger than a supervisor accepts.
    #[error("arguments and environment are {size} bytes, at most {max} can be passed")]
    TooLarge {
        /// Their size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// [`Supervisor::SelfExe`](super::Supervisor::SelfExe), but this process's `main` did not call
    /// [`supervise_if_asked`](super::supervise_if_asked); executing it again would run it as if anew.
    #[error("this program cannot supervise: its main does not call supervise_if_asked")]
    NotASupervisor,
    /// [`Command::fence`](super::Command::fence) is shorter than 50 ms, which a busy machine cannot keep.
    #[error("fence of {fence:?} is too short to be kept")]
    FenceTooShort {
        /// As asked for.
        fence: Duration,
    },
    /// A fence, and [`Supervisor::ProcessGroupOnly`](super::Supervisor::ProcessGroupOnly): nobody could keep it.
    #[error("a fence needs a supervisor")]
    FenceWithoutSupervisor,
    /// A pipe or the supervisor's own process could not be made.
    #[error("failed to start the supervisor")]
    Supervisor {
        /// What the kernel said.
        source: io::Error,
    },
    /// The supervisor ended without a word: it is not of this version, or does not call
    /// [`supervise_if_asked`](super::supervise_if_asked), or was killed.
    #[error("supervisor ended before it started the agent")]
    SupervisorLost,
    /// Nothing was heard in time; everything started so far is killed.
    #[error("agent did not start within {limit:?}")]
    TimedOut {
        /// [`Limits::start`](super::Limits::start).
        limit: Duration,
    },
}
