//! Ends that a turn's own node does not write: it is dead, or never had the task.

use dispatch_core::{
    frame::{About, AgentStatus, FrameBody, StatusReason},
    ids::{MessageId, SessionId, TaskId},
    ports::{Recovered, RecoveredAs, SessionView, StopAnswer},
    routing::Route,
    task::{Name, TaskState, TurnOptions},
};
use tokio_postgres::Row;

use super::{
    PostgresStore, aside,
    db::Tx,
    frames::{self, Answered, Source},
    locks::{LOCK_SESSION, LOCK_SESSION_OF_TASK, LOCK_SESSION_ROW},
    node, sessions, turns,
};
use crate::{
    end::End,
    fault::{BadRow, Fault},
    recovery::{Because, Orphan, end_of},
    rows::Stage,
};

/// Holds a task's row, behind its session: a claim, or a prompt on its way out, is waited for.
const HOLD_TASK: &str = "SELECT num FROM task WHERE num = $1 FOR NO KEY UPDATE";

/// A task that somebody else ends, with as much of it as can be read.
struct Left {
    id: Option<TaskId>,
    source: Source,
    stage: String,
    stopped: Option<String>,
    prompt_sent: bool,
    attended: bool,
    first_seq: i64,
    agent: Option<Name>,
    model: Option<Name>,
    route: Option<Route>,
    message: Option<MessageId>,
}

/// A statement of its own behind the one that holds the row, so that it sees the message that the row's last
/// holder began.
macro_rules! left {
    ($which:literal) => {
        concat!(
            "SELECT t.num, t.session, t.id, s.id, c.id, t.state, t.stopped, t.prompt_sent,
               coalesce(t.first_seq, 0), t.agent, i.options, t.route, m.id, t.attended_by IS NOT NULL
             FROM task t JOIN session s ON s.num = t.session JOIN chat c ON c.num = t.chat
               LEFT JOIN task_input i ON i.task = t.num
               LEFT JOIN message m ON m.num = t.assistant_message AND m.state = 'streaming'
             WHERE ",
            $which
        )
    };
}

impl Left {
    /// Reads what can be read: a task whose row is broken must end all the same.
    fn read(row: &Row) -> Result<Self, Fault> {
        fn parsed<T: std::str::FromStr>(row: &Row, column: usize) -> Result<Option<T>, Fault> {
            Ok(row.try_get::<_, Option<&str>>(column)?.and_then(|text| text.parse().ok()))
        }
        let id = parsed(row, 2)?;
        let options: Option<&str> = row.try_get(10)?;
        let options: TurnOptions =
            options.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        Ok(Self {
            id,
            source: Source {
                session: row.try_get(1)?,
                task: row.try_get(0)?,
                // Only shown in frames that nobody is handed here.
                session_id: parsed(row, 3)?.unwrap_or_else(|| SessionId::from_random([0; 16])),
                about: About { chat_id: parsed(row, 4)?, message_id: None, task_id: id },
            },
            stage: row.try_get(5)?,
            stopped: row.try_get(6)?,
            prompt_sent: row.try_get(7)?,
            attended: row.try_get(13)?,
            first_seq: row.try_get(8)?,
            agent: Name::new(row.try_get(9)?),
            model: options.model,
            route: parsed(row, 11)?,
            message: parsed(row, 12)?,
        })
    }

    fn agent(&self) -> &str {
        self.agent.as_ref().map_or("native", Name::as_str)
    }

    /// Ends it. `had_a_turn` says whether its agent may have been at work on it.
    async fn end(&self, tx: &mut Tx, because: Because, had_a_turn: bool) -> Result<(), Fault> {
        let Source { session, task, .. } = self.source;
        let streamed = frames::of_turn(tx, session, self.first_seq, task).await?;
        let orphan = Orphan {
            agent: self.agent(),
            model: self.model.as_ref(),
            route: self.route,
            message: self.message,
            frames: &streamed,
        };
        let mut settlement = end_of(&orphan, because);
        if !had_a_turn && self.message.is_none() {
            // The agent may be at work on another task of the session.
            settlement.frames.retain(|frame| !matches!(frame, FrameBody::AgentStatus { .. }));
        }
        turns::write_end(tx, &self.source, End::try_from(&settlement)?, Answered::Not).await?;
        aside::make_readable(tx, task).await
    }
}

