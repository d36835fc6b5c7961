//! What a turn writes. Nothing here changes a row unless the task runs under the epoch that is given.

use dispatch_core::{
    frame::{About, Frame, FrameBody},
    ids::MessageId,
    ports::{ChangeVerdict, WriteAnswer},
    task::{TaskState, TurnKey},
};
use rusqlite::{OptionalExtension, Transaction};

use super::{changes, conversations, frames, queue};
use crate::{end::End, fault::Fault, fresh::now, rows::Stage};

/// A running task whose epoch is the writer's own.
pub(super) struct Turn {
    pub task: i64,
    pub session: i64,
    pub stopped: bool,
    pub prompt_sent: bool,
    pub message: Option<MessageId>,
}

impl Turn {
    /// The turn that `key` may write for; `None` when it was fenced off.
    pub fn of(tx: &Transaction<'_>, key: &TurnKey) -> Result<Option<Self>, Fault> {
        let found = tx
            .prepare_cached(
                "SELECT t.num, t.session, t.stopped IS NOT NULL, t.prompt_sent, m.id
                 FROM task t LEFT JOIN message m ON m.num = t.assistant_message
                 WHERE t.id = ?1 AND t.state = 'running' AND t.epoch = ?2",
            )?
            .query_row((key.task.to_string(), key.epoch.0), |row| {
                Ok(Self {
                    task: row.get(0)?,
                    session: row.get(1)?,
                    stopped: row.get(2)?,
                    prompt_sent: row.get(3)?,
                    message: row.get::<_, Option<String>>(4)?.and_then(|id| id.parse().ok()),
                })
            })
            .optional()?;
        Ok(found)
    }

    /// The task that was claimed under the key's epoch, whether it still runs or not.
    pub fn task_of(tx: &Transaction<'_>, key: &TurnKey) -> Result<Option<i64>, Fault> {
        let found = tx
            .prepare_cached("SELECT num FROM task WHERE id = ?1 AND epoch = ?2")?
            .query_row((key.task.to_string(), key.epoch.0), |row| row.get(0))
            .optional()?;
        Ok(found)
    }

    pub fn source(&self, key: &TurnKey) -> frames::Source {
        frames::Source {
            session: self.session,
            task: self.task,
            session_id: key.session,
            about: About { chat_id: Some(key.chat), message_id: None, task_id: Some(key.task) },
        }
    }
}

pub(super) fn record_prompt_sent(tx: &Transaction<'_>, key: &TurnKey) -> Result<WriteAnswer, Fault> {
    let Some(turn) = Turn::of(tx, key)? else { return Ok(WriteAnswer::Fenced) };
    if turn.stopped {
        return Ok(WriteAnswer::StopFirst);
    }
    tx.prepare_cached("UPDATE task SET prompt_sent = 1 WHERE num = ?1")?.execute([turn.task])?;
    Ok(WriteAnswer::Done)
}

pub(super) fn settle(
    tx: &Transaction<'_>,
    key: &TurnKey,
    end: End,
) -> Result<(WriteAnswer, Vec<Frame>), Fault> {
    let Some(turn) = Turn::of(tx, key)? else { return Ok((WriteAnswer::Fenced, vec![])) };
    if turn.stopped && end.state != TaskState::Cancelled {
        return Ok((WriteAnswer::StopFirst, vec![]));
    }
    let frames = write_end(tx, &turn.source(key), end)?;
    Ok((WriteAnswer::Done, frames))
}

/// Writes a task's end and lets the session's next task go on.
pub(super) fn write_end(
    tx: &Transaction<'_>,
    source: &frames::Source,
    end: End,
) -> Result<Vec<Frame>, Fault> {
    let End { state, reason, summary, cost, message, change, mut frames } = end;
    let usage = message.as_ref().map(|message| message.usage.clone()).unwrap_or_default();
    let message_id = message.as_ref().map(|message| message.id);
    if let Some(message) = &message {
        conversations::settle_message(tx, source.task, message)?;
    } else {
        conversations::close_empty_message(tx, source.task, state)?;
    }
    match change {
        ChangeVerdict::Leave => {}
        ChangeVerdict::Withdraw => changes::withdraw(tx, source.session)?,
        ChangeVerdict::Queue(new) => {
            let replaced = changes::queue(tx, source.task, source.session, &new)?;
            for frame in &mut frames {
                if let FrameBody::PendingChange { id, replaces, .. } = frame
                    && *id == new.id
                {
                    *replaces = replaced;
                }
            }
        }
    }
    tx.prepare_cached("UPDATE task SET state = ?2, reason = ?3, finished_at = ?4 WHERE num = ?1")?
        .execute((source.task, Stage::Ended(state).as_str(), reason.as_str(), now().0))?;
    let (cost, currency) = cost.map(|cost| (cost.amount, cost.currency)).unzip();
    tx.prepare_cached(
        "INSERT OR REPLACE INTO task_result (task, summary, input_tokens, output_tokens, cost, currency)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        source.task,
        summary,
        usage.input_tokens.map(saturating),
        usage.output_tokens.map(saturating),
        cost,
        currency,
    ))?;
    let frames = frames::append_and_show(tx, source, message_id, frames)?;
    queue::promote(tx, source.session)?;
    Ok(frames)
}

/// A count as SQLite can hold it; an agent may report anything.
fn saturating(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn requeue(
    tx: &Transaction<'_>,
    key: &TurnKey,
    frames: Vec<FrameBody>,
) -> Result<(WriteAnswer, Vec<Frame>), Fault> {
    let Some(turn) = Turn::of(tx, key)? else { return Ok((WriteAnswer::Fenced, vec![])) };
    if turn.stopped {
        return Ok((WriteAnswer::StopFirst, vec![]));
    }
    if turn.prompt_sent {
        return Err(Fault::Misuse("a task whose prompt has gone out is never run again by itself"));
    }
    put_back(tx, turn.task)?;
    let frames = frames::append_and_show(tx, &turn.source(key), turn.message, frames)?;
    Ok((WriteAnswer::Done, frames))
}

/// Makes a running task claimable again, in its place.
pub(super) fn put_back(tx: &Transaction<'_>, task: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE task SET state = 'ready', node = NULL WHERE num = ?1")?.execute([task])?;
    Ok(())
}
