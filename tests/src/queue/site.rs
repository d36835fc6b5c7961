//! A machine whose record is in either store.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use dispatch_core::{
    ids::{ProjectId, Seq, SessionId, TaskId},
    ports::{NewProject, Records, RecordsError, StopAnswer, Store, TaskFilter},
    task::{Name, NewTask, PermissionPolicy, Task, TurnOptions},
};
use dispatch_driver::random_bytes;
use rusqlite::{Connection, types::ValueRef};
use serde_json::Value;
use store::{PostgresConfig, PostgresStore, SqliteStore};
use test_postgres::Database;
use tokio::runtime::Runtime;

use crate::product::{Live, Machine, PATIENCE};

/// How often the record is looked at, as it tells nobody of a task's end.
const GLANCE: Duration = Duration::from_millis(20);

/// The variable that names the database of a machine's record.
pub const DATABASE_URL: &str = "BOOCODER_DATABASE_URL";

/// Which store a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one in the data directory.
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
}

/// A machine and its record, which the test looks at and adds to as a program that embeds the store does.
pub struct Site {
    records: Arc<dyn Records>,
    store: Arc<dyn Store>,
    runtime: Runtime,
    /// The machine.
    pub machine: Machine,
    project: ProjectId,
    database: Option<Database>,
}