/// Holds a session and one of its tasks, by rows.
async fn hold(tx: &mut Tx, session: i64, task: i64) -> Result<Left, Fault> {
    let [_, _, rows] = tx
        .pipeline([(LOCK_SESSION_ROW, &[&session]), (HOLD_TASK, &[&task]), (left!("t.num = $1"), &[&task])])
        .await?;
    Left::read(rows.first().ok_or(Fault::Misuse("the task is gone"))?)
}

/// Running tasks of nodes that are gone; a claim that crossed its node's end is among them. A lease that ran
/// out counts once its node is marked: a renewal that is being committed has held the row meanwhile.
const ORPHANS: &str = "SELECT t.num, t.session, t.epoch FROM task t
WHERE t.state = 'running' AND NOT EXISTS (SELECT 1 FROM node n WHERE n.num = t.node AND NOT n.gone)
ORDER BY t.num";

/// Whether it is still that claim's, and nobody has come first.
const STILL: &str =
    "SELECT 1 FROM task WHERE num = $1 AND state = 'running' AND epoch IS NOT DISTINCT FROM $2";

/// Tasks that wait for one node that is gone.
const ABANDONED: &str = "SELECT t.num, t.session FROM task t
WHERE t.attended_by IS NOT NULL AND t.state IN ('queued', 'ready')
  AND NOT EXISTS (SELECT 1 FROM node n WHERE n.id = t.attended_by AND NOT n.gone)
ORDER BY t.num DESC";

/// Settles what dead nodes left, and rows that cannot be understood (SPEC D6); a transaction each, and a wake-up
/// for each, as the next one may fail.
pub(super) async fn recover(store: &PostgresStore) -> Result<Vec<Recovered>, Fault> {
    node::bury(&store.db, &store.host).await?;
    let mut recovered = Vec::new();
    for row in store.db.query(ORPHANS, &[]).await? {
        match recover_orphan(store, &row).await {
            Ok(turn) => recovered.extend(turn),
            Err(fault) if fault.may_pass() => return Err(fault),
            // The others go on; this one is tried again.
            Err(fault) => tracing::error!(task = row.get::<_, i64>(0), "a turn cannot be recovered: {fault}"),
        }
    }
    let abandoned = abandon(store).await?.into_iter();
    recovered.extend(abandoned.map(|task| Recovered { task, became: RecoveredAs::Cancelled }));
    for row in store.db.query(aside::UNKNOWN, &[]).await? {
        let bad =
            BadRow { table: "task", row: row.try_get(0)?, column: "state", why: "it is unknown".into() };
        set_aside(store, &bad).await?;
    }
    Ok(recovered)
}

/// Settles one turn; `None` when somebody came first.
async fn recover_orphan(store: &PostgresStore, row: &Row) -> Result<Option<Recovered>, Fault> {
    let (task, session): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let epoch: Option<i64> = row.try_get(2)?;
    let mut tx = store.db.begin().await?;
    let turn = hold(&mut tx, session, task).await?;
    if tx.find(STILL, &[&task, &epoch]).await?.is_none() {
        tx.undo().await?;
        return Ok(None);
    }
    let became = recover_turn(&mut tx, &turn).await?;
    store.commit(tx).await?;
    Ok(turn.id.map(|task| Recovered { task, became }))
}

async fn recover_turn(tx: &mut Tx, turn: &Left) -> Result<RecoveredAs, Fault> {
    if turn.stopped.is_some() {
        turn.end(tx, Because::Stopped, true).await?;
        return Ok(RecoveredAs::Cancelled);
    }
    if turn.prompt_sent {
        turn.end(tx, Because::NodeLost, true).await?;
        return Ok(RecoveredAs::Interrupted);
    }
    if turn.attended {
        turn.end(tx, Because::Abandoned, true).await?;
        return Ok(RecoveredAs::Cancelled);
    }
    turns::put_back(tx, turn.source.task).await?;
    let mut frames = vec![FrameBody::TaskState { state: TaskState::Pending, reason: None }];
    if turn.message.is_some() {
        // Whoever watches was told that the agent is working.
        frames.push(FrameBody::AgentStatus {
            agent: turn.agent().to_owned(),
            status: AgentStatus::Idle,
            reason: StatusReason::Shutdown,
        });
    }
    frames::append_last(tx, &turn.source, turn.message, frames, Answered::Not).await?;
    Ok(RecoveredAs::Pending)
}

