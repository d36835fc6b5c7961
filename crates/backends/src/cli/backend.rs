//! Starting programs, one process per prompt.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ports::{Backend, Opened, SessionSpec};
use dispatch_core::profile::BackendProfile;
use dispatch_core::task::TerminalReason;

use super::control::{CliControl, Link};
use super::profile::{self, CLI_ONCE};
use super::session::CliSession;
use crate::common::open;
use crate::common::profile::with_grace;
use crate::launch::Launcher;
use crate::registry::Registry;

/// How programs are started and stopped.
#[derive(Debug, Clone)]
pub struct CliSettings {
    /// How programs are started.
    pub launcher: Launcher,
    /// How long a program may take to obey SIGTERM. 5 s.
    pub grace: Duration,
}

impl CliSettings {
    /// The defaults, with this way to start programs.
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        Self { launcher, grace: profile::GRACE }
    }
}

/// One prompt for one process: each turn has a process of its own, in its worktree, which starts with the prompt and is
/// gone when the session is closed.
pub struct CliOnce {
    registry: Arc<Registry>,
    settings: CliSettings,
    profile: &'static BackendProfile,
}

impl CliOnce {
    /// Reaches the registry's agents with these settings.
    #[must_use]
    pub fn new(registry: Arc<Registry>, settings: CliSettings) -> Self {
        let profile = with_grace(&CLI_ONCE, settings.grace);
        Self { registry, settings, profile }
    }
}

#[async_trait]
impl Backend for CliOnce {
    fn profile(&self) -> &'static BackendProfile {
        self.profile
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let entry = open::entry(&self.registry, &spec)?;
        let Some(cli) = entry.ways.cli.clone() else {
            let text = format!("agent {} takes no prompt from a command line", entry.name);
            return Err(Failure::new(TerminalReason::CouldNotStart, text));
        };
        // The process starts with its prompt; that its program is there is known before.
        self.settings.launcher.command(&entry, &cli.args)?;
        let link = Arc::new(Link::default());
        let control = Arc::new(CliControl(Arc::clone(&link)));
        let session = CliSession::new(self.settings.launcher.clone(), entry, cli, spec, link);
        Ok(Opened { session: Box::new(session), control })
    }

    /// Opening starts nothing.
    async fn undone(&self) {}
}
