//! A worktree, an agent, and its turns.

use std::path::Path;
use std::sync::Arc;

use backends::RegisteredAgents;
use backends::acp::{AcpOnce, AcpSettings, AcpWarm};
use backends::launch::Launcher;
use backends::pool::{Keeper, Pool, PoolSettings};
use backends::process::{RunTag, Supervisor};
use backends::registry::{Registry, UserAgent};
use dispatch_core::agent::{End, Failure};
use dispatch_core::ports::{Agents, Close, SessionSpec, WarmAgent};
use dispatch_core::routing::Route;
use dispatch_core::task::Name;
use tempfile::TempDir;

use crate::agent_process;
use crate::support::said::Said;
use crate::support::spec::spec;
use crate::support::turn::{Turn, assert_nothing_left};
use crate::support::waiting::within;
use crate::until::until;

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
        let worktree = tempfile::tempdir().unwrap();
        let spec = SessionSpec { agent: Name::new(agent), ..spec(worktree.path()) };
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

    pub async fn open(&self) -> Result<Turn, Failure> {
        self.open_for(self.spec.clone()).await
    }

    pub async fn open_for(&self, spec: SessionSpec) -> Result<Turn, Failure> {
        Turn::open(&*self.agents().backend(self.route).unwrap(), spec).await
    }

    /// Starts the agent.
    pub async fn start(&self) -> Turn {
        self.start_for(self.spec.clone()).await
    }

    pub async fn start_for(&self, spec: SessionSpec) -> Turn {
        let mut turn = self.open_for(spec).await.unwrap();
        turn.start().await.unwrap();
        turn
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

    /// Waits until so many are kept.
    pub async fn until_kept(&self, count: usize) {
        until(|| self.kept().len() == count).await;
    }

    /// Ends what is kept, and looks that nothing is left.
    pub async fn over(&self) {
        within(self.pool.shut_down()).await;
        assert_eq!(self.kept(), []);
        assert_nothing_left(&self.spec.run_tag);
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
        let mut turn = self.open().await.unwrap();
        let failure = turn.start().await.unwrap_err();
        turn.close(Close::Kill).await;
        failure
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.worktree.path().join(file)).unwrap()
    }
}

impl Turn {
    /// Sends a prompt, waits for its end and lets the agent go.
    pub async fn run(mut self, text: &str) -> (Said, End) {
        self.prompt(text).await;
        self.finish().await
    }

    /// The agent's id of the conversation.
    pub fn conversation(&self) -> String {
        self.info.agent_session.clone().unwrap()
    }
}

/// A path as UTF-8.
pub fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}