/// Cancels what waits for nodes that are gone.
pub(super) async fn abandon(store: &PostgresStore) -> Result<Vec<TaskId>, Fault> {
    let mut cancelled = Vec::new();
    for row in store.db.query(ABANDONED, &[]).await? {
        let mut tx = store.db.begin().await?;
        let task = hold(&mut tx, row.try_get(1)?, row.try_get(0)?).await?;
        if matches!(task.stage.parse(), Ok(Stage::Queued | Stage::Ready)) && task.attended {
            task.end(&mut tx, Because::Abandoned, false).await?;
            cancelled.extend(task.id);
        }
        store.commit(tx).await?;
    }
    Ok(cancelled)
}

/// Ends a task whose row cannot be understood, so that the queue moves on (SAFETY A39).
pub(super) async fn set_aside(store: &PostgresStore, bad: &BadRow) -> Result<(), Fault> {
    tracing::warn!(task = bad.row, "set aside: {bad}");
    let rows = store.db.query("SELECT session FROM task WHERE num = $1", &[&bad.row]).await?;
    let session = rows.first().ok_or(Fault::Misuse("the task is gone"))?.try_get(0)?;
    let mut tx = store.db.begin().await?;
    let task = hold(&mut tx, session, bad.row).await?;
    if !matches!(task.stage.parse(), Ok(Stage::Ended(_))) {
        task.end(&mut tx, Because::BadRow(bad.to_string()), false).await?;
    }
    store.commit(tx).await
}

/// Accepts a Stop (SPEC S1, S2).
pub(super) async fn request_stop(tx: &mut Tx, id: TaskId) -> Result<StopAnswer, Fault> {
    const HOLD: &str = "SELECT num FROM task WHERE id = $1 FOR NO KEY UPDATE";
    let id = id.to_string();
    let [_, _, rows] =
        tx.pipeline([(LOCK_SESSION_OF_TASK, &[&id]), (HOLD, &[&id]), (left!("t.id = $1"), &[&id])]).await?;
    match rows.first() {
        Some(row) => stop(tx, &Left::read(row)?).await,
        None => Ok(StopAnswer::NotFound),
    }
}

async fn stop(tx: &mut Tx, task: &Left) -> Result<StopAnswer, Fault> {
    let num = task.source.task;
    let Ok(stage) = task.stage.parse::<Stage>() else {
        let why = format!("`{}` is unknown", task.stage);
        let bad = BadRow { table: "task", row: num, column: "state", why };
        tracing::warn!(task = num, "set aside: {bad}");
        task.end(tx, Because::BadRow(bad.to_string()), false).await?;
        return Ok(StopAnswer::AlreadyEnded(TaskState::Failed));
    };
    match stage {
        Stage::Running => {
            mark(tx, num, "running").await?;
            tx.wakes = true;
            Ok(StopAnswer::Stopping)
        }
        Stage::Queued | Stage::Ready => {
            mark(tx, num, "waiting").await?;
            task.end(tx, Because::Stopped, false).await?;
            Ok(StopAnswer::Cancelled)
        }
        // Repeating a Stop gets the same answer.
        Stage::Ended(_) if task.stopped.as_deref() == Some("waiting") => Ok(StopAnswer::Cancelled),
        Stage::Ended(state) => Ok(StopAnswer::AlreadyEnded(state)),
    }
}

async fn mark(tx: &mut Tx, task: i64, found: &str) -> Result<(), Fault> {
    tx.query("UPDATE task SET stopped = $2 WHERE num = $1", &[&task, &found]).await?;
    Ok(())
}

/// Closes a session (SPEC R4).
pub(super) async fn close_session(tx: &mut Tx, id: SessionId) -> Result<SessionView, Fault> {
    const HOLD: &str = "SELECT num FROM task
      WHERE session = $1 AND state IN ('queued', 'ready', 'running') FOR NO KEY UPDATE";
    let text = id.to_string();
    let [_, closed] = tx
        .pipeline([
            (LOCK_SESSION, &[&text]),
            ("UPDATE session SET open = false WHERE id = $1 AND open RETURNING num", &[&text]),
        ])
        .await?;
    if let Some(row) = closed.first() {
        // Nodes may keep agents for its chats.
        tx.wakes = true;
        // The newest first: so none becomes claimable on the way.
        let session: i64 = row.try_get(0)?;
        let [_, left] = tx
            .pipeline([
                (HOLD, &[&session]),
                (
                    left!("t.session = $1 AND t.state IN ('queued', 'ready', 'running') ORDER BY t.ord DESC"),
                    &[&session],
                ),
            ])
            .await?;
        for row in &left {
            stop(tx, &Left::read(row)?).await?;
        }
    }
    sessions::session_in(tx, id).await
}
