//! Opening turns, each with the process of its chat.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ports::{Backend, Opened, SessionSpec};
use dispatch_core::profile::BackendProfile;
use dispatch_core::task::TerminalReason;

use super::control::{ClaudeControl, Link};
use super::process::Conversation;
use super::profile::{self, CLAUDE_SDK};
use super::session::ClaudeSession;
use super::starter::Starter;
use crate::common::open;
use crate::common::profile::with_grace;
use crate::common::random_id::random_id;
use crate::launch::Launcher;
use crate::pool::Pool;
use crate::registry::Registry;

/// How processes are started and how long they are waited for.
#[derive(Debug, Clone)]
pub struct ClaudeSettings {
    /// How programs are started.
    pub launcher: Launcher,
    /// How long it may take to obey an interrupt (SPEC S4). 10 s.
    pub grace: Duration,
}

impl ClaudeSettings {
    /// The defaults, with this way to start programs.
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        Self { launcher, grace: profile::GRACE }
    }
}

/// Claude Code by its control protocol: each chat has a process, in the session's worktree, which is kept between turns.
pub struct ClaudeSdk {
    registry: Arc<Registry>,
    settings: ClaudeSettings,
    pool: Arc<Pool>,
    profile: &'static BackendProfile,
}

impl ClaudeSdk {
    /// Reaches the registry's agents with these settings, and keeps them in this pool.
    #[must_use]
    pub fn new(registry: Arc<Registry>, settings: ClaudeSettings, pool: Arc<Pool>) -> Self {
        let profile = with_grace(&CLAUDE_SDK, settings.grace);
        Self { registry, settings, pool, profile }
    }
}

#[async_trait]
impl Backend for ClaudeSdk {
    fn profile(&self) -> &'static BackendProfile {
        self.profile
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let entry = open::entry(&self.registry, &spec)?;
        let launcher = self.settings.launcher.clone();
        let Some(args) = &entry.ways.claude_control else {
            let text = format!("agent {} does not speak Claude Code's control protocol", entry.name);
            return Err(Failure::new(TerminalReason::CouldNotStart, text));
        };
        let command = launcher.command(&entry, args)?;
        let mut starter = Starter::new(Arc::clone(&self.pool), launcher, entry);
        let notices = Vec::from_iter(starter.effort(&spec));
        let conversation = match &spec.resume {
            Some(id) => Conversation::Resume(id.clone()),
            None => Conversation::Begin(random_id()),
        };
        let used = starter.lend(&command, &spec, conversation).await?;
        let link = Arc::new(Link::new(used.lease.warm()));
        let control = Arc::new(ClaudeControl(Arc::clone(&link)));
        let session = ClaudeSession::new(starter, command, spec, link, used, notices);
        Ok(Opened { session: Box::new(session), control })
    }

    async fn undone(&self) {
        self.settings.launcher.undone().await;
    }
}
