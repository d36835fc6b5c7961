//! The `Records` port.

use std::{path::Path, time::Duration};

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

use super::{
    PostgresStore, changes,
    conversations::{self, Whose},
    create,
    db::{CALL, Db, LONG_CALL, made_meanwhile, within},
    frames, node, permissions, queue, recover, sessions, tasks, warm,
};
use crate::fault::Fault;

async fn call<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, RecordsError> {
    call_within(CALL, doing, work).await
}

async fn call_within<T>(
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, RecordsError> {
    within(limit, work).await.map_err(|fault| fault.into_records(doing))
}

impl PostgresStore {
    async fn create(&self, new: &NewTask) -> Result<Task, Fault> {
        let mut tx = self.db.begin().await?;
        let made = create::create(&mut tx, &self.host, new).await?;
        self.commit(tx).await?;
        Ok(made)
    }
}

#[async_trait]
impl Records for PostgresStore {
    async fn ensure_project(&self, new: NewProject) -> Result<Project, RecordsError> {
        call("recording a project", tasks::ensure_project(&self.db, &new)).await
    }

    async fn project(&self, id: ProjectId) -> Result<Project, RecordsError> {
        call("reading a project", tasks::project(&self.db, id)).await
    }

    async fn projects(&self) -> Result<Vec<Project>, RecordsError> {
        call("listing projects", tasks::projects(&self.db)).await
    }

    async fn project_at(&self, path: &Path) -> Result<Option<Project>, RecordsError> {
        call("reading a project", tasks::project_at(&self.db, path)).await
    }

    async fn create_task(&self, new: NewTask) -> Result<Task, RecordsError> {
        call("recording a task", async {
            match self.create(&new).await {
                // The same request, made twice at once: the other one made it.
                Err(fault) if made_meanwhile(&fault) => tasks::task(&self.db, new.id).await,
                made => made,
            }
        })
        .await
    }

    async fn task(&self, id: TaskId) -> Result<Task, RecordsError> {
        call("reading a task", tasks::task(&self.db, id)).await
    }

    async fn find_task(&self, prefix: &str) -> Result<Task, RecordsError> {
        call("reading a task", async {
            tasks::task(&self.db, tasks::id_by_prefix(&self.db, "task", prefix).await?).await
        })
        .await
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<Task>, RecordsError> {
        call("listing tasks", tasks::tasks(&self.db, filter)).await
    }

    async fn waits_for(&self, task: TaskId) -> Result<WaitsFor, RecordsError> {
        call("reading a task", queue::waits_for(&self.db, task)).await
    }

    async fn resume_task(&self, task: TaskId) -> Result<Task, RecordsError> {
        call("resuming a task", async {
            let mut tx = self.db.begin().await?;
            let resumed = queue::resume(&mut tx, task).await?;
            self.commit(tx).await?;
            Ok(resumed)
        })
        .await
    }

    async fn session(&self, id: SessionId) -> Result<SessionView, RecordsError> {
        call("reading a session", sessions::session(&self.db, id)).await
    }

    async fn find_session(&self, prefix: &str) -> Result<SessionView, RecordsError> {
        call("reading a session", async {
            sessions::session(&self.db, tasks::id_by_prefix(&self.db, "session", prefix).await?).await
        })
        .await
    }

    async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionView>, RecordsError> {
        call("listing sessions", sessions::sessions(&self.db, filter)).await
    }

    async fn close_session(&self, session: SessionId) -> Result<SessionView, RecordsError> {
        call("closing a session", async {
            let mut tx = self.db.begin().await?;
            let closed = recover::close_session(&mut tx, session).await?;
            self.commit(tx).await?;
            Ok(closed)
        })
        .await
    }

    async fn reopen_session(&self, session: SessionId) -> Result<SessionView, RecordsError> {
        call("opening a session again", async {
            let mut tx = self.db.begin().await?;
            let opened = sessions::reopen(&mut tx, session).await?;
            self.commit(tx).await?;
            Ok(opened)
        })
        .await
    }

    async fn nodes(&self) -> Result<Vec<NodeView>, RecordsError> {
        call("listing nodes", node::live(&self.db, &self.host)).await
    }

    async fn warm(&self) -> Result<Vec<WarmView>, RecordsError> {
        call("listing what is kept", warm::all(&self.db, &self.host)).await
    }

    async fn permissions(&self, task: Option<TaskId>) -> Result<Vec<OpenPermission>, RecordsError> {
        call("listing permission requests", permissions::open(&self.db, task)).await
    }

    async fn answer_permission(&self, task: TaskId, id: &str, answer: Answer) -> Result<(), RecordsError> {
        call("answering a permission request", async {
            let mut tx = self.db.begin().await?;
            permissions::answer(&mut tx, task, id, answer).await?;
            self.commit(tx).await
        })
        .await
    }

    async fn messages(&self, chat: ChatId) -> Result<Vec<Message>, RecordsError> {
        call_within(LONG_CALL, "reading a chat", conversations::messages(&self.db, chat)).await
    }

    async fn frames(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Frame>, RecordsError> {
        call_within(LONG_CALL, "reading frames", frames::after(&self.db, session, after, limit)).await
    }

    async fn find_change(&self, prefix: &str) -> Result<Change, RecordsError> {
        call("reading a change", async {
            changes::change(&self.db, tasks::id_by_prefix(&self.db, "change", prefix).await?).await
        })
        .await
    }

    async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<Change>, RecordsError> {
        call("listing changes", changes::changes(&self.db, filter)).await
    }

    async fn decide(&self, change: ChangeId, decision: Decision) -> Result<Change, RecordsError> {
        call("deciding a change", changes::decide(&self.db, change, decision)).await
    }

    async fn add_change(&self, new: NewChange) -> Result<Change, RecordsError> {
        call("recording a change", changes::add(&self.db, &new)).await
    }

    async fn add_checkpoint(&self, task: TaskId, new: NewCheckpoint) -> Result<Checkpoint, RecordsError> {
        call("recording a checkpoint", async {
            let missing = || Fault::NotFound { what: "task", id: task.to_string() };
            let added = conversations::add_checkpoint(&self.db, Whose::Task(task), &new).await?;
            conversations::checkpoint(&self.db, added.ok_or_else(missing)?).await
        })
        .await
    }

    async fn checkpoints(&self, task: TaskId) -> Result<Vec<Checkpoint>, RecordsError> {
        call("listing checkpoints", conversations::checkpoints(&self.db, task)).await
    }

    async fn find_checkpoint(&self, prefix: &str) -> Result<Checkpoint, RecordsError> {
        call("reading a checkpoint", async {
            let id = tasks::id_by_prefix(&self.db, "checkpoint", prefix).await?;
            conversations::checkpoint(&self.db, id).await
        })
        .await
    }

    async fn checkpoint(&self, id: CheckpointId) -> Result<Checkpoint, RecordsError> {
        call("reading a checkpoint", conversations::checkpoint(&self.db, id)).await
    }

    async fn totals(&self, project: ProjectId) -> Result<Totals, RecordsError> {
        call("adding up", totals(&self.db, project)).await
    }
}

async fn totals(db: &Db, project: ProjectId) -> Result<Totals, Fault> {
    // Float sums, which no agent's figures can overflow.
    const TOKENS: &str = "SELECT count(*), coalesce(sum(r.input_tokens::float8), 0),
      coalesce(sum(r.output_tokens::float8), 0)
    FROM task t LEFT JOIN task_result r ON r.task = t.num
    WHERE t.project = (SELECT num FROM project WHERE id = $1)";
    const COSTS: &str = "SELECT sum(r.cost), r.currency FROM task t JOIN task_result r ON r.task = t.num
    WHERE t.project = (SELECT num FROM project WHERE id = $1) AND r.cost IS NOT NULL
    GROUP BY r.currency ORDER BY r.currency";
    tasks::project(db, project).await?;
    let id = project.to_string();
    let rows = db.query(TOKENS, &[&id]).await?;
    let row = rows.first().ok_or(Fault::Misuse("a sum without a row"))?;
    let (input, output): (f64, f64) = (row.try_get(1)?, row.try_get(2)?);
    let mut costs = Vec::new();
    for row in db.query(COSTS, &[&id]).await? {
        let currency: Option<String> = row.try_get(1)?;
        costs.extend(currency.map(|currency| Ok::<_, Fault>(Cost { amount: row.try_get(0)?, currency })));
    }
    Ok(Totals {
        tasks: row.try_get::<_, i64>(0)?.unsigned_abs(),
        input_tokens: input as u64,
        output_tokens: output as u64,
        costs: costs.into_iter().collect::<Result<_, _>>()?,
    })
}
