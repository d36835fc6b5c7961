//! What a turn writes. Nothing here changes a row unless the task runs under the epoch that is given.

use dispatch_core::{
    agent::{Cost, Usage},
    frame::{About, Frame, FrameBody},
    ids::{MessageId, Seq},
    ports::{ChangeVerdict, WriteAnswer},
    task::{TaskState, TurnKey},
};
use rusqlite::{OptionalExtension, Transaction};

use super::{changes, conversations, frames, lookup::maybe_text, permissions, queue, writer::Write};
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
                    message: maybe_text(row, 4)?.and_then(|id| id.parse().ok()),
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

/// How a claim ended by its own word.
#[derive(Clone, Copy)]
enum Answered {
    Settled,
    Requeued,
}

impl Answered {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Requeued => "requeued",
        }
    }

    /// Remembers what was answered, until the task is claimed again.
    fn remember(self, tx: &Transaction<'_>, task: i64, frames: &[Frame]) -> rusqlite::Result<()> {
        let seq = |frame: Option<&Frame>| frame.map(|frame| frame.seq.0);
        tx.prepare_cached(
            "UPDATE task SET answered = ?2, answered_first = ?3, answered_last = ?4 WHERE num = ?1",
        )?
        .execute((task, self.as_str(), seq(frames.first()), seq(frames.last())))?;
        Ok(())
    }

    /// The answer to a call that is made again because its answer was lost; to others, that they are late.
    fn again(self, tx: &Transaction<'_>, key: &TurnKey) -> Result<(WriteAnswer, Vec<Frame>), Fault> {
        let frames: Option<(Option<i64>, Option<i64>)> = tx
            .prepare_cached(
                "SELECT answered_first, answered_last FROM task WHERE id = ?1 AND epoch = ?2 AND answered = ?3",
            )?
            .query_row((key.task.to_string(), key.epoch.0, self.as_str()), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        Ok(match frames {
            None => (WriteAnswer::Fenced, vec![]),
            Some((Some(first), Some(last))) => {
                let count = usize::try_from(last - first + 1).unwrap_or_default();
                (WriteAnswer::Done, frames::after(tx, key.session, Seq(first - 1), count)?)
            }
            Some(_) => (WriteAnswer::Done, vec![]),
        })
    }
}

pub(super) fn settle(tx: &Write<'_>, key: &TurnKey, end: End) -> Result<(WriteAnswer, Vec<Frame>), Fault> {
    let Some(turn) = Turn::of(tx, key)? else { return Answered::Settled.again(tx, key) };
    if turn.stopped && end.state != TaskState::Cancelled {
        return Ok((WriteAnswer::StopFirst, vec![]));
    }
    let frames = write_end(tx, &turn.source(key), end)?;
    Answered::Settled.remember(tx, turn.task, &frames)?;
    Ok((WriteAnswer::Done, frames))
}

/// Writes a task's end and lets the session's next task go on.
pub(super) fn write_end(tx: &Write<'_>, source: &frames::Source, end: End) -> Result<Vec<Frame>, Fault> {
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
    permissions::close_all(tx, source.task)?;
    record_result(tx, source.task, summary, &usage, cost)?;
    let frames = frames::append_and_show(tx, source, message_id, frames)?;
    queue::promote(tx, source.session)?;
    Ok(frames)
}

/// Records what a turn brought and cost; what earlier attempts cost is added to it.
fn record_result(
    tx: &Transaction<'_>,
    task: i64,
    summary: Option<String>,
    usage: &Usage,
    cost: Option<Cost>,
) -> rusqlite::Result<()> {
    let (cost, currency) = cost.map(|cost| (cost.amount, cost.currency)).unzip();
    // Sums stay in range: an agent may report anything. Of two currencies, the last one counts.
    tx.prepare_cached(
        "INSERT INTO task_result AS r (task, summary, input_tokens, output_tokens, cost, currency)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (task) DO UPDATE SET summary = excluded.summary,
           input_tokens = coalesce(
             r.input_tokens + min(excluded.input_tokens, 9223372036854775807 - r.input_tokens),
             excluded.input_tokens, r.input_tokens),
           output_tokens = coalesce(
             r.output_tokens + min(excluded.output_tokens, 9223372036854775807 - r.output_tokens),
             excluded.output_tokens, r.output_tokens),
           cost = CASE WHEN excluded.cost IS NULL THEN r.cost
             WHEN r.currency = excluded.currency THEN r.cost + excluded.cost ELSE excluded.cost END,
           currency = coalesce(excluded.currency, r.currency)",
    )?
    .execute((
        task,
        summary,
        usage.input_tokens.map(saturating),
        usage.output_tokens.map(saturating),
        cost,
        currency,
    ))?;
    Ok(())
}

/// A count as SQLite can hold it; an agent may report anything.
fn saturating(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn requeue(
    tx: &Write<'_>,
    key: &TurnKey,
    frames: Vec<FrameBody>,
) -> Result<(WriteAnswer, Vec<Frame>), Fault> {
    let Some(turn) = Turn::of(tx, key)? else { return Answered::Requeued.again(tx, key) };
    if turn.stopped {
        return Ok((WriteAnswer::StopFirst, vec![]));
    }
    if turn.prompt_sent {
        return Err(Fault::Misuse("a task whose prompt has gone out is never run again by itself"));
    }
    put_back(tx, turn.task)?;
    let frames = frames::append_and_show(tx, &turn.source(key), turn.message, frames)?;
    Answered::Requeued.remember(tx, turn.task, &frames)?;
    Ok((WriteAnswer::Done, frames))
}

/// Makes a running task claimable again, in its place.
pub(super) fn put_back(tx: &Write<'_>, task: i64) -> rusqlite::Result<()> {
    tx.ring();
    tx.prepare_cached("UPDATE task SET state = 'ready', node = NULL WHERE num = ?1")?.execute([task])?;
    permissions::close_all(tx, task)
}
