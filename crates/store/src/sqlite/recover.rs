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

use super::{frames, node, turns};
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
    first_seq: i64,
    agent: Option<Name>,
    model: Option<Name>,
    route: Option<Route>,
    message: Option<MessageId>,
}

const LEFT: &str = "SELECT t.num, t.session, t.id, s.id, c.id, t.state, t.stopped, t.prompt_sent,
  coalesce(t.first_seq, 0), i.options, t.route, m.id
FROM task t LEFT JOIN session s ON s.num = t.session LEFT JOIN chat c ON c.num = t.chat
  LEFT JOIN task_input i ON i.task = t.num
  LEFT JOIN message m ON m.num = t.assistant_message AND m.state = 'streaming'";

/// Reads what can be read: a task whose row is broken must end all the same.
fn left(row: &Row<'_>) -> rusqlite::Result<Left> {
    fn parsed<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
        text.and_then(|text| text.parse().ok())
    }
    let id = parsed(row.get(2)?);
    let options: Option<String> = row.get(9)?;
    let options: TurnOptions = options.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    let session_id = parsed(row.get(3)?);
    Ok(Left {
        id,
        source: frames::Source {
            session: row.get(1)?,
            task: row.get(0)?,
            // Only shown in frames that nobody is handed here.
            session_id: session_id.unwrap_or_else(|| dispatch_core::ids::SessionId::from_random([0; 16])),
            about: About { chat_id: parsed(row.get(4)?), message_id: None, task_id: id },
        },
        stage: row.get(5)?,
        stopped: row.get(6)?,
        prompt_sent: row.get(7)?,
        first_seq: row.get(8)?,
        agent: options.agent,
        model: options.model,
        route: parsed(row.get(10)?),
        message: parsed(row.get(11)?),
    })
}

impl Left {
    fn end(&self, tx: &Transaction<'_>, because: Because) -> Result<(), Fault> {
        let streamed = frames::of_turn(tx, self.source.session, self.first_seq, self.source.task)?;
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
        turns::write_end(tx, &self.source, End::try_from(&settlement)?)?;
        Ok(())
    }

    fn agent(&self) -> &str {
        self.agent.as_ref().map_or("native", Name::as_str)
    }
}

/// Settles the turns of dead nodes (SPEC D6).
pub(super) fn recover(tx: &Transaction<'_>, nodes: &Path) -> Result<Vec<Recovered>, Fault> {
    let mut recovered = Vec::new();
    for node in node::dead(tx, nodes)? {
        for turn in running(tx, node)? {
            let became = recover_turn(tx, &turn)?;
            recovered.extend(turn.id.map(|task| Recovered { task, became }));
        }
        tx.prepare_cached("DELETE FROM node WHERE num = ?1")?.execute([node])?;
    }
    Ok(recovered)
}

fn running(tx: &Transaction<'_>, node: i64) -> rusqlite::Result<Vec<Left>> {
    let sql = format!("{LEFT} WHERE t.state = 'running' AND t.node = ?1 ORDER BY t.num");
    tx.prepare_cached(&sql)?.query_map([node], left)?.collect()
}

fn recover_turn(tx: &Transaction<'_>, turn: &Left) -> Result<RecoveredAs, Fault> {
    if turn.stopped.is_some() {
        turn.end(tx, Because::Stopped)?;
        return Ok(RecoveredAs::Cancelled);
    }
    if turn.prompt_sent {
        turn.end(tx, Because::NodeLost)?;
        return Ok(RecoveredAs::Interrupted);
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

/// Ends a claimable task whose row cannot be understood, so that the queue moves on (SAFETY A39).
pub(super) fn set_aside(tx: &Transaction<'_>, task: i64, bad: &BadRow) -> Result<(), Fault> {
    tracing::warn!(task, "set aside: {bad}");
    let sql = format!("{LEFT} WHERE t.num = ?1");
    let broken = tx.prepare_cached(&sql)?.query_row([task], left)?;
    broken.end(tx, Because::BadRow(bad.to_string()))
}

/// Accepts a Stop (SPEC S1, S2).
pub(super) fn request_stop(tx: &Transaction<'_>, id: TaskId) -> Result<StopAnswer, Fault> {
    let sql = format!("{LEFT} WHERE t.id = ?1");
    let Some(task) = tx.prepare_cached(&sql)?.query_row([id.to_string()], left).optional()? else {
        return Ok(StopAnswer::NotFound);
    };
    let bad = |why: dispatch_core::task::UnknownWord| BadRow {
        table: "task",
        row: task.source.task,
        column: "state",
        why: why.to_string(),
    };
    match task.stage.parse::<Stage>().map_err(bad)? {
        Stage::Running => {
            mark(tx, &task, "running")?;
            Ok(StopAnswer::Stopping)
        }
        Stage::Queued | Stage::Ready => {
            mark(tx, &task, "waiting")?;
            task.end(tx, Because::Stopped)?;
            Ok(StopAnswer::Cancelled)
        }
        // Repeating a Stop gets the same answer.
        Stage::Ended(_) if task.stopped.as_deref() == Some("waiting") => Ok(StopAnswer::Cancelled),
        Stage::Ended(state) => Ok(StopAnswer::AlreadyEnded(state)),
    }
}

fn mark(tx: &Transaction<'_>, task: &Left, found: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE task SET stopped = ?2 WHERE num = ?1")?.execute((task.source.task, found))?;
    Ok(())
}
