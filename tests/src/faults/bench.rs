//! A repository, a record and nodes with faults around their ports.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dispatch_core::{
    agent::EndedHow,
    ids::{NodeId, SessionId, TaskId},
    ports::{Agents, ClaimRequest, Lease, NewProject, Publisher, Records, Store, Workspace},
    profile::{BackendProfile, TurnLimits},
    task::{Claim, Name, NewTask, Project, Task, TurnOptions},
};
use dispatch_driver::{DispatcherConfig, Node, NodeConfig, Ports, TurnConfig, TurnReport, random_bytes};
use store::SqliteStore;
use tokio::task::JoinHandle;
use worktree::{Policy, Worktrees, dispatch::DispatchWorkspace};

use super::{
    agent::{OBEDIENT, ScriptedAgent, Step},
    dispatching::Dispatching,
    plan::{Faults, PATIENCE},
    record::Record,
    store::FaultyStore,
    watcher::Watcher,
    workspace::FaultyWorkspace,
};
use crate::product::Machine;

/// The agent's name.
pub const AGENT: &str = "scripted";

/// The prompt of the plain piece of work: the agent says `one`, writes `made.txt`, says ` two` and is done.
/// Each word waits until what came before it is being written, so that every turn makes the same writes.
pub const WORK: &str = "work";

/// A repository, a record and nodes with faults around their ports.
pub struct Bench {
    /// The repository, and where everything lies.
    pub machine: Machine,
    /// The record itself, without faults.
    pub store: Arc<SqliteStore>,
    /// What is planted.
    pub faults: Arc<Faults>,
    /// The agent.
    pub agent: Arc<ScriptedAgent>,
    /// Who watches.
    pub watcher: Arc<Watcher>,
    /// The limits of turns on nodes that join from now on.
    pub limits: TurnLimits,
    project: Project,
    ports: Ports,
    nodes: Mutex<Vec<NodeId>>,
}

impl Bench {
    /// A bench with an obedient agent.
    pub async fn new() -> Self {
        Self::with(&OBEDIENT).await
    }

    /// A bench whose agent has this stop ladder.
    ///
    /// # Panics
    /// When the machine does not let us make one.
    pub async fn with(profile: &'static BackendProfile) -> Self {
        let machine = Machine::new();
        let store = Arc::new(SqliteStore::open(&machine.data_dir()).expect("a record"));
        let worktrees = Worktrees::open(&machine.data_dir().join("worktrees"), Policy::default());
        let inner: Arc<dyn Workspace> =
            Arc::new(DispatchWorkspace::new(worktrees.expect("a state directory")));
        let path = Some(machine.repository().canonicalize().expect("a repository"));
        let project = store.ensure_project(NewProject { name: "project".into(), path }).await;
        let faults = Arc::new(Faults::default());
        let agent = Arc::new(ScriptedAgent::new(Arc::clone(&faults), profile));
        agent.script(
            WORK,
            &[
                Step::AwaitCall("append", 1),
                Step::text("one"),
                Step::AwaitCall("append", 2),
                Step::Write("made.txt", "made\n"),
                Step::text(" two"),
                Step::End(EndedHow::Completed),
            ],
        );
        let watcher = Arc::new(Watcher::new(Arc::clone(&faults)));
        let ports = Ports {
            store: Arc::new(FaultyStore {
                inner: Arc::clone(&store) as Arc<dyn Store>,
                faults: Arc::clone(&faults),
            }),
            workspace: Arc::new(FaultyWorkspace { inner, faults: Arc::clone(&faults) }),
            agents: Arc::clone(&agent) as Arc<dyn Agents>,
            publisher: Arc::clone(&watcher) as Arc<dyn Publisher>,
        };
        let project = project.expect("a project");
        Self {
            machine,
            store,
            faults,
            agent,
            watcher,
            limits: TurnLimits::default(),
            project,
            ports,
            nodes: Mutex::default(),
        }
    }

    /// The ports with what is planted around them.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// What turns are configured with.
    pub fn config(&self) -> TurnConfig {
        TurnConfig { limits: self.limits, ..TurnConfig::new("test") }
    }

    /// A task with this input, in a session of its own.
    pub async fn task(&self, input: &str) -> Task {
        self.task_in(None, AGENT, input).await
    }

