//! From a task's request to its prompt: how long a dispatcher takes on each store, beside one UPDATE of one
//! row by the same engine in the same run, and where the time goes.
//!
//! `cargo bench -p boocoder-tests --bench dispatch`, with PostgreSQL installed. The dispatcher is idle, so
//! every task is found by its wake-up. The agent is the demo agent, a process of its own; the repository has
//! one file.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where something is missing")]

use std::{
    ffi::OsString,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use backends::{
    RegisteredAgents,
    acp::{AcpOnce, AcpSettings},
    launch::Launcher,
    process,
    registry::Registry,
};
use boocoder_tests::{
    faults::{Faults, FaultyStore, FaultyWorkspace},
    figures::{Times, ms},
    moments::{Journey, Moments, REQUEST_TO_PROMPT, STEPS, Step, times},
    product::Machine,
};
use dispatch_core::{
    frame::Frame,
    ids::{NodeId, TaskId},
    ports::{NewProject, Publisher, Records, Store},
    task::{Name, NewTask, Project, TurnOptions},
};
use dispatch_driver::{
    Dispatcher, DispatcherConfig, Node, NodeConfig, Ports, Shutdown, Summary, TurnConfig, random_bytes,
};
use store::{PostgresConfig, PostgresStore, SqliteStore};
use test_postgres::Database;
use tokio::sync::mpsc;
use worktree::{Policy, Worktrees, dispatch::DispatchWorkspace};

/// Tasks on each store.
const TASKS: usize = 300;

/// Tasks before those, which are not counted.
const WARM_UP: usize = 10;

fn main() -> ExitCode {
    process::supervise_if_asked();
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "demo-agent") {
        return demo_agent::main(args.collect::<Vec<_>>());
    }
    // cargo passes `--bench`; `cargo test` runs benches with nothing, and one task is enough there.
    let tasks = if std::env::args().any(|argument| argument == "--bench") { TASKS } else { 1 };
    tokio::runtime::Runtime::new().unwrap().block_on(compare(tasks));
    ExitCode::SUCCESS
}

async fn compare(tasks: usize) {
    let database = Database::create().unwrap_or_else(|failure| panic!("{failure}"));
    let mut sqlite = Contestant::sqlite().await;
    let mut postgres = Contestant::postgres(&database).await;
    for number in 0..tasks + WARM_UP {
        for contestant in [&mut sqlite, &mut postgres] {
            contestant.round(number >= WARM_UP).await;
        }
    }
    println!("| store | enqueue to prompt, p50 (p99), ms | one UPDATE, p50 (p99), ms | ratio of the p50 |");
    println!("|---|---|---|---|");
    for contestant in [&sqlite, &postgres] {
        println!("{}", contestant.row());
    }
    println!("\n| step, median in ms | SQLite | PostgreSQL |\n|---|---|---|");
    for step in STEPS {
        println!("| {} | {} | {} |", step.name, sqlite.step(step), postgres.step(step));
    }
    for contestant in [sqlite, postgres] {
        contestant.end().await;
    }
}

/// One store with a dispatcher on it.
struct Contestant {
    name: &'static str,
    records: Arc<dyn Records>,
    project: Project,
    moments: Moments,
    faults: Arc<Faults>,
    settled: usize,
    shutdown: mpsc::Sender<Shutdown>,
    dispatcher: tokio::task::JoinHandle<Summary>,
    row: Row,
    took: Vec<Journey>,
    updates: Vec<Duration>,
    _machine: Machine,
}

/// One row of one table, written by the same engine.
enum Row {
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
}

impl Row {
    async fn update(&self) -> Duration {
        const UPDATE: &str = "UPDATE one_row SET number = number + 1";
        let begin = Instant::now();
        match self {
            Self::Sqlite(connection) => drop(connection.execute(UPDATE, []).unwrap()),
            Self::Postgres(client) => drop(client.execute(UPDATE, &[]).await.unwrap()),
        }
        begin.elapsed()
    }
}

const ONE_ROW: &str = "CREATE TABLE one_row (number INTEGER); INSERT INTO one_row VALUES (0)";

impl Contestant {
    async fn sqlite() -> Self {
        let machine = Machine::new();
        let store = Arc::new(SqliteStore::open(&machine.data_dir()).unwrap());
        let connection = rusqlite::Connection::open(machine.data_dir().join("one_row.db")).unwrap();
        connection.execute_batch(&format!("PRAGMA journal_mode = wal; {ONE_ROW}")).unwrap();
        Self::on("SQLite", machine, store, Row::Sqlite(connection)).await
    }

