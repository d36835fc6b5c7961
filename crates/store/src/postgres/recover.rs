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
    aside,
    db::{Db, Tx},
    frames::{self, Answered, Source},
    node,
    queue::{LOCK_SESSION, LOCK_SESSION_OF_TASK, LOCK_SESSION_ROW},
    sessions, turns,
};
use crate::{
    end::End,
    fault::{BadRow, Fault},
    recovery::{Because, Orphan, end_of},
    rows::Stage,
};

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

/// The task's row is held: a claim, or a prompt on its way out, is waited for.
macro_rules! left {
    ($which:literal) => {
        concat!(
            "SELECT t.num, t.session, t.id, s.id, c.id, t.state, t.stopped, t.prompt_sent,
               coalesce(t.first_seq, 0), t.agent, i.options, t.route, m.id, t.attended_by IS NOT NULL
             FROM task t JOIN session s ON s.num = t.session JOIN chat c ON c.num = t.chat
               LEFT JOIN task_input i ON i.task = t.num
               LEFT JOIN message m ON m.num = t.assistant_message AND m.state = 'streaming'
             WHERE ",
            $which,
            " FOR NO KEY UPDATE OF t"
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

    fn runs(&self) -> bool {
        self.stage == Stage::Running.as_str()
    }
}

/// Holds a session and one of its tasks, by rows.
async fn hold(tx: &mut Tx, session: i64, task: i64) -> Result<Left, Fault> {
    let [_, rows] = tx.pipeline([(LOCK_SESSION_ROW, &[&session]), (left!("t.num = $1"), &[&task])]).await?;
    Left::read(rows.first().ok_or(Fault::Misuse("the task is gone"))?)
}

/// Running tasks of nodes that are gone; a claim that crossed its node's end is among them.
const ORPHANS: &str = "SELECT t.num, t.session, t.epoch FROM task t
WHERE t.state = 'running' AND NOT EXISTS (
  SELECT 1 FROM node n WHERE n.num = t.node AND NOT n.gone AND n.expires_at > now())
ORDER BY t.num";

/// Whether it is still that claim's, and nobody has come first.
const STILL: &str =
    "SELECT 1 FROM task WHERE num = $1 AND state = 'running' AND epoch IS NOT DISTINCT FROM $2";

/// Tasks that wait for one node that is gone.
const ABANDONED: &str = "SELECT t.num, t.session FROM task t
WHERE t.attended_by IS NOT NULL AND t.state IN ('queued', 'ready') AND NOT EXISTS (
  SELECT 1 FROM node n WHERE n.id = t.attended_by AND NOT n.gone AND n.expires_at > now())
ORDER BY t.num DESC";

/// Settles what dead nodes left, and rows that cannot be understood (SPEC D6); a transaction each.
pub(super) async fn recover(db: &Db, host: &super::host::Host) -> Result<(Vec<Recovered>, bool), Fault> {
    node::bury(db, host).await?;
    let (mut recovered, mut wakes) = (Vec::new(), false);
    for row in db.query(ORPHANS, &[]).await? {
        match recover_orphan(db, &row).await {
            Ok(Some((turn, woke))) => {
                wakes |= woke;
                recovered.extend(turn);
            }
            Ok(None) => {}
            Err(fault) if fault.may_pass() => return Err(fault),
            // The others go on; this one is tried again.
            Err(fault) => tracing::error!(task = row.get::<_, i64>(0), "a turn cannot be recovered: {fault}"),
        }
    }
    let (abandoned, woke) = abandon(db).await?;
    recovered.extend(abandoned.into_iter().map(|task| Recovered { task, became: RecoveredAs::Cancelled }));
    for row in db.query(aside::UNKNOWN, &[]).await? {
        let bad =
            BadRow { table: "task", row: row.try_get(0)?, column: "state", why: "it is unknown".into() };
        wakes |= set_aside(db, &bad).await?;
    }
    Ok((recovered, wakes || woke))
}

/// Settles one turn, and tells whether that wakes others; `None` when somebody came first.
async fn recover_orphan(db: &Db, row: &Row) -> Result<Option<(Option<Recovered>, bool)>, Fault> {
    let (task, session): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let epoch: Option<i64> = row.try_get(2)?;
    let mut tx = db.begin().await?;
    let turn = hold(&mut tx, session, task).await?;
    if tx.find(STILL, &[&task, &epoch]).await?.is_none() {
        tx.undo().await?;
        return Ok(None);
    }
    let became = recover_turn(&mut tx, &turn).await?;
    let wakes = tx.wakes;
    tx.commit().await?;
    Ok(Some((turn.id.map(|task| Recovered { task, became }), wakes)))
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
pub(super) async fn abandon(db: &Db) -> Result<(Vec<TaskId>, bool), Fault> {
    let (mut cancelled, mut wakes) = (Vec::new(), false);
    for row in db.query(ABANDONED, &[]).await? {
        let mut tx = db.begin().await?;
        let task = hold(&mut tx, row.try_get(1)?, row.try_get(0)?).await?;
        if matches!(task.stage.parse(), Ok(Stage::Queued | Stage::Ready)) && task.attended {
            task.end(&mut tx, Because::Abandoned, false).await?;
            cancelled.extend(task.id);
        }
        wakes |= tx.wakes;
        tx.commit().await?;
    }
    Ok((cancelled, wakes))
}

/// Ends a task whose row cannot be understood, so that the queue moves on (SAFETY A39); tells whether
/// another one became claimable by that.
pub(super) async fn set_aside(db: &Db, bad: &BadRow) -> Result<bool, Fault> {
    tracing::warn!(task = bad.row, "set aside: {bad}");
    let rows = db.query("SELECT session FROM task WHERE num = $1", &[&bad.row]).await?;
    let session = rows.first().ok_or(Fault::Misuse("the task is gone"))?.try_get(0)?;
    let mut tx = db.begin().await?;
    let task = hold(&mut tx, session, bad.row).await?;
    if !matches!(task.stage.parse(), Ok(Stage::Ended(_))) {
        task.end(&mut tx, Because::BadRow(bad.to_string()), false).await?;
    }
    let wakes = tx.wakes;
    tx.commit().await?;
    Ok(wakes)
}

/// Accepts a Stop (SPEC S1, S2).
pub(super) async fn request_stop(tx: &mut Tx, id: TaskId) -> Result<StopAnswer, Fault> {
    let id = id.to_string();
    let [_, rows] = tx.pipeline([(LOCK_SESSION_OF_TASK, &[&id]), (left!("t.id = $1"), &[&id])]).await?;
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
            task.end(tx, Because::Stopped, task.runs()).await?;
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
    let text = id.to_string();
    let [_, closed] = tx
        .pipeline([
            (LOCK_SESSION, &[&text]),
            ("UPDATE session SET open = false WHERE id = $1 AND open RETURNING num", &[&text]),
        ])
        .await?;
    if let Some(row) = closed.first() {
        // The newest first: so none becomes claimable on the way.
        let session: i64 = row.try_get(0)?;
        let left = tx
            .query(
                left!("t.session = $1 AND t.state IN ('queued', 'ready', 'running') ORDER BY t.ord DESC"),
                &[&session],
            )
            .await?;
        for row in &left {
            stop(tx, &Left::read(row)?).await?;
        }
    }
    sessions::session_in(tx, id).await
}