    /// A task for this agent, in this session or one of its own.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn task_in(&self, session: Option<SessionId>, agent: &str, input: &str) -> Task {
        let new = NewTask {
            session,
            options: TurnOptions { agent: Name::new(agent), ..TurnOptions::default() },
            ..NewTask::new(TaskId::from_random(random_bytes()), self.project.id, input)
        };
        self.store.create_task(new).await.expect("a task")
    }

    /// A node.
    ///
    /// # Panics
    /// When it cannot join.
    pub async fn node(&self) -> Arc<Node> {
        Arc::new(self.join().await)
    }

    /// A node, and a dispatcher that runs tasks on it.
    pub async fn dispatch(&self, config: DispatcherConfig) -> Dispatching {
        Dispatching::begin(self.join().await, config)
    }

    async fn join(&self) -> Node {
        let id = NodeId::from_random(random_bytes());
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        let config = NodeConfig { id, label: "test".into(), turns: self.config() };
        Node::join(self.ports.clone(), config).await.expect("a node")
    }

    /// Lets all nodes so far be dead for the record, as when their processes were killed.
    ///
    /// # Panics
    /// When the store fails.
    pub async fn kill_nodes(&self) {
        let nodes = std::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner));
        for node in nodes {
            self.store.leave(&Lease { node, ttl: None }).await.expect("a store");
        }
    }

    /// Starts to run a task.
    pub fn start(&self, node: &Arc<Node>, task: TaskId) -> JoinHandle<Option<TurnReport>> {
        let node = Arc::clone(node);
        tokio::spawn(async move { node.run_task(task).await.expect("the store answers") })
    }

    /// Waits for a turn to end.
    ///
    /// # Panics
    /// When it does not, or panics itself.
    pub async fn ended(&self, turn: JoinHandle<Option<TurnReport>>) -> Option<TurnReport> {
        let ended = tokio::time::timeout(PATIENCE, turn).await;
        ended.unwrap_or_else(|_| panic!("the turn does not end; {:?}", self.agent.seen())).expect("no panic")
    }

    /// Runs a task to its end.
    pub async fn run(&self, node: &Arc<Node>, task: TaskId) -> Option<TurnReport> {
        let turn = self.start(node, task);
        self.ended(turn).await
    }

    /// Claims a task for a node that nothing else is told of, so that a test may run or lose its turn itself.
    ///
    /// # Panics
    /// When it cannot be claimed.
    pub async fn claim(&self, task: TaskId) -> (Lease, Claim) {
        let info =
            dispatch_core::ports::NodeInfo { id: NodeId::from_random(random_bytes()), label: "test".into() };
        let lease = self.store.join(&info).await.expect("a lease");
        let claim = self.store.claim(&lease, &ClaimRequest::only(task)).await.expect("a store").pop();
        (lease, claim.expect("a claimable task"))
    }

    /// Waits until these tasks have ended.
    ///
    /// # Panics
    /// When they do not.
    pub async fn until_ended(&self, tasks: &[TaskId]) {
        let mut wakeups = self.store.wakeups();
        let ended = async {
            for task in tasks {
                while !self.store.task(*task).await.expect("the task").state.is_terminal() {
                    // Not every end wakes: the record is looked at now and then.
                    let _ = tokio::time::timeout(Duration::from_millis(50), wakeups.next()).await;
                }
            }
        };
        let ended = tokio::time::timeout(3 * PATIENCE, ended).await;
        ended.unwrap_or_else(|_| panic!("they do not end; {:?}", self.agent.seen()));
    }

    /// A task as the record has it.
    pub async fn record(&self, task: TaskId) -> Record {
        Record::read(self, task).await
    }

    /// Waits until the task's agent has asked leave so often; the ids of its requests.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until_asked(&self, task: TaskId, times: usize) -> Vec<String> {
        let asked = async {
            loop {
                let asked = self.record(task).await.asked();
                if asked.len() >= times {
                    return asked;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("it asks")
    }

    /// Checks that no session of the agent is open and no worktree is there.
    ///
    /// # Panics
    /// When one is.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.agent.seen().open, 0, "sessions are open");
        assert_eq!(self.machine.worktrees(), Vec::<std::path::PathBuf>::new());
    }
}
