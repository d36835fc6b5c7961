//! A worktree, an agent, and a turn.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backends::RegisteredAgents;
use backends::acp::AcpSettings;
use backends::launch::Launcher;
use backends::process::{RunTag, Supervisor, leftovers};
use backends::registry::{Registry, UserAgent};
use dispatch_core::agent::{AgentUpdate, End, Failure, NoticeCode, ToolCall};
use dispatch_core::ids::{ChatId, TaskId};
use dispatch_core::ports::{
    AgentControl, AgentSession, Agents, Close, Opened, Prompt, SessionInfo, SessionSpec,
};
use dispatch_core::routing::Route;
use dispatch_core::task::Name;
use tempfile::TempDir;

use crate::agent_process;

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One agent and a folder for it.
pub struct Fixture {
    pub worktree: TempDir,
    pub settings: AcpSettings,
    pub spec: SessionSpec,
    registry: Registry,
}

/// A turn under way.
pub struct Turn {
    pub session: Box<dyn AgentSession>,
    pub control: Arc<dyn AgentControl>,
    pub info: SessionInfo,
    pub updates: Vec<AgentUpdate>,
    tag: RunTag,
}

impl Fixture {
    /// The demo agent with these arguments.
    pub fn new(args: &[&str]) -> Self {
        let registry = Registry::new([]).unwrap().with_demo(agent_process::command(args));
        Self::with_registry(registry, "demo")
    }

    /// The demo agent under a shipped agent's name, with its quirks.
    pub fn disguised(as_agent: &str) -> Self {
        let command = agent_process::command(&[]).into_iter().map(|arg| arg.into_string().unwrap());
        let user = UserAgent { command: command.collect(), ..UserAgent::default() };
        let registry = Registry::new([(Name::new(as_agent).unwrap(), user)]).unwrap();
        Self::with_registry(registry, as_agent)
    }

    pub fn with_registry(registry: Registry, agent: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let worktree = tempfile::tempdir().unwrap();
        let spec = SessionSpec {
            task: TaskId::from_random([7; 16]),
            chat: ChatId::from_random([8; 16]),
            run_tag: format!("acp-test-{}/{number}", std::process::id()),
            agent: Name::new(agent),
            cwd: worktree.path().to_owned(),
            model: None,
            mode: None,
            thinking: None,
            resume: None,
        };
        let settings = AcpSettings::new(Launcher::new(Supervisor::SelfExe));
        Self { worktree, settings, spec, registry }
    }

    pub fn agents(&self) -> RegisteredAgents {
        RegisteredAgents::new(Arc::new(self.registry.clone()), self.settings.clone())
    }

    pub async fn open(&self) -> Result<Opened, Failure> {
        let backend = self.agents().backend(Route::OneShotAcp).unwrap();
        within(backend.open(self.spec.clone())).await
    }

    /// Starts the agent.
    pub async fn start(&self) -> Turn {
        let Opened { mut session, control } = self.open().await.unwrap();
        let info = within(session.start()).await.unwrap();
        let tag = RunTag::new(self.spec.run_tag.clone()).unwrap();
        Turn { session, control, info, updates: Vec::new(), tag }
    }

    /// Starts the agent and sends a prompt.
    pub async fn prompt(&self, prompt: &str) -> Turn {
        let mut turn = self.start().await;
        within(turn.session.prompt(Prompt { text: prompt.to_owned() })).await.unwrap();
        turn
    }

    /// A whole turn: what was said, and its end.
    pub async fn run(&self, prompt: &str) -> (Said, End) {
        let mut turn = self.prompt(prompt).await;
        let end = turn.end().await;
        (turn.close(Close::Return).await, end)
    }

    /// The failure of an agent that does not get ready. Nothing of it is left.
    pub async fn start_failure(&self) -> Failure {
        let Opened { mut session, .. } = self.open().await.unwrap();
        let failure = within(session.start()).await.unwrap_err();
        within(session.close(Close::Kill)).await;
        assert_nothing_left(&RunTag::new(self.spec.run_tag.clone()).unwrap());
        failure
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.worktree.path().join(file)).unwrap()
    }
}

impl Turn {
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

    /// Lets the agent go and looks that nothing of it is left.
    pub async fn close(self, how: Close) -> Said {
        within(self.session.close(how)).await;
        assert_nothing_left(&self.tag);
        Said(self.updates)
    }
}

/// No process carries the run's tag any more.
pub fn assert_nothing_left(tag: &RunTag) {
    assert_eq!(leftovers(tag), []);
}

/// What was said in a turn.
pub struct Said(pub Vec<AgentUpdate>);

impl Said {
    pub fn text(&self) -> String {
        self.all(|update| match update {
            AgentUpdate::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .concat()
    }

    pub fn reasoning(&self) -> String {
        self.all(|update| match update {
            AgentUpdate::Reasoning(text) => Some(text.as_str()),
            _ => None,
        })
        .concat()
    }

    /// The tool calls, merged.
    pub fn tools(&self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = Vec::new();
        for update in &self.0 {
            if let AgentUpdate::ToolCall(patch) = update {
                match calls.iter_mut().find(|call| call.id == patch.id) {
                    Some(call) => call.apply(patch.clone()),
                    None => calls.push(ToolCall::begin(patch.clone())),
                }
            }
        }
        calls
    }

    pub fn notice(&self, code: NoticeCode) -> Option<&str> {
        self.0.iter().find_map(|update| match update {
            AgentUpdate::Notice(notice) if notice.code == code => Some(notice.text.as_str()),
            _ => None,
        })
    }

    pub fn all<'a, T>(&'a self, pick: impl Fn(&'a AgentUpdate) -> Option<T>) -> Vec<T> {
        self.0.iter().filter_map(pick).collect()
    }
}

/// Fails the test when it takes too long.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("because it must not take that long")
}

/// A path as UTF-8.
pub fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}
