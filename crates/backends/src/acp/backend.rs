//! Starting agents, one process per turn.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use acp_proto::client::{Config, connect};
use acp_proto::host::Host;
use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ports::{Backend, Opened, SessionSpec};
use dispatch_core::profile::BackendProfile;
use dispatch_core::task::TerminalReason;

use super::control::{AcpControl, Link};
use super::profile;
use super::session::AcpSession;
use super::terminals::CommandSpawner;
use crate::agents::KnownCommands;
use crate::launch::Launcher;
use crate::process::{RunTag, SpawnError};
use crate::registry::{AgentEntry, Registry};

/// How agents are started and how long they are waited for.
#[derive(Debug, Clone)]
pub struct AcpSettings {
    /// How programs are started.
    pub launcher: Launcher,
    /// How long an agent may take to obey `session/cancel` (SPEC S4). 10 s.
    pub grace: Duration,
    /// The connection's limits, with the time limits of the handshake.
    pub connection: Config,
}

impl AcpSettings {
    /// The defaults, with this way to start programs.
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        // What the agent says is listened to in every phase, so that nothing needs to wait in memory for a consumer
        // that awaits an answer.
        let limits = Config::default();
        let connection = Config { inbox_while_awaited: limits.inbox, ..limits };
        Self { launcher, grace: profile::GRACE, connection }
    }
}

/// One-shot ACP: each turn has a process of its own, in its worktree, gone when the session is closed.
pub struct AcpOnce {
    registry: Arc<Registry>,
    settings: AcpSettings,
    commands: Arc<KnownCommands>,
    profile: &'static BackendProfile,
}

impl AcpOnce {
    pub(crate) fn new(registry: Arc<Registry>, settings: AcpSettings, commands: Arc<KnownCommands>) -> Self {
        let profile = profile::with_grace(settings.grace);
        Self { registry, settings, commands, profile }
    }

    fn entry(&self, spec: &SessionSpec) -> Result<AgentEntry, Failure> {
        let missing = |hint| Failure::new(TerminalReason::AgentNotInstalled, hint);
        let name = spec.agent.as_ref().ok_or_else(|| missing("no agent is named".to_owned()))?;
        let entry = self.registry.get(name.as_str());
        entry.cloned().ok_or_else(|| {
            missing(format!("agent {name} is not installed: {}", self.registry.unknown_hint()))
        })
    }

    /// The command with its program's own path, which is looked up here and nowhere else.
    fn command(&self, entry: &AgentEntry) -> Result<Vec<OsString>, Failure> {
        let path = self.settings.launcher.variable("PATH").map(OsString::as_os_str);
        let program = Registry::installed(entry, path).ok_or_else(|| {
            let AgentEntry { name, install, .. } = entry;
            let program = entry.program().display();
            let text = format!("agent {name} is not installed: program {program} was not found; {install}");
            Failure::new(TerminalReason::AgentNotInstalled, text)
        })?;
        Ok(std::iter::once(program.into()).chain(entry.command.iter().skip(1).cloned()).collect())
    }
}

#[async_trait]
impl Backend for AcpOnce {
    fn profile(&self) -> &'static BackendProfile {
        self.profile
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let entry = self.entry(&spec)?;
        let command = self.command(&entry)?;
        let failed = |text: String| Failure::new(TerminalReason::CouldNotStart, text);
        if spec.cwd.to_str().is_none() {
            let path = spec.cwd.display();
            return Err(failed(format!(
                "the worktree's path is not UTF-8, which ACP cannot carry: {path}; choose another data folder"
            )));
        }
        let tag = RunTag::new(format!("{}/{}", spec.run_tag, spec.task))
            .map_err(|error| Failure::new(TerminalReason::Internal, error.to_string()))?;
        let extra = worktree_env(&spec.cwd);
        let launcher = &self.settings.launcher;
        let env = launcher
            .environment(&entry, extra.iter().cloned())
            .map_err(|error| failed(format!("agent {}: {error}", entry.name)))?;
        let mut child =
            launcher.spawn(&command, spec.cwd.clone(), env, tag.clone()).await.map_err(|error| {
                failed(format!("agent {} could not be started: {}", entry.name, chain(&error)))
            })?;

        let terminals = Arc::new(CommandSpawner::new(launcher.clone(), entry.clone(), extra, tag));
        let mut host = Host::new(entry.quirks.missing_file).with_terminals(Arc::clone(&terminals) as _);
        if let Some(beside) = spec.cwd.parent() {
            // Ours, as the worktree is, and no part of any checkpoint.
            host = host.with_scratch(beside.to_owned());
        }
        let capabilities = host.capabilities();
        let (Some(stdout), Some(stdin)) = (child.take_stdout(), child.take_stdin()) else {
            return Err(Failure::new(TerminalReason::Internal, "the agent has no standard streams"));
        };
        let (client, events) = connect(stdout, stdin, Arc::new(host), self.settings.connection.clone());
        let link = Arc::new(Link::new(client, child.control(), terminals));
        let control = Arc::new(AcpControl(Arc::clone(&link)));
        let commands = Arc::clone(&self.commands);
        let session = AcpSession::new(entry, spec, child, events, link, capabilities, commands);
        Ok(Opened { session: Box::new(session), control })
    }
}

/// Keeps git, run in a worktree whose `.git` is gone, from taking a repository further up for its own.
fn worktree_env(cwd: &Path) -> Vec<(OsString, OsString)> {
    let ceiling = cwd.parent().map(|parent| ("GIT_CEILING_DIRECTORIES".into(), parent.into()));
    ceiling.into_iter().collect()
}

/// An error with its causes.
fn chain(error: &SpawnError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
