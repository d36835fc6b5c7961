//! What a turn writes. Nothing here changes a row unless the task runs under the epoch that is given.

use dispatch_core::{
    agent::{Cost, Usage},
    frame::{About, Frame, FrameBody},
    ids::MessageId,
    ports::{ChangeVerdict, WriteAnswer},
    task::{TaskState, TurnKey},
};
use tokio_postgres::Row;

use super::{
    changes, conversations,
    db::{Db, Tx},
    frames::{self, Answered, Source},
    locks::LOCK_SESSION,
    noted::CLOSE_ALL,
    queue,
    text::shown,
};
use crate::{
    end::{End, encode},
    fault::Fault,
    noted::Noted,
    rows::Stage,
};

/// Records that the prompt is about to go out, in one statement: its row is what Stop and recovery look at.
pub(super) async fn record_prompt_sent(db: &Db, key: &TurnKey) -> Result<WriteAnswer, Fault> {
    const SEND: &str = "UPDATE task SET prompt_sent = true
      WHERE id = $1 AND epoch = $2 AND state = 'running' AND stopped IS NULL RETURNING num";
    const STOPPED: &str = "SELECT num FROM task
      WHERE id = $1 AND epoch = $2 AND state = 'running' AND stopped IS NOT NULL";
    let id = key.task.to_string();
    if !db.query(SEND, &[&id, &key.epoch.0]).await?.is_empty() {
        return Ok(WriteAnswer::Done);
    }
    // A statement of its own: it sees the Stop that the first one may have waited for.
    let stopped = db.query(STOPPED, &[&id, &key.epoch.0]).await?;
    Ok(if stopped.is_empty() { WriteAnswer::Fenced } else { WriteAnswer::StopFirst })
}

/// The task of a key's epoch, its session held.
struct Held {
    task: i64,
    session: i64,
    running: bool,
    stopped: bool,
    prompt_sent: bool,
    message: Option<MessageId>,
    answered: Option<String>,
    frames: Option<(i64, i64)>,
}

const HELD: &str = "SELECT t.num, t.session, t.state = 'running', t.stopped IS NOT NULL, t.prompt_sent, m.id,
  t.answered, t.answered_first, t.answered_last
FROM task t JOIN session s ON s.num = t.session LEFT JOIN message m ON m.num = t.assistant_message
WHERE t.id = $1 AND t.epoch = $2 AND s.id = $3";

impl Held {
    /// Holds the session and finds the task; `None` when the epoch is not the task's last.
    async fn find(tx: &mut Tx, key: &TurnKey) -> Result<Option<Self>, Fault> {
        let session = key.session.to_string();
        let [_, rows] = tx
            .pipeline([(LOCK_SESSION, &[&session]), (HELD, &[&key.task.to_string(), &key.epoch.0, &session])])
            .await?;
        rows.first().map(Self::read).transpose()
    }

    fn read(row: &Row) -> Result<Self, Fault> {
        let message: Option<&str> = row.try_get(5)?;
        let frames: (Option<i64>, Option<i64>) = (row.try_get(7)?, row.try_get(8)?);
        Ok(Self {
            task: row.try_get(0)?,
            session: row.try_get(1)?,
            running: row.try_get(2)?,
            stopped: row.try_get(3)?,
            prompt_sent: row.try_get(4)?,
            message: message.and_then(|id| id.parse().ok()),
            answered: row.try_get(6)?,
            frames: frames.0.zip(frames.1),
        })
    }

    fn source(&self, key: &TurnKey) -> Source {
        Source {
            session: self.session,
            task: self.task,
            session_id: key.session,
            about: About { chat_id: Some(key.chat), message_id: None, task_id: Some(key.task) },
        }
    }

    /// The answer to a call that is made again because its answer was lost; to others, that they are late.
    async fn again(
        &self,
        tx: &mut Tx,
        key: &TurnKey,
        answered: Answered,
    ) -> Result<(WriteAnswer, Vec<Frame>), Fault> {
        match self.frames.filter(|_| self.answered.as_deref() == answered.as_str()) {
            Some(range) => {
                Ok((WriteAnswer::Done, frames::between(tx, key.session, self.session, range).await?))
            }
            None => Ok((WriteAnswer::Fenced, vec![])),
        }
    }
}

pub(super) async fn settle(tx: &mut Tx, key: &TurnKey, end: End) -> Result<(WriteAnswer, Vec<Frame>), Fault> {
    let Some(turn) = Held::find(tx, key).await? else { return Ok((WriteAnswer::Fenced, vec![])) };
    if !turn.running {
        return turn.again(tx, key, Answered::Settled).await;
    }
    if turn.stopped && end.state != TaskState::Cancelled {
        return Ok((WriteAnswer::StopFirst, vec![]));
    }
    let frames = write_end(tx, &turn.source(key), end, Answered::Settled).await?;
    Ok((WriteAnswer::Done, frames))
}

