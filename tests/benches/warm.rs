//! Warm against cold: from a task's claim to its prompt, with real agents, in a repository of 2,000 files.
//!
//! `cargo bench -p boocoder-tests --bench warm [-- [AGENT] [ROUNDS]]`, with the agents of `cargo xtask tools`. In each
//! round an agent's first turn in a chat starts its process, or the server, and ten more turns find it there. The model
//! is the scripted one; the store is SQLite.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where something is missing")]

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use backends::{
    RegisteredAgents,
    acp::{AcpOnce, AcpSettings, AcpWarm},
    claude_sdk::{ClaudeSdk, ClaudeSettings},
    launch::Launcher,
    opencode_server::{OpencodeServer, OpencodeSettings},
    pool::{Keeper, Pool, PoolSettings},
    process,
    registry::{Registry, UserAgent},
};
use boocoder_tests::{
    faults::{Faults, FaultyStore, FaultyWorkspace},
    figures::ms,
    model_server::ModelServer,
    moments::{CLAIM_TO_PROMPT, Journey, Moments, STEPS, times},
    product::Machine,
    real_agents::{Approval, CLAUDE, CODEX, GEMINI, GOOSE, OPENCODE, QWEN, RealAgent, Site, tool},
    serve::grow,
};
use dispatch_core::{
    frame::Frame,
    ids::{NodeId, SessionId, TaskId},
    ports::{Backend, NewProject, Publisher, Records},
    routing::Route,
    task::{Name, NewTask, PermissionPolicy, Project, Task, TaskState, TurnOptions},
};
use dispatch_driver::{
    Dispatcher, DispatcherConfig, Node, NodeConfig, Ports, Shutdown, TurnConfig, random_bytes,
};
use serde_json::json;
use store::SqliteStore;
use tokio::sync::mpsc;
use worktree::{Policy, Worktrees, dispatch::DispatchWorkspace};

/// Files of the repository.
const FILES: usize = 2000;

/// Turns of a round after its first.
const WARM_TURNS: usize = 10;

/// How long a turn may take, an agent's start included.
const PATIENCE: Duration = Duration::from_secs(120);

/// An agent, by the registry's name, on the route that keeps it.
struct Contestant {
    agent: &'static RealAgent,
    name: &'static str,
    program: &'static str,
    route: Route,
}

const fn contestant(
    agent: &'static RealAgent,
    name: &'static str,
    program: &'static str,
    route: Route,
) -> Contestant {
    Contestant { agent, name, program, route }
}

static CONTESTANTS: [Contestant; 8] = [
    contestant(&OPENCODE, "opencode", "opencode", Route::OpencodeServer),
    contestant(&OPENCODE, "opencode", "opencode", Route::WarmAcp),
    contestant(&CLAUDE, "claude", "claude", Route::ClaudeSdk),
    contestant(&CLAUDE, "claude-agent-acp", "claude-agent-acp", Route::WarmAcp),
    contestant(&QWEN, "qwen", "qwen", Route::WarmAcp),
    contestant(&GEMINI, "gemini", "gemini", Route::WarmAcp),
    contestant(&GOOSE, "goose", "goose", Route::WarmAcp),
    contestant(&CODEX, "codex-acp", "codex-acp", Route::WarmAcp),
];

fn main() -> ExitCode {
    process::supervise_if_asked();
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "demo-agent") {
        return demo_agent::main(args.drain(1..).map(Into::into).collect::<Vec<_>>());
    }
    // cargo passes `--bench`; `cargo test` runs benches with nothing, which is not the place for real agents.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    args.retain(|arg| !arg.starts_with('-'));
    let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(5);
    let named = args.iter().find(|arg| arg.parse::<usize>().is_err());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        println!("| agent | route | cold p50, ms | warm p50 (p99), ms | of which: {} |", step_names());
        println!("|---|---|---|---|---|");
        for contestant in CONTESTANTS.iter().filter(|one| named.is_none_or(|name| name == one.name)) {
            contestant.race(rounds).await;
        }
    });
    ExitCode::SUCCESS
}

/// The steps between claim and prompt.
fn step_names() -> String {
    STEPS[2..].iter().map(|step| step.name).collect::<Vec<_>>().join(" / ")
}

impl Contestant {
    /// All rounds, and the row that comes of them.
    async fn race(&self, rounds: usize) {
        let (mut cold, mut warm) = (Vec::new(), Vec::new());
        // The agent's home lasts: its very first start, which makes databases and caches, is not counted.
        let home = tempfile::tempdir().unwrap();
        let model = ModelServer::start();
        let site = Site { model_url: &model.url(), dir: home.path(), approval: Approval::Allow };
        for round in 0..=rounds {
            let track = Track::new(self, &site).await;
            let session = track.turn("demo", "/say hello", None).await.0.session;
            for number in 0..=WARM_TURNS {
                let (task, journey) = track.turn(self.name, "say three words", Some(session)).await;
                assert_eq!(task.route, Some(self.route), "{task:?}");
                match (round, number) {
                    (0, _) => {}
                    (_, 0) => cold.push(journey),
                    (_, _) => warm.push(journey),
                }
            }
            track.end().await;
        }
        let steps = STEPS[2..].iter().map(|step| format!("{:.1}", ms(times(&warm, *step).at(0.5))));
        println!(
            "| {} | {} | {:.0} | {} | {} |",
            self.name,
            self.route.as_str(),
            ms(times(&cold, CLAIM_TO_PROMPT).at(0.5)),
            times(&warm, CLAIM_TO_PROMPT).spread(),
            steps.collect::<Vec<_>>().join(" / ")
        );
    }

