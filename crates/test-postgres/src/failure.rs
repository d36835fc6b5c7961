//! What can go wrong around a server.

use std::{error::Error, fmt, io, path::PathBuf};

/// Why there is no server or database.
#[derive(Debug)]
pub enum Failure {
    /// PostgreSQL's server programs are nowhere on this machine.
    NotInstalled,
    /// A program could not be started.
    NotStarted {
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program failed.
    Program {
        /// The command.
        command: String,
        /// What it printed, and the end of the server's log where there is one.
        said: String,
    },
    /// A file or folder of the server cannot be made or changed.
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No port of the loopback interface is free.
    Port(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str(
                "these tests need a PostgreSQL server: run them as `cargo xtask test`, which sees to it, or \
                 install its programs (on Debian `apt-get install --no-install-recommends postgresql`)",
            ),
            Self::NotStarted { command, source } => write!(f, "{command}: {source}"),
            Self::Program { command, said } => write!(f, "{command} failed: {said}"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Port(source) => write!(f, "no free port: {source}"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotStarted { source, .. } | Self::File { source, .. } | Self::Port(source) => Some(source),
            Self::NotInstalled | Self::Program { .. } => None,
        }
    }
}
