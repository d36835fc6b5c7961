//! A worktree, a program, and its turns.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backends::cli::{CliOnce, CliSettings};
use backends::launch::Launcher;
use backends::process::Supervisor;
use backends::registry::{Output, Registry, Transport, UserAgent};
use dispatch_core::agent::{AgentUpdate, End, NoticeCode};
use dispatch_core::ports::{Backend, SessionInfo, SessionSpec};
use dispatch_core::task::{Name, PermissionPolicy};
use tempfile::TempDir;

use crate::support::said::Said;
use crate::support::spec;
use crate::support::turn::Turn;

/// One agent, its backend, and a folder for it.
pub struct Fixture {
    pub worktree: TempDir,
    pub spec: SessionSpec,
    pub backend: Arc<dyn Backend>,
    /// Where its program is.
    _programs: TempDir,
}

/// Writes a program; returns its path.
pub fn program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What starts programs in tests: this test program is their supervisor.
pub fn launcher() -> Launcher {
    Launcher::new(Supervisor::SelfExe)
}

/// Everything is allowed.
pub fn spec(cwd: &Path, agent: &str) -> SessionSpec {
    SessionSpec { agent: Name::new(agent), permissions: PermissionPolicy::Allow, ..spec::spec(cwd) }
}

impl Fixture {
    /// A program that prints this.
    pub fn new(output: Output, script: &str) -> Self {
        Self::of_users(UserAgent { output, ..UserAgent::default() }, script)
    }

    /// A program that insists on a terminal.
    pub fn on_terminal(script: &str) -> Self {
        Self::of_users(UserAgent { terminal: true, ..UserAgent::default() }, script)
    }

    /// A program in the place of an agent's.
    pub fn in_place_of(agent: &str, script: &str) -> Self {
        Self::with(agent, script, |program| UserAgent { program: Some(program), ..UserAgent::default() })
    }

    fn of_users(user: UserAgent, script: &str) -> Self {
        Self::with("mine", script, |program| UserAgent {
            command: vec![program],
            transport: Transport::Cli,
            ..user
        })
    }

    fn with(agent: &str, script: &str, user: impl FnOnce(String) -> UserAgent) -> Self {
        let (worktree, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let user = user(program(programs.path(), script).to_str().unwrap().to_owned());
        let registry = Registry::new([(Name::new(agent).unwrap(), user)]).unwrap();
        let backend = CliOnce::new(Arc::new(registry), CliSettings::new(launcher()));
        let spec = spec(worktree.path(), agent);
        Self { worktree, spec, backend: Arc::new(backend), _programs: programs }
    }

    /// A turn with this prompt.
    pub async fn prompt(&self, prompt: &str) -> Turn {
        Turn::begin(&*self.backend, self.spec.clone(), prompt).await
    }

    /// A whole turn, of which nothing is left.
    pub async fn run(&self, prompt: &str) -> (Ended, End) {
        let turn = self.prompt(prompt).await;
        let info = turn.info.clone();
        let (said, end) = turn.finish().await;
        (Ended { info, said }, end)
    }
}

/// What is left of a turn.
pub struct Ended {
    pub info: SessionInfo,
    pub said: Said,
}

impl Ended {
    pub fn text(&self) -> String {
        self.said.text()
    }

    pub fn has_notice(&self, code: NoticeCode) -> bool {
        self.said.notice(code).is_some() || self.info.notices.iter().any(|notice| notice.code == code)
    }
}

impl Turn {
    /// With an agent that is ready, and has its prompt.
    pub async fn begin(backend: &dyn Backend, spec: SessionSpec, prompt: &str) -> Self {
        let mut turn = Self::open(backend, spec).await.unwrap();
        turn.start().await.unwrap();
        turn.prompt(prompt).await;
        turn
    }

    /// Waits for this text.
    pub async fn until_said(&mut self, wanted: &str) {
        self.until(|update| matches!(update, AgentUpdate::Text(text) if text.contains(wanted)).then_some(()))
            .await;
    }
}
