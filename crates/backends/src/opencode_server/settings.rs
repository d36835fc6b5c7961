//! What may be set of the server.

use std::path::PathBuf;
use std::time::Duration;

use super::profile::GRACE;
use crate::launch::Launcher;

/// How the server is started and how long it is waited for.
#[derive(Debug, Clone)]
pub struct OpencodeSettings {
    /// How programs are started.
    pub launcher: Launcher,
    /// How long a turn may take to obey an abort (SPEC S4). 10 s.
    pub grace: Duration,
    /// Where the server works; its conversations name folders of their own. It should hold nothing, as opencode takes
    /// settings and plugins from where it is started, and nobody else should be able to write to it. `/`.
    pub folder: PathBuf,
    /// Where git, run by an agent, looks no further up for a repository: the folder of the worktrees. None.
    pub ceiling: Option<PathBuf>,
    /// How long the server may take to listen. 60 s.
    pub start: Duration,
    /// How long a turn waits for a server to be recycled, on which the turn before it of the same line of work was cut
    /// off. 90 s.
    pub recycling: Duration,
}

impl OpencodeSettings {
    /// The defaults, with this way to start programs.
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            grace: GRACE,
            folder: PathBuf::from("/"),
            ceiling: None,
            start: Duration::from_secs(60),
            recycling: Duration::from_secs(90),
        }
    }
}
