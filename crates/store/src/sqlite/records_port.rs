//! The `Records` port.

use std::path::Path;

use async_trait::async_trait;
use dispatch_core::{
    agent::{Answer, Cost},
    change::{Change, Checkpoint},
    conversation::Message,
    frame::Frame,
    ids::{ChangeId, ChatId, CheckpointId, ProjectId, Seq, SessionId, TaskId},
    ports::{
        ChangeFilter, Decision, NewChange, NewCheckpoint, NewProject, NodeView, OpenPermission, Records,
        RecordsError, SessionFilter, SessionView, TaskFilter, Totals, WaitsFor, WarmView,
    },
    task::{NewTask, Project, Task},
};
use rusqlite::Transaction;

use super::{
    SqliteStore, changes, conversations, create, frames,
    lookup::{id_by_prefix, number, text},
    node, permissions, projects, queue, resume, sessions, tasks, warm,
    writer::{Durable, Write},
};
use crate::{fault::Fault, rows::or_left_out};

impl SqliteStore {
    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, RecordsError> {
        self.readers.read(job).await.map_err(|fault| fault.into_records(doing))
    }

    /// What a user did: on the disk when it is answered.
    async fn act<T: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&Write<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, RecordsError> {
        self.writer.write(Durable::Now, job).await.map_err(|fault| fault.into_records(doing))
    }
}

#[async_trait]
impl Records for SqliteStore {
    async fn ensure_project(&self, new: NewProject) -> Result<Project, RecordsError> {
        self.act("recording a project", move |tx| projects::ensure_project(tx, &new)).await
    }

    async fn project(&self, id: ProjectId) -> Result<Project, RecordsError> {
        self.read("reading a project", move |tx| projects::project(tx, id)).await
    }

    async fn projects(&self) -> Result<Vec<Project>, RecordsError> {
        self.read("listing projects", projects::projects).await
    }

    async fn project_at(&self, path: &Path) -> Result<Option<Project>, RecordsError> {
        let path = path.to_owned();
        self.read("reading a project", move |tx| projects::project_at(tx, &path)).await
    }

    async fn create_task(&self, new: NewTask) -> Result<Task, RecordsError> {
        let nodes = self.nodes.clone();
        self.act("recording a task", move |tx| create::create(tx, &nodes.folder, &new)).await
    }

    async fn task(&self, id: TaskId) -> Result<Task, RecordsError> {
        self.read("reading a task", move |tx| tasks::task(tx, id)).await
    }

