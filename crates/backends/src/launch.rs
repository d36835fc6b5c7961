//! Starting an agent's program: one place for supervision, environment and tags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use dispatch_core::agent::Failure;
use dispatch_core::task::TerminalReason;

use crate::common::random_id::random_id;
use crate::process::env::{Environment, ForbiddenVariable, agent_environment};
use crate::process::{
    Child, Command, Control, GivenUp, Limits, RunTag, SpawnError, Starting, Supervisor, TerminalSize,
};
use crate::registry::{AgentEntry, Registry};

/// How programs are started: the same for agents, their terminals and a look at their version.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// Who answers for the process tree.
    pub supervisor: Supervisor,
    /// See [`Command::fence`].
    pub fence: Option<Duration>,
    /// The environment that agents inherit from, by the allow-list of [`crate::process::env`]. It is a copy: changing
    /// this process's own environment later changes nothing.
    pub inherited: Vec<(OsString, OsString)>,
    given_up: GivenUp,
}

impl Launcher {
    /// Programs inherit from this process's environment; no fence.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        let inherited = std::env::vars_os().collect();
        Self { supervisor, fence: None, inherited, given_up: GivenUp::default() }
    }

    /// The value of an inherited variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsString> {
        self.inherited.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The environment of an agent: what all may have, what its entry lets through and sets, then `extra`. One that
    /// opens a port is given a password for it, which nobody else has.
    ///
    /// # Errors
    /// [`ForbiddenVariable`] when the entry or `extra` names what agents never get.
    pub fn environment(
        &self,
        entry: &AgentEntry,
        extra: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Environment, ForbiddenVariable> {
        let parent = self.inherited.iter().cloned();
        let passed: Vec<OsString> =
            self.inherited.iter().map(|(name, _)| name).filter(|name| entry.passes(name)).cloned().collect();
        let password = entry.quirks.port_password.iter().map(|name| (name.into(), random_id().into()));
        let own = entry.env.iter().map(|(name, value)| (name.into(), value.into()));
        agent_environment(parent, &passed, password.chain(own).chain(extra))
    }

    /// An agent's command: its program's own path, which is looked up here and nowhere else, with these arguments.
    ///
    /// # Errors
    /// A [`Failure`] with how to install it, when it is not on this machine.
    pub fn command(&self, entry: &AgentEntry, args: &[OsString]) -> Result<Vec<OsString>, Failure> {
        let path = self.variable("PATH").map(OsString::as_os_str);
        let program = Registry::installed(entry, path).ok_or_else(|| {
            let AgentEntry { name, program, install, .. } = entry;
            let program = program.display();
            let text = format!("agent {name} is not installed: program {program} was not found; {install}");
            Failure::new(TerminalReason::AgentNotInstalled, text)
        })?;
        Ok(std::iter::once(program.into()).chain(args.iter().cloned()).collect())
    }

    /// Starts a program.
    ///
    /// # Errors
    /// See [`SpawnError`]; nothing is left running then.
    pub async fn spawn(
        &self,
        command: &[OsString],
        cwd: PathBuf,
        env: Environment,
        tag: RunTag,
    ) -> Result<Child, SpawnError> {
        self.spawn_on(None, command, cwd, env, tag).await
    }

    /// Starts a program, on a terminal of its own where a size is given.
    ///
    /// # Errors
    /// See [`SpawnError`]; nothing is left running then.
    pub async fn spawn_on(
        &self,
        terminal: Option<TerminalSize>,
        command: &[OsString],
        cwd: PathBuf,
        env: Environment,
        tag: RunTag,
    ) -> Result<Child, SpawnError> {
        let (program, args) =
            command.split_first().ok_or_else(|| SpawnError::Invalid { what: "program".to_owned() })?;
        let command = Command {
            program: program.clone(),
            args: args.to_vec(),
            cwd,
            env,
            tag,
            terminal,
            limits: Limits::default(),
            fence: self.fence,
        };
        let spawning = command.begin(&self.supervisor)?;
        let starting = self.unless_ready(spawning.control());
        let spawned = spawning.ready().await;
        starting.over();
        spawned
    }

    /// Looks after a child that is of use only when more has been done: see [`undone`](Self::undone).
    pub(crate) fn unless_ready(&self, child: Control) -> Starting {
        self.given_up.unless_ready(child)
    }

    /// The same, but for starts that are given up: those of each are its own.
    pub(crate) fn apart(self) -> Self {
        Self { given_up: GivenUp::default(), ..self }
    }

    /// Returns when nothing runs any more of starts that were given up.
    pub async fn undone(&self) {
        self.given_up.gone().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_opens_a_port_gets_a_password_that_nobody_has() {
        let name = "OPENCODE_SERVER_PASSWORD";
        let registry = Registry::new([]).unwrap();
        let mut launcher = Launcher::new(Supervisor::SelfExe);
        launcher.inherited = vec![(name.into(), "known".into())];
        let opencode = registry.get("opencode").unwrap();
        let password = || launcher.environment(opencode, []).unwrap()[&OsString::from(name)].clone();
        let (one, other) = (password(), password());
        assert!(one != other && one != "known" && one.len() >= 32, "{one:?} {other:?}");
        let goose = launcher.environment(registry.get("goose").unwrap(), []).unwrap();
        assert!(!goose.contains_key(&OsString::from(name)));
    }
}
