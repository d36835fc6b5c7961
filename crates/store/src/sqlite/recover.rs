//! Ends that a turn's own node does not write: it is dead, or never had the task.

use std::path::Path;

use dispatch_core::{
    frame::{About, AgentStatus, FrameBody, StatusReason},
    ids::{MessageId, TaskId},
    ports::{Recovered, RecoveredAs, StopAnswer},
    routing::Route,
    task::{Name, TaskState, TurnOptions},
};
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    aside, frames,
    lookup::{maybe_text, text},
    node, tasks, turns,
    writer::Write,
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
    source: frames::Source,
    stage: String,
    stopped: Option<String>,
    prompt_sent: bool,
    attended: bool,
    /// Where its last attempt's frames begin; `None` when it never had one.
    first_seq: Option<i64>,
    /// Whether its session is there, to take frames.
    in_session: bool,
    agent: Option<Name>,
    model: Option<Name>,
    route: Option<Route>,
    message: Option<MessageId>,
}

const LEFT: &str = "SELECT t.num, t.session, t.id, s.id, c.id, t.state, t.stopped, t.prompt_sent,
  t.first_seq, t.agent, i.options, t.route, m.id, t.attended_by IS NOT NULL
FROM task t LEFT JOIN session s ON s.num = t.session LEFT JOIN chat c ON c.num = t.chat
  LEFT JOIN task_input i ON i.task = t.num
  LEFT JOIN message m ON m.num = t.assistant_message AND m.state = 'streaming'";

/// Reads what can be read: a task whose row is broken must end all the same.
fn left(row: &Row<'_>) -> rusqlite::Result<Left> {
    fn parsed<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
        text.and_then(|text| text.parse().ok())
    }
    let id = parsed(maybe_text(row, 2)?);
    let options: Option<String> = maybe_text(row, 10)?;
    let options: TurnOptions = options.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    let session_id = parsed(maybe_text(row, 3)?);
    Ok(Left {
        id,
        source: frames::Source {
            session: row.get(1)?,
            task: row.get(0)?,
            // Only shown in frames that nobody is handed here.
            session_id: session_id.unwrap_or_else(|| dispatch_core::ids::SessionId::from_random([0; 16])),
            about: About { chat_id: parsed(maybe_text(row, 4)?), message_id: None, task_id: id },
        },
        stage: text(row, 5)?,
        stopped: maybe_text(row, 6)?,
        prompt_sent: row.get(7)?,
        attended: row.get(13)?,
        first_seq: row.get(8)?,
        in_session: session_id.is_some(),
        agent: Name::new(&text(row, 9)?),
        model: options.model,
        route: parsed(maybe_text(row, 11)?),
        message: parsed(maybe_text(row, 12)?),
    })
}

impl Left {
    fn end(&self, tx: &Write<'_>, because: Because) -> Result<(), Fault> {
        let streamed = match self.first_seq {
            Some(first) => frames::of_turn(tx, self.source.session, first, self.source.task)?,
            None => vec![],
        };
        let mut settlement = end_of(
            &Orphan {
                agent: self.agent(),
                model: self.model.as_ref(),
                route: self.route,
                message: self.message,
                frames: &streamed,
            },
            because,
        );
        if self.stage != Stage::Running.as_str() && self.message.is_none() {
            // It never had a turn; the agent may be at work on another task of the session.
            settlement.frames.retain(|frame| !matches!(frame, FrameBody::AgentStatus { .. }));
        }
        if !self.in_session {
            settlement.frames.clear();
        }
        turns::write_end(tx, &self.source, End::try_from(&settlement)?)?;
        aside::make_readable(tx, self.source.task)
    }

    fn agent(&self) -> &str {
        self.agent.as_ref().map_or("native", Name::as_str)
    }
}

fn left_at(tx: &Transaction<'_>, task: i64) -> Result<Left, Fault> {
    let sql = format!("{LEFT} WHERE t.num = ?1");
    Ok(tx.prepare_cached(&sql)?.query_row([task], left)?)
}

/// Settles what dead nodes left, and rows that cannot be understood (SPEC D6).
pub(super) fn recover(tx: &Write<'_>, nodes: &Path) -> Result<Vec<Recovered>, Fault> {
    let mut recovered = Vec::new();
    for node in node::dead(tx, nodes)? {
        for turn in running(tx, node)? {
            let became = recover_turn(tx, &turn)?;
            recovered.extend(turn.id.map(|task| Recovered { task, became }));
        }
        tx.prepare_cached("DELETE FROM node WHERE num = ?1")?.execute([node])?;
    }
    for node in attending(tx)? {
        if !is_live(tx, nodes, &node)? {
            let abandoned = abandon(tx, &node)?.into_iter();
            recovered.extend(abandoned.map(|task| Recovered { task, became: RecoveredAs::Cancelled }));
        }
    }
    for task in aside::unknown(tx)? {
        if let Err(bad) = tasks::task_at(tx, task)? {
            set_aside(tx, task, &bad)?;
        }
    }
    Ok(recovered)
}

