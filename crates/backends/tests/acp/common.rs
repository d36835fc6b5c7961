//! A worktree, an agent, and a turn.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backends::RegisteredAgents;
use backends::acp::{AcpOnce, AcpSettings, AcpWarm};
use backends::launch::Launcher;
use backends::pool::{Keeper, Pool, PoolSettings};
use backends::process::{RunTag, Supervisor, leftovers};
use backends::registry::{Registry, UserAgent};
use dispatch_core::agent::{AgentUpdate, End, Failure, NoticeCode, OwnSettings, ToolCall};
use dispatch_core::ids::{ChatId, Epoch, SessionId, TaskId};
use dispatch_core::ports::{
    AgentControl, AgentSession, Agents, Close, Opened, Prompt, SessionInfo, SessionSpec, WarmAgent,
};
use dispatch_core::routing::Route;
use dispatch_core::task::{Name, PermissionPolicy};
use tempfile::TempDir;

use crate::agent_process;

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One agent and a folder for it.
pub struct Fixture {
    pub worktree: TempDir,
    pub settings: AcpSettings,
    pub spec: SessionSpec,
    pub route: Route,
    /// What is kept between turns.
    pub pool: Arc<Pool>,
    registry: Registry,
}

/// A turn under way.
pub struct Turn {
    pub session: Box<dyn AgentSession>,
    pub control: Arc<dyn AgentControl>,
    pub info: SessionInfo,
    pub updates: Vec<AgentUpdate>,
    /// Of what must be gone after the turn.
    tag: Option<RunTag>,
}

impl Fixture {
    /// The demo agent with these arguments, one process per turn.
    pub fn new(args: &[&str]) -> Self {
        let registry = Registry::new([]).unwrap().with_demo(agent_process::command(args));
        Self::with_registry(registry, "demo")
    }

    /// The demo agent with these arguments, kept between turns.
    pub fn warm(args: &[&str]) -> Self {
        Self::new(args).made_warm()
    }

    /// Kept between turns.
    pub fn made_warm(self) -> Self {
        Self { route: Route::WarmAcp, ..self }
    }

    /// The demo agent with these arguments on each route.
    pub fn each(args: &[&str]) -> [Self; 2] {
        [Self::new(args), Self::warm(args)]
    }

    /// With other limits of what is kept.
    pub fn keeping(mut self, settings: PoolSettings) -> Self {
        self.pool = Pool::new(settings);
        self
    }

    /// As for another turn: of the same chat, with the same agents and what is kept of them.
    pub fn spec(&self, change: impl FnOnce(&mut SessionSpec)) -> SessionSpec {
        let mut spec = self.spec.clone();
        change(&mut spec);
        spec
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
            epoch: Epoch(1),
            session: SessionId::from_random([9; 16]),
            chat: ChatId::from_random([8; 16]),
            run_tag: format!("acp-test-{}/{number}", std::process::id()),
            agent: Name::new(agent),
            cwd: worktree.path().to_owned(),
            model: None,
            mode: None,
            thinking: None,
            permissions: PermissionPolicy::Ask,
            resume: None,
            resume_epoch: None,
            own: OwnSettings::default(),
            history: vec![],
        };
        let settings = AcpSettings::new(Launcher::new(Supervisor::SelfExe));
        let (route, pool) = (Route::OneShotAcp, Pool::new(PoolSettings::default()));
        Self { worktree, settings, spec, route, pool, registry }
    }

    pub fn agents(&self) -> RegisteredAgents {
        let (registry, settings) = (Arc::new(self.registry.clone()), self.settings.clone());
        let once = AcpOnce::new(Arc::clone(&registry), settings.clone());
        let warm = AcpWarm::new(Arc::clone(&registry), settings.clone(), Arc::clone(&self.pool));
        RegisteredAgents::new(registry, &settings.launcher)
            .with(Arc::new(once))
            .with(Arc::new(warm))
            .keeping(Arc::clone(&self.pool) as _)
    }

    pub async fn open(&self) -> Result<Opened, Failure> {
        self.open_for(self.spec.clone()).await
    }

    pub async fn open_for(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let backend = self.agents().backend(self.route).unwrap();
        within(backend.open(spec)).await
    }

    /// Starts the agent.
    pub async fn start(&self) -> Turn {
        self.start_for(self.spec.clone()).await
    }

    pub async fn start_for(&self, spec: SessionSpec) -> Turn {
        let Opened { mut session, control } = self.open_for(spec).await.unwrap();
        let info = within(session.start()).await.unwrap();
        let is_own = self.route == Route::OneShotAcp;
        Turn { session, control, info, updates: Vec::new(), tag: is_own.then(|| self.tag()) }
    }

    /// Goes on with the conversation of an earlier turn, as the record would.
    pub async fn start_after(&self, session: &str) -> Turn {
        self.start_for(self.spec(|spec| spec.resume = Some(session.to_owned()))).await
    }

    /// The tag of everything that was started.
    pub fn tag(&self) -> RunTag {
        RunTag::new(self.spec.run_tag.clone()).unwrap()
    }

    /// What is kept now.
    pub fn kept(&self) -> Vec<WarmAgent> {
        self.pool.warm()
    }

    /// Waits until so many are kept: what goes by itself tells nobody.
    pub async fn until_kept(&self, count: usize) {
        within(async {
            while self.kept().len() != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Ends what is kept, and looks that nothing is left.
    pub async fn over(&self) {
        within(self.pool.shut_down()).await;
        assert_eq!(self.kept(), []);
        assert_nothing_left(&self.tag());
    }

    /// Starts the agent and sends a prompt.
    pub async fn prompt(&self, prompt: &str) -> Turn {
        let mut turn = self.start().await;
        turn.prompt(prompt).await;
        turn
    }

    /// A whole turn: what was said, and its end.
    pub async fn run(&self, prompt: &str) -> (Said, End) {
        self.start().await.run(prompt).await
    }

    /// The failure of an agent that does not get ready. Nothing of it is left.
    pub async fn start_failure(&self) -> Failure {
        let Opened { mut session, .. } = self.open().await.unwrap();
        let failure = within(session.start()).await.unwrap_err();
        within(session.close(Close::Kill)).await;
        assert_nothing_left(&self.tag());
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

    /// Sends a prompt.
    pub async fn prompt(&mut self, text: &str) {
        within(self.session.prompt(Prompt { text: text.to_owned() })).await.unwrap();
    }

    /// Sends a prompt and waits for its end, lets the agent go, and looks that nothing is left that is not kept.
    pub async fn run(mut self, text: &str) -> (Said, End) {
        self.prompt(text).await;
        let end = self.end().await;
        (self.close(Close::Return).await, end)
    }

    /// The agent's id of the conversation.
    pub fn conversation(&self) -> String {
        self.info.agent_session.clone().unwrap()
    }

    /// Lets the agent go and looks that nothing of it is left, unless it is kept.
    pub async fn close(self, how: Close) -> Said {
        within(self.session.close(how)).await;
        if let Some(tag) = &self.tag {
            assert_nothing_left(tag);
        }
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