impl Site {
    /// A machine with an empty record of this kind.
    ///
    /// # Panics
    /// When the machine does not let us make one.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::on(Machine::new()),
            Kind::Postgres => Self::in_database(Database::create().expect("a database")),
        }
    }

    /// This machine, with a record in its data directory.
    ///
    /// # Panics
    /// When the machine does not let us make one.
    #[must_use]
    pub fn on(machine: Machine) -> Self {
        Self::with(machine, None)
    }

    /// A machine with an empty record in this database.
    ///
    /// # Panics
    /// When the machine does not let us make one.
    #[must_use]
    pub fn in_database(database: Database) -> Self {
        let mut machine = Machine::new();
        machine.set(DATABASE_URL, database.url());
        Self::with(machine, Some(database))
    }

    fn with(mut machine: Machine, database: Option<Database>) -> Self {
        // What is asked of the queue does not depend on the route; with an agent and a worktree for each turn, all
        // that a turn leaves behind can be seen.
        machine.set("BOOCODER_ROUTES__WARM_ACP", "false");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let data = machine.data_dir();
        let (records, store): (Arc<dyn Records>, Arc<dyn Store>) = match &database {
            None => both(SqliteStore::open(&data).expect("a record")),
            Some(database) => {
                let connected = PostgresStore::connect(PostgresConfig::new(database.url(), data));
                both(runtime.block_on(connected).expect("a record"))
            }
        };
        let path = Some(machine.repository().canonicalize().expect("a repository"));
        let project = records.ensure_project(NewProject { name: "repository".into(), path });
        let project = runtime.block_on(project).expect("a project").id;
        Self { records, store, runtime, machine, project, database }
    }

    /// Its database.
    ///
    /// # Panics
    /// When the record is in none.
    #[must_use]
    pub fn database(&self) -> &Database {
        self.database.as_ref().expect("the record is in PostgreSQL")
    }

    /// The project that the repository is.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// A new session with a chat of its own, in which the demo agent has said hello, by a service that runs.
    pub fn begin_session(&self) -> SessionId {
        self.wait_for_end(self.queue("demo", "/say hello", None).id).session
    }

    /// Runs one statement as a client that knows nothing of the program under test; returns what it printed,
    /// one row a line, with `|` between columns.
    ///
    /// # Panics
    /// When the database refuses it.
    pub fn sql(&self, sql: &str) -> String {
        match &self.database {
            Some(database) => database.sql(sql).expect("a statement"),
            None => sqlite(&self.machine.data_dir().join("boocoder.db"), sql).expect("a statement"),
        }
    }

    /// Asks the record.
    ///
    /// # Panics
    /// When it cannot answer.
    pub fn ask<T, F: Future<Output = Result<T, RecordsError>>>(
        &self,
        question: impl FnOnce(Arc<dyn Records>) -> F,
    ) -> T {
        self.try_ask(question).expect("an answer of the record")
    }

    /// The same, where it may refuse or fail.
    ///
    /// # Errors
    /// As the record says.
    pub fn try_ask<T, F: Future<Output = Result<T, RecordsError>>>(
        &self,
        question: impl FnOnce(Arc<dyn Records>) -> F,
    ) -> Result<T, RecordsError> {
        self.runtime.block_on(question(Arc::clone(&self.records)))
    }

    /// Queues a task as a program that embeds the store does.
    pub fn queue(&self, agent: &str, prompt: &str, session: Option<SessionId>) -> Task {
        let new = NewTask {
            options: TurnOptions { agent: Name::new(agent), ..TurnOptions::default() },
            permissions: PermissionPolicy::Allow,
            session,
            ..NewTask::new(TaskId::from_random(random_bytes()), self.project, prompt)
        };
        self.ask(|records| async move { records.create_task(new).await })
    }

    /// Queues a task as a user does.
    ///
    /// # Panics
    /// When it is refused.
    pub fn add(&self, agent: &str, prompt: &str, session: Option<SessionId>) -> Task {
        let mut command = self.machine.boocoder(["task", "add", "--agent", agent, "--allow", "--json"]);
        if let Some(session) = session {
            command.args(["--session", &session.to_string()]);
        }
        command.arg(prompt);
        let added = Live::start(command).finish().expect(0);
        serde_json::from_str(&added.stdout.concat()).expect("a task")
    }

    /// Whether somebody holds the one lock of a record that is a file: nobody else can write.
    ///
    /// # Panics
    /// When there is no record.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        if self.database.is_some() {
            return false;
        }
        let record = Connection::open(self.machine.data_dir().join("boocoder.db")).expect("a record");
        record.busy_timeout(Duration::ZERO).expect("a setting");
        record.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
    }

    /// Stops a task as a program that embeds the store does.
    ///
    /// # Panics
    /// When the record cannot be written.
    pub fn stop(&self, id: TaskId) -> StopAnswer {
        self.runtime.block_on(self.store.request_stop(id)).expect("an answer of the record")
    }

    /// A task as it stands.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Task {
        self.ask(|records| async move { records.task(id).await })
    }

    /// All tasks, oldest first.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        let mut tasks = self.ask(|records| async move { records.tasks(&TaskFilter::default()).await });
        tasks.reverse();
        tasks
    }

    /// Waits until the record says what is wanted; returns what it said.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not come; the tasks: {:#?}", self.brief());
            thread::sleep(GLANCE);
        }
    }

    /// Waits until a task has ended.
    pub fn wait_for_end(&self, id: TaskId) -> Task {
        self.wait_for("a task's end", |site| Some(site.task(id)).filter(|task| task.state.is_terminal()))
    }

    /// Waits until all tasks have ended.
    pub fn wait_for_all(&self) -> Vec<Task> {
        self.wait_for("the end of all tasks", |site| {
            Some(site.tasks()).filter(|tasks| tasks.iter().all(|task| task.state.is_terminal()))
        })
    }

    /// How the tasks stand, in few words.
    fn brief(&self) -> Vec<String> {
        let brief = |task: &Task| {
            let input = task.input.lines().next().unwrap_or_default();
            format!("{}: {} {:?} {:?}", input, task.state, task.reason, task.summary)
        };
        self.tasks().iter().map(brief).collect()
    }

    /// The frames of a session, in the shape in which they are shown, after a check that none is missing and
    /// that each belongs to the session.
    ///
    /// # Panics
    /// When one is missing.
    #[must_use]
    pub fn frames(&self, session: SessionId) -> Vec<Value> {
        let frames =
            self.ask(|records| async move { records.frames(session, Seq(0), usize::MAX >> 1).await });
        for (frame, seq) in frames.iter().zip(1..) {
            assert_eq!((frame.seq, frame.session_id), (Seq(seq), session), "{frame:?}");
        }
        frames.iter().map(|frame| serde_json::to_value(frame).expect("a frame is JSON")).collect()
    }

    /// The text that a session has streamed.
    #[must_use]
    pub fn text(&self, session: SessionId) -> String {
        let frames = self.frames(session);
        frames.iter().filter_map(|frame| frame["content"].as_str()).collect()
    }

    /// Checks that nothing is left of dispatchers that have ended: no process, worktree or lock, no message
    /// that streams.
    ///
    /// # Panics
    /// When something is.
    pub fn assert_nothing_left(&self) {
        self.machine.wait_for_no_process(Duration::from_secs(5)).expect("no process is left");
        assert_eq!(self.machine.worktrees(), Vec::<PathBuf>::new());
        assert_eq!(self.machine.node_locks(), Vec::<PathBuf>::new());
        assert_eq!(locks_below(&self.machine.repository().join(".git")), Vec::<PathBuf>::new());
        assert_eq!(self.sql("SELECT count(*) FROM message WHERE state = 'streaming'"), "0");
    }
}

/// One store, as people and as dispatchers have it.
fn both<S: Records + Store + 'static>(store: S) -> (Arc<dyn Records>, Arc<dyn Store>) {
    let store = Arc::new(store);
    (Arc::clone(&store) as _, store)
}

/// Git's lock files below a folder.
fn locks_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(locks_below(&path));
        } else if path.extension().is_some_and(|end| end == "lock") {
            found.push(path);
        }
    }
    found
}

/// Runs a statement on a file that somebody else has open, and prints what `psql` would.
fn sqlite(file: &Path, sql: &str) -> rusqlite::Result<String> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    if columns == 0 {
        return statement.execute([]).map(|_| String::new());
    }
    let rows = statement.query_map([], |row| {
        let shown = |at| row.get_ref(at).map(shown);
        Ok((0..columns).map(shown).collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    });
    Ok(rows?.collect::<rusqlite::Result<Vec<_>>>()?.join("\n"))
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}