    fn registry(&self, site: &Site<'_>) -> Registry {
        let env = self.agent.env(site).into_iter().filter(|(name, _)| name != "PATH");
        let user: UserAgent = serde_json::from_value(json!({
            "program": tool(self.program), "env": env.collect::<std::collections::BTreeMap<_, _>>(),
        }))
        .unwrap();
        let itself = vec![std::env::current_exe().unwrap().into(), "demo-agent".into()];
        Registry::new([(Name::new(self.name).unwrap(), user)]).unwrap().with_demo(itself)
    }
}

/// A dispatcher on a machine of its own, with nothing kept yet.
struct Track {
    records: Arc<dyn Records>,
    project: Project,
    moments: Moments,
    shutdown: mpsc::Sender<Shutdown>,
    dispatcher: tokio::task::JoinHandle<()>,
    _machine: Machine,
}

impl Track {
    async fn new(contestant: &Contestant, site: &Site<'_>) -> Self {
        let machine = Machine::new();
        grow(&machine, FILES);
        let store = Arc::new(SqliteStore::open(&machine.data_dir()).unwrap());
        let records: Arc<dyn Records> = Arc::clone(&store) as _;
        let faults = Arc::new(Faults::default());
        let moments = Moments::of(&faults);
        let worktrees = Worktrees::open(&machine.data_dir().join("worktrees"), Policy::default()).unwrap();
        let ports = Ports {
            store: Arc::new(FaultyStore { inner: store, faults: Arc::clone(&faults) }),
            workspace: Arc::new(FaultyWorkspace {
                inner: Arc::new(DispatchWorkspace::new(worktrees)),
                faults,
            }),
            agents: Arc::new(agents(contestant.registry(site), contestant.route)),
            publisher: Arc::new(Nobody),
        };
        let config = NodeConfig {
            id: NodeId::from_random(random_bytes()),
            label: "bench".into(),
            turns: TurnConfig::new("bench"),
        };
        let node = Node::join(ports, config).await.unwrap();
        let (shutdown, told) = mpsc::channel(1);
        let dispatcher = tokio::spawn(async move {
            Dispatcher::run(node, DispatcherConfig::default(), told).await.unwrap();
        });
        let path = Some(machine.repository().canonicalize().unwrap());
        let project = records.ensure_project(NewProject { name: "bench".into(), path }).await.unwrap();
        Self { records, project, moments, shutdown, dispatcher, _machine: machine }
    }

    /// One task to its end.
    async fn turn(&self, agent: &str, prompt: &str, session: Option<SessionId>) -> (Task, Journey) {
        self.moments.clear();
        let new = NewTask {
            options: TurnOptions { agent: Name::new(agent), ..TurnOptions::default() },
            permissions: PermissionPolicy::Allow,
            session,
            ..NewTask::new(TaskId::from_random(random_bytes()), self.project.id, prompt)
        };
        let requested = Instant::now();
        let id = self.records.create_task(new).await.unwrap().id;
        let created = Instant::now();
        let task = loop {
            let task = self.records.task(id).await.unwrap();
            if task.state.is_terminal() {
                break task;
            }
            assert!(requested.elapsed() < PATIENCE, "{task:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(task.state, TaskState::Completed, "{task:?}");
        // What follows the end of a turn is not to disturb the next one.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let journey = self.moments.journey(requested, created);
        (task, journey)
    }

    async fn end(self) {
        self.shutdown.send(Shutdown::Graceful).await.unwrap();
        self.dispatcher.await.unwrap();
    }
}

/// The agents of a registry, reached by one warm route, and the demo agent.
fn agents(registry: Registry, route: Route) -> RegisteredAgents {
    let (registry, launcher) = (Arc::new(registry), Launcher::new(process::Supervisor::SelfExe));
    let pool = Pool::new(PoolSettings::default());
    let (known, kept, acp) =
        (|| Arc::clone(&registry), || Arc::clone(&pool), || AcpSettings::new(launcher.clone()));
    let warm: Arc<dyn Backend> = match route {
        Route::OpencodeServer => {
            Arc::new(OpencodeServer::new(known(), OpencodeSettings::new(launcher.clone()), kept()))
        }
        Route::ClaudeSdk => Arc::new(ClaudeSdk::new(known(), ClaudeSettings::new(launcher.clone()), kept())),
        _ => Arc::new(AcpWarm::new(known(), acp(), kept())),
    };
    let agents = RegisteredAgents::new(known(), &launcher).keeping(Arc::clone(&pool) as Arc<dyn Keeper>);
    agents.with(warm).with(Arc::new(AcpOnce::new(known(), acp())))
}

/// Nobody watches.
struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _: &Arc<[Frame]>) {}
}