fn is_live(tx: &Transaction<'_>, nodes: &Path, id: &str) -> Result<bool, Fault> {
    match id.parse() {
        Ok(node) => node::is_live(tx, nodes, node),
        Err(_) => Ok(false),
    }
}

fn running(tx: &Transaction<'_>, node: i64) -> rusqlite::Result<Vec<Left>> {
    let sql = format!("{LEFT} WHERE t.state = 'running' AND t.node = ?1 ORDER BY t.num");
    tx.prepare_cached(&sql)?.query_map([node], left)?.collect()
}

fn recover_turn(tx: &Write<'_>, turn: &Left) -> Result<RecoveredAs, Fault> {
    if turn.stopped.is_some() {
        turn.end(tx, Because::Stopped)?;
        return Ok(RecoveredAs::Cancelled);
    }
    if turn.prompt_sent {
        turn.end(tx, Because::NodeLost)?;
        return Ok(RecoveredAs::Interrupted);
    }
    if turn.attended {
        turn.end(tx, Because::Abandoned)?;
        return Ok(RecoveredAs::Cancelled);
    }
    turns::put_back(tx, turn.source.task)?;
    let mut frames = vec![FrameBody::TaskState { state: TaskState::Pending, reason: None }];
    if turn.message.is_some() {
        // Whoever watches was told that the agent is working.
        frames.push(FrameBody::AgentStatus {
            agent: turn.agent().to_owned(),
            status: AgentStatus::Idle,
            reason: StatusReason::Shutdown,
        });
    }
    frames::append_and_show(tx, &turn.source, turn.message, frames)?;
    Ok(RecoveredAs::Pending)
}

/// The nodes that tasks wait for.
fn attending(tx: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut nodes = tx.prepare_cached(
        "SELECT DISTINCT attended_by FROM task INDEXED BY task_attended
         WHERE attended_by IS NOT NULL AND state IN ('queued', 'ready')",
    )?;
    nodes.query_map([], |row| text(row, 0))?.collect()
}

/// Cancels what waits for one node that is gone.
pub(super) fn abandon(tx: &Write<'_>, node: &str) -> Result<Vec<TaskId>, Fault> {
    let mut waiting = tx.prepare_cached(
        "SELECT num FROM task INDEXED BY task_attended
         WHERE attended_by = ?1 AND state IN ('queued', 'ready') ORDER BY num",
    )?;
    let waiting = waiting.query_map([node], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    let mut cancelled = Vec::new();
    for task in waiting {
        let task = left_at(tx, task)?;
        task.end(tx, Because::Abandoned)?;
        cancelled.extend(task.id);
    }
    Ok(cancelled)
}

/// Ends a task whose row cannot be understood, so that the queue moves on (SAFETY A39).
pub(super) fn set_aside(tx: &Write<'_>, task: i64, bad: &BadRow) -> Result<(), Fault> {
    tracing::warn!(task, "set aside: {bad}");
    left_at(tx, task)?.end(tx, Because::BadRow(bad.to_string()))
}

/// Accepts a Stop (SPEC S1, S2).
pub(super) fn request_stop(tx: &Write<'_>, id: TaskId) -> Result<StopAnswer, Fault> {
    let num = tx
        .prepare_cached("SELECT num FROM task WHERE id = ?1")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()?;
    num.map_or(Ok(StopAnswer::NotFound), |num| stop(tx, num))
}

/// Stops a task by its row.
pub(super) fn stop(tx: &Write<'_>, num: i64) -> Result<StopAnswer, Fault> {
    let task = left_at(tx, num)?;
    let stage = match task.stage.parse::<Stage>() {
        Ok(stage) => stage,
        Err(why) => {
            let bad = BadRow { table: "task", row: num, column: "state", why: why.to_string() };
            set_aside(tx, num, &bad)?;
            Stage::Ended(TaskState::Failed)
        }
    };
    match stage {
        Stage::Running => {
            mark(tx, num, "running")?;
            tx.ring();
            Ok(StopAnswer::Stopping)
        }
        Stage::Queued | Stage::Ready => {
            mark(tx, num, "waiting")?;
            task.end(tx, Because::Stopped)?;
            Ok(StopAnswer::Cancelled)
        }
        // Repeating a Stop gets the same answer.
        Stage::Ended(_) if task.stopped.as_deref() == Some("waiting") => Ok(StopAnswer::Cancelled),
        Stage::Ended(state) => Ok(StopAnswer::AlreadyEnded(state)),
    }
}

fn mark(tx: &Transaction<'_>, task: i64, found: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE task SET stopped = ?2 WHERE num = ?1")?.execute((task, found))?;
    Ok(())
}