pub(super) async fn requeue(
    tx: &mut Tx,
    key: &TurnKey,
    frames: Vec<FrameBody>,
) -> Result<(WriteAnswer, Vec<Frame>), Fault> {
    let Some(turn) = Held::find(tx, key).await? else { return Ok((WriteAnswer::Fenced, vec![])) };
    if !turn.running {
        return turn.again(tx, key, Answered::Requeued).await;
    }
    if turn.stopped {
        return Ok((WriteAnswer::StopFirst, vec![]));
    }
    if turn.prompt_sent {
        return Err(Fault::Misuse("a task whose prompt has gone out is never run again by itself"));
    }
    put_back(tx, turn.task).await?;
    let frames = frames::append_last(tx, &turn.source(key), turn.message, frames, Answered::Requeued).await?;
    Ok((WriteAnswer::Done, frames))
}

/// Makes a running task claimable again, in its place.
pub(super) async fn put_back(tx: &mut Tx, task: i64) -> Result<(), Fault> {
    const PUT_BACK: &str = "UPDATE task SET state = 'ready', node = NULL WHERE num = $1";
    tx.pipeline([(PUT_BACK, &[&task]), (CLOSE_ALL, &[&task])]).await?;
    tx.wakes = true;
    Ok(())
}

/// Writes a task's end and lets the session's next task go on. The session is held.
pub(super) async fn write_end(
    tx: &mut Tx,
    source: &Source,
    end: End,
    answered: Answered,
) -> Result<Vec<Frame>, Fault> {
    let End { state, reason, summary, cost, message, change, mut frames } = end;
    match change {
        ChangeVerdict::Leave => {}
        ChangeVerdict::Withdraw => changes::withdraw(tx, source.session).await?,
        ChangeVerdict::Queue(new) => {
            let replaced = changes::queue(tx, source.task, source.session, &new).await?;
            for frame in &mut frames {
                if let FrameBody::PendingChange { id, replaces, .. } = frame
                    && *id == new.id
                {
                    *replaces = replaced;
                }
            }
        }
    }
    let usage = message.as_ref().map(|message| message.usage.clone()).unwrap_or_default();
    let message_id = message.as_ref().map(|message| message.id);
    match &message {
        Some(message) => conversations::settle_message(tx, source.task, message).await?,
        None => conversations::close_empty_message(tx, source.task, state).await?,
    }
    record_result(tx, source.task, (Stage::Ended(state), reason.as_str()), summary, &usage, cost).await?;
    let frames = frames::append_last(tx, source, message_id, frames, answered).await?;
    queue::promote(tx, source.session).await?;
    Ok(frames)
}

/// What earlier attempts cost is added to. Sums stay in range, as an agent may report anything; of two
/// currencies, the last one counts.
const RESULT: &str =
    "INSERT INTO task_result AS r (task, summary, input_tokens, output_tokens, cost, currency)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (task) DO UPDATE SET summary = excluded.summary,
  input_tokens = coalesce(
    r.input_tokens + least(excluded.input_tokens, 9223372036854775807 - r.input_tokens),
    excluded.input_tokens, r.input_tokens),
  output_tokens = coalesce(
    r.output_tokens + least(excluded.output_tokens, 9223372036854775807 - r.output_tokens),
    excluded.output_tokens, r.output_tokens),
  cost = CASE WHEN excluded.cost IS NULL THEN r.cost
    WHEN r.currency = excluded.currency THEN r.cost + excluded.cost ELSE excluded.cost END,
  currency = coalesce(excluded.currency, r.currency)";

/// Records how a task ended, what it brought and what it cost.
async fn record_result(
    tx: &mut Tx,
    task: i64,
    (stage, reason): (Stage, &str),
    summary: Option<String>,
    usage: &Usage,
    cost: Option<Cost>,
) -> Result<(), Fault> {
    let summary = summary.as_deref().map(shown);
    let (cost, currency) = cost.map(|cost| (cost.amount, shown(&cost.currency).into_owned())).unzip();
    let count = |count: Option<u64>| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    let (input, output) = (count(usage.input_tokens), count(usage.output_tokens));
    tx.pipeline([
        (
            "UPDATE task SET state = $2, reason = $3, finished_at = now_ms() WHERE num = $1",
            &[&task, &stage.as_str(), &reason],
        ),
        (RESULT, &[&task, &summary, &input, &output, &cost, &currency]),
        (CLOSE_ALL, &[&task]),
    ])
    .await?;
    Ok(())
}

/// Appends a running turn's frames, in a transaction of their own.
pub(super) async fn append(
    db: &Db,
    key: &TurnKey,
    batch: u64,
    message: Option<MessageId>,
    bodies: &[FrameBody],
) -> Result<Option<dispatch_core::ports::Appended>, Fault> {
    let (bodies, noted) = (encode(bodies)?, Noted::of(bodies)?);
    frames::append(db.begin().await?, key, batch, message, (&bodies, &noted)).await
}