    async fn find_task(&self, prefix: &str) -> Result<Task, RecordsError> {
        let prefix = prefix.to_owned();
        self.read("reading a task", move |tx| tasks::task(tx, id_by_prefix(tx, "task", &prefix)?)).await
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<Task>, RecordsError> {
        let filter = filter.clone();
        self.read("listing tasks", move |tx| tasks::tasks(tx, &filter)).await
    }

    async fn waits_for(&self, task: TaskId) -> Result<WaitsFor, RecordsError> {
        self.read("reading the queue", move |tx| queue::waits_for(tx, task)).await
    }

    async fn resume_task(&self, task: TaskId) -> Result<Task, RecordsError> {
        self.act("resuming a task", move |tx| resume::resume(tx, task)).await
    }

    async fn session(&self, id: SessionId) -> Result<SessionView, RecordsError> {
        self.read("reading a session", move |tx| sessions::session(tx, id)).await
    }

    async fn find_session(&self, prefix: &str) -> Result<SessionView, RecordsError> {
        let prefix = prefix.to_owned();
        let find = move |tx: &Transaction<'_>| sessions::session(tx, id_by_prefix(tx, "session", &prefix)?);
        self.read("reading a session", find).await
    }

    async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionView>, RecordsError> {
        let filter = filter.clone();
        self.read("listing sessions", move |tx| sessions::sessions(tx, &filter)).await
    }

    async fn close_session(&self, session: SessionId) -> Result<SessionView, RecordsError> {
        self.act("closing a session", move |tx| sessions::close(tx, session)).await
    }

    async fn reopen_session(&self, session: SessionId) -> Result<SessionView, RecordsError> {
        self.act("opening a session again", move |tx| sessions::reopen(tx, session)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeView>, RecordsError> {
        let nodes = self.nodes.clone();
        let live = move |tx: &Transaction<'_>| node::live(tx, &nodes.folder);
        let live = self.read("listing nodes", live).await?;
        Ok(live.into_iter().filter_map(|row| or_left_out(row.read())).collect())
    }

    async fn warm(&self) -> Result<Vec<WarmView>, RecordsError> {
        let nodes = self.nodes.clone();
        let kept = move |tx: &Transaction<'_>| warm::of_nodes(tx, node::live(tx, &nodes.folder)?);
        self.read("listing what is kept", kept).await
    }

    async fn permissions(&self, task: Option<TaskId>) -> Result<Vec<OpenPermission>, RecordsError> {
        self.read("listing permission requests", move |tx| permissions::open(tx, task)).await
    }

    async fn answer_permission(&self, task: TaskId, id: &str, answer: Answer) -> Result<(), RecordsError> {
        let id = id.to_owned();
        self.act("answering a permission request", move |tx| permissions::answer(tx, task, &id, answer)).await
    }

    async fn messages(&self, chat: ChatId) -> Result<Vec<Message>, RecordsError> {
        self.read("reading a chat", move |tx| conversations::messages(tx, chat)).await
    }

    async fn frames(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Frame>, RecordsError> {
        self.read("reading frames", move |tx| frames::after(tx, session, after, limit)).await
    }

    async fn find_change(&self, prefix: &str) -> Result<Change, RecordsError> {
        let prefix = prefix.to_owned();
        let find = move |tx: &Transaction<'_>| changes::change(tx, id_by_prefix(tx, "change", &prefix)?);
        self.read("reading a change", find).await
    }

    async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<Change>, RecordsError> {
        let filter = filter.clone();
        self.read("listing changes", move |tx| changes::changes(tx, &filter)).await
    }

    async fn decide(&self, change: ChangeId, decision: Decision) -> Result<Change, RecordsError> {
        self.act("deciding a change", move |tx| changes::decide(tx, change, decision)).await
    }

    async fn add_change(&self, new: NewChange) -> Result<Change, RecordsError> {
        self.act("recording a change", move |tx| changes::add(tx, &new)).await
    }

    async fn add_checkpoint(&self, task: TaskId, new: NewCheckpoint) -> Result<Checkpoint, RecordsError> {
        self.act("recording a checkpoint", move |tx| {
            let task = number(tx, "task", &task.to_string())?;
            let id = conversations::add_checkpoint(tx, task, &new)?;
            conversations::checkpoint(tx, id)
        })
        .await
    }

    async fn checkpoints(&self, task: TaskId) -> Result<Vec<Checkpoint>, RecordsError> {
        self.read("listing checkpoints", move |tx| conversations::checkpoints(tx, task)).await
    }

    async fn find_checkpoint(&self, prefix: &str) -> Result<Checkpoint, RecordsError> {
        let prefix = prefix.to_owned();
        let find = move |tx: &Transaction<'_>| {
            conversations::checkpoint(tx, id_by_prefix(tx, "checkpoint", &prefix)?)
        };
        self.read("reading a checkpoint", find).await
    }

    async fn checkpoint(&self, id: CheckpointId) -> Result<Checkpoint, RecordsError> {
        self.read("reading a checkpoint", move |tx| conversations::checkpoint(tx, id)).await
    }

    async fn totals(&self, project: ProjectId) -> Result<Totals, RecordsError> {
        self.read("adding up", move |tx| totals(tx, project)).await
    }
}

fn totals(tx: &Transaction<'_>, project: ProjectId) -> Result<Totals, Fault> {
    projects::project(tx, project)?;
    let id = project.to_string();
    // `total()` is a float sum, which no agent's figures can overflow.
    let (tasks, input, output): (i64, f64, f64) = tx
        .prepare_cached(
            "SELECT count(*), total(r.input_tokens), total(r.output_tokens)
             FROM task t LEFT JOIN task_result r ON r.task = t.num
             WHERE t.project = (SELECT num FROM project WHERE id = ?1)",
        )?
        .query_row([&id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut costs = tx.prepare_cached(
        "SELECT total(r.cost), r.currency FROM task t JOIN task_result r ON r.task = t.num
         WHERE t.project = (SELECT num FROM project WHERE id = ?1) AND r.cost IS NOT NULL
         GROUP BY r.currency ORDER BY r.currency",
    )?;
    let costs = costs.query_map([&id], |row| Ok(Cost { amount: row.get(0)?, currency: text(row, 1)? }))?;
    Ok(Totals {
        tasks: tasks.unsigned_abs(),
        input_tokens: input as u64,
        output_tokens: output as u64,
        costs: costs.collect::<Result<_, _>>()?,
    })
}
