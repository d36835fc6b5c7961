//! A worktree, a program, and a turn.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backends::cli::{CliOnce, CliSettings};
use backends::launch::Launcher;
use backends::process::{RunTag, Supervisor, leftovers};
use backends::registry::{Output, Registry, Transport, UserAgent};
use dispatch_core::agent::{AgentUpdate, End, NoticeCode, OwnSettings};
use dispatch_core::ids::{ChatId, Epoch, SessionId, TaskId};
use dispatch_core::ports::{
    AgentControl, AgentSession, Backend, Close, Opened, Prompt, SessionInfo, SessionSpec,
};
use dispatch_core::task::{Name, PermissionPolicy};
use tempfile::TempDir;

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One agent, its backend, and a folder for it.
pub struct Fixture {
    pub worktree: TempDir,
    pub spec: SessionSpec,
    pub backend: Arc<dyn Backend>,
    /// Where its program is.
    _programs: TempDir,
}

/// A turn under way.
pub struct Turn {
    pub session: Box<dyn AgentSession>,
    pub control: Arc<dyn AgentControl>,
    pub info: SessionInfo,
    pub updates: Vec<AgentUpdate>,
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

pub fn spec(cwd: &Path, agent: &str) -> SessionSpec {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    SessionSpec {
        task: TaskId::from_random([7; 16]),
        epoch: Epoch(1),
        session: SessionId::from_random([9; 16]),
        chat: ChatId::from_random([8; 16]),
        run_tag: format!("cli-test-{}/{number}", std::process::id()),
        agent: Name::new(agent),
        cwd: cwd.to_owned(),
        model: None,
        mode: None,
        thinking: None,
        permissions: PermissionPolicy::Allow,
        resume: None,
        resume_epoch: None,
        own: OwnSettings::default(),
        history: Vec::new(),
    }
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
        let mut turn = self.prompt(prompt).await;
        let end = turn.end().await;
        let Turn { session, info, updates, .. } = turn;
        within(session.close(Close::Return)).await;
        assert_nothing_left(&self.spec);
        (Ended { info, updates }, end)
    }
}

/// What is left of a turn.
pub struct Ended {
    pub info: SessionInfo,
    pub updates: Vec<AgentUpdate>,
}

impl Ended {
    pub fn text(&self) -> String {
        text(&self.updates)
    }

    pub fn has_notice(&self, code: NoticeCode) -> bool {
        let is = |update: &AgentUpdate| matches!(update, AgentUpdate::Notice(notice) if notice.code == code);
        self.updates.iter().any(is) || self.info.notices.iter().any(|notice| notice.code == code)
    }
}

impl Turn {
    pub async fn begin(backend: &dyn Backend, spec: SessionSpec, prompt: &str) -> Self {
        let Opened { mut session, control } = within(backend.open(spec)).await.unwrap();
        let info = within(session.start()).await.unwrap();
        within(session.prompt(Prompt { text: prompt.to_owned() })).await.unwrap();
        Self { session, control, info, updates: Vec::new() }
    }

    /// Waits for the end.
    pub async fn end(&mut self) -> End {
        loop {
            if let Some(end) = within(self.session.next(&mut self.updates)).await {
                return end;
            }
        }
    }

    /// Waits until something was said that fits.
    pub async fn until<T>(&mut self, fits: impl Fn(&AgentUpdate) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.updates.iter().find_map(&fits) {
                return found;
            }
            let end = within(self.session.next(&mut self.updates)).await;
            assert!(end.is_none(), "ended early: {end:?} after {:?}", self.updates);
        }
    }

    /// Waits for this text.
    pub async fn until_said(&mut self, wanted: &str) {
        self.until(|update| matches!(update, AgentUpdate::Text(text) if text.contains(wanted)).then_some(()))
            .await;
    }
}

pub fn text(updates: &[AgentUpdate]) -> String {
    let text = |update: &AgentUpdate| match update {
        AgentUpdate::Text(text) => Some(text.clone()),
        _ => None,
    };
    updates.iter().filter_map(text).collect()
}

/// No process of the run is left.
pub fn assert_nothing_left(spec: &SessionSpec) {
    assert_eq!(leftovers(&RunTag::new(spec.run_tag.clone()).unwrap()), []);
}

/// Waits for what tells nobody that it has happened.
pub async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// The most memory that this process has had so far, in bytes (proc(5): `VmHWM`).
pub fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Little has been needed since the peak was this.
pub fn assert_little_since(before: usize) {
    let more = peak() - before;
    assert!(more < 64 << 20, "{} MiB more", more >> 20);
}

/// Fails the test when it takes too long.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("because it must not take that long")
}