    async fn postgres(database: &Database) -> Self {
        let machine = Machine::new();
        let config = PostgresConfig::new(database.url(), machine.data_dir());
        let store = Arc::new(PostgresStore::connect(config).await.unwrap());
        let (client, connection) =
            tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(ONE_ROW).await.unwrap();
        Self::on("PostgreSQL", machine, store, Row::Postgres(client)).await
    }

    async fn on<S: Store + Records + 'static>(
        name: &'static str,
        machine: Machine,
        store: Arc<S>,
        row: Row,
    ) -> Self {
        let faults = Arc::new(Faults::default());
        let moments = Moments::of(&faults);
        let records: Arc<dyn Records> = Arc::clone(&store) as Arc<dyn Records>;
        let node = Node::join(ports(&machine, store, &faults), config()).await.unwrap();
        let (shutdown, told) = mpsc::channel(1);
        let dispatcher =
            tokio::spawn(
                async move { Dispatcher::run(node, DispatcherConfig::default(), told).await.unwrap() },
            );
        let path = Some(machine.repository().canonicalize().unwrap());
        let project = records.ensure_project(NewProject { name: "bench".into(), path }).await.unwrap();
        Self {
            name,
            records,
            project,
            moments,
            faults,
            settled: 0,
            shutdown,
            dispatcher,
            row,
            took: vec![],
            updates: vec![],
            _machine: machine,
        }
    }

    /// One task to its end, and one update.
    async fn round(&mut self, counts: bool) {
        self.moments.clear();
        let options = TurnOptions { agent: Name::new("demo"), ..TurnOptions::default() };
        let new = NewTask {
            options,
            ..NewTask::new(TaskId::from_random(random_bytes()), self.project.id, "/say hello")
        };
        let requested = Instant::now();
        self.records.create_task(new).await.unwrap();
        let created = Instant::now();
        self.settled += 1;
        // The worktree is removed last of all, so nothing of this task disturbs the next one.
        self.faults.until_made("release", self.settled).await;
        let journey = self.moments.journey(requested, created);
        let update = self.row.update().await;
        if counts {
            self.took.push(journey);
            self.updates.push(update);
        }
    }

    fn row(&self) -> String {
        let whole = times(&self.took, REQUEST_TO_PROMPT);
        let updates = Times::new(self.updates.clone());
        let ratio = ms(whole.at(0.5)) / ms(updates.at(0.5));
        format!("| {} | {} | {} | {ratio:.0} |", self.name, whole.spread(), updates.spread())
    }

    fn step(&self, step: Step) -> String {
        format!("{:.2}", ms(times(&self.took, step).at(0.5)))
    }

    async fn end(self) {
        self.shutdown.send(Shutdown::Graceful).await.unwrap();
        let summary = self.dispatcher.await.unwrap();
        assert_eq!(summary.failed + summary.cancelled + summary.abandoned, 0, "{summary:?}");
    }
}

fn ports<S: Store + 'static>(machine: &Machine, store: Arc<S>, faults: &Arc<Faults>) -> Ports {
    let worktrees = Worktrees::open(&machine.data_dir().join("worktrees"), Policy::default()).unwrap();
    let itself = vec![std::env::current_exe().unwrap().into(), OsString::from("demo-agent")];
    let registry = Arc::new(Registry::new([]).unwrap().with_demo(itself));
    let launcher = Launcher::new(process::Supervisor::SelfExe);
    let agents = RegisteredAgents::new(Arc::clone(&registry), &launcher);
    let agents = agents.with(Arc::new(AcpOnce::new(registry, AcpSettings::new(launcher))));
    Ports {
        store: Arc::new(FaultyStore { inner: store, faults: Arc::clone(faults) }),
        workspace: Arc::new(FaultyWorkspace {
            inner: Arc::new(DispatchWorkspace::new(worktrees)),
            faults: Arc::clone(faults),
        }),
        agents: Arc::new(agents),
        publisher: Arc::new(Nobody),
    }
}

fn config() -> NodeConfig {
    let turns = TurnConfig::new("bench");
    NodeConfig { id: NodeId::from_random(random_bytes()), label: "bench".into(), turns }
}

/// Nobody watches.
struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _: &Arc<[Frame]>) {}
}
