//! The frame log.

use dispatch_core::{
    frame::{About, Frame, FrameBody},
    ids::{MessageId, Seq, SessionId, Timestamp},
    ports::Appended,
    task::TurnKey,
};
use tokio_postgres::Row;

use super::{
    db::{Db, Step, Tx},
    locks::LOCK_SESSION,
    noted,
    tasks::at_most,
};
use crate::{
    end::encode,
    fault::Fault,
    noted::Noted,
    rows::{FrameRow, frame_body, or_left_out},
};

/// Whose frames are appended, by row and by id.
pub(super) struct Source {
    pub session: i64,
    pub task: i64,
    pub session_id: SessionId,
    pub about: About,
}

/// Runs behind the session's lock, so that what it looks at is what the last holder left. A batch that a later
/// one has overtaken is fenced off: it was given up on its way, and made again since.
const APPEND: &str = "WITH turn AS MATERIALIZED (
  SELECT t.num, t.session, (SELECT m.num FROM message m WHERE m.id = $4) AS message
  FROM task t JOIN session s ON s.num = t.session
  WHERE t.id = $1 AND t.state = 'running' AND t.epoch = $2 AND s.id = $6),
placed AS (
  UPDATE session s SET last_seq = s.last_seq + cardinality($5::text[]), append_epoch = $2, append_batch = $3,
    append_first = s.last_seq + 1, append_ts = now_ms()
  FROM turn WHERE s.num = turn.session AND (s.append_epoch IS DISTINCT FROM $2 OR s.append_batch < $3)
    AND ($4::text IS NULL OR turn.message IS NOT NULL)
  RETURNING s.num, s.append_first, s.append_ts),
written AS (
  INSERT INTO frame (session, seq, ts, task, message, body)
  SELECT p.num, p.append_first + b.place - 1, p.append_ts, turn.num, turn.message, b.body
  FROM placed p, turn, unnest($5::text[]) WITH ORDINALITY AS b(body, place))
SELECT append_first, append_ts FROM placed
UNION ALL
SELECT s.append_first, s.append_ts FROM session s
WHERE s.id = $6 AND s.append_epoch = $2 AND s.append_batch = $3
UNION ALL
SELECT NULL, NULL FROM turn WHERE $4::text IS NOT NULL AND message IS NULL";

/// Appends a turn's frames in one round trip; `None` when it was fenced off.
pub(super) async fn append(
    tx: Tx,
    key: &TurnKey,
    batch: u64,
    message: Option<MessageId>,
    (bodies, noted): (&[String], &Noted),
) -> Result<Option<Appended>, Fault> {
    let session = key.session.to_string();
    let batch = i64::try_from(batch).map_err(|_| Fault::Misuse("more batches than can be counted"))?;
    let message_id = message.map(|id| id.to_string());
    let task = key.task.to_string();
    let lock: Step<'_> = (LOCK_SESSION, &[&session]);
    let append: Step<'_> = (APPEND, &[&task, &key.epoch.0, &batch, &message_id, &bodies, &session]);
    let rows = if noted.is_empty() {
        let [_, rows] = tx.pipeline_and_commit([lock, append]).await?;
        rows
    } else {
        noted::append(tx, (&task, key.epoch.0, batch), [lock, append], noted).await?
    };
    let Some(row) = rows.first() else { return Ok(None) };
    let (first, ts) = (row.try_get(0)?, row.try_get(1)?);
    match (first, ts) {
        (Some(first), Some(ts)) => Ok(Some(Appended { first: Seq(first), ts: Timestamp(ts) })),
        _ => Err(Fault::NotFound { what: "message", id: message_id.unwrap_or_default() }),
    }
}

/// How the last frames of a claim are remembered, so that its end can be answered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Settled,
    Requeued,
    /// Somebody else ended it.
    Not,
}

impl Answered {
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Settled => Some("settled"),
            Self::Requeued => Some("requeued"),
            Self::Not => None,
        }
    }
}

const CLOSE: &str = "WITH placed AS (
  UPDATE session SET last_seq = last_seq + cardinality($4::text[]) WHERE num = $1
  RETURNING last_seq - cardinality($4::text[]) + 1 AS first, now_ms() AS ts),
written AS (
  INSERT INTO frame (session, seq, ts, task, message, body)
  SELECT $1, p.first + b.place - 1, p.ts, $2, (SELECT m.num FROM message m WHERE m.id = $3), b.body
  FROM placed p, unnest($4::text[]) WITH ORDINALITY AS b(body, place)),
noted AS (
  UPDATE task SET answered = $5, answered_first = p.first, answered_last = p.first + cardinality($4::text[]) - 1
  FROM placed p WHERE num = $2 AND $5::text IS NOT NULL)
SELECT first, ts FROM placed";

/// Appends the last few frames of a turn, whose session is locked, and returns them as they are stored.
pub(super) async fn append_last(
    tx: &mut Tx,
    source: &Source,
    message: Option<MessageId>,
    bodies: Vec<FrameBody>,
    answered: Answered,
) -> Result<Vec<Frame>, Fault> {
    let message_id = message.map(|id| id.to_string());
    let encoded = encode(&bodies)?;
    let row = tx
        .find(CLOSE, &[&source.session, &source.task, &message_id, &encoded, &answered.as_str()])
        .await?
        .ok_or(Fault::Misuse("the session is gone"))?;
    let appended = Appended { first: Seq(row.try_get(0)?), ts: Timestamp(row.try_get(1)?) };
    let about = About { message_id: message, ..source.about };
    Ok(appended.frames(source.session_id, about, bodies).collect())
}

const FRAME: &str = "SELECT f.seq, f.ts, c.id, m.id, t.id, f.body
FROM frame f LEFT JOIN task t ON t.num = f.task LEFT JOIN chat c ON c.num = t.chat
  LEFT JOIN message m ON m.num = f.message";

fn frame_row(session: &str, row: &Row) -> Result<FrameRow, Fault> {
    Ok(FrameRow {
        session: session.to_owned(),
        seq: row.try_get(0)?,
        ts: row.try_get(1)?,
        chat: row.try_get(2)?,
        message: row.try_get(3)?,
        task: row.try_get(4)?,
        body: row.try_get(5)?,
    })
}

fn read(session: &str, rows: &[Row]) -> Result<Vec<Frame>, Fault> {
    let rows: Vec<_> = rows.iter().map(|row| frame_row(session, row)).collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// A session's frames after `after`, in order.
pub(super) async fn after(db: &Db, session: SessionId, after: Seq, most: usize) -> Result<Vec<Frame>, Fault> {
    let id = session.to_string();
    let rows = db.query("SELECT num FROM session WHERE id = $1", &[&id]).await?;
    let num: i64 =
        rows.first().ok_or_else(|| Fault::NotFound { what: "session", id: id.clone() })?.try_get(0)?;
    let sql = format!("{FRAME} WHERE f.session = $1 AND f.seq > $2 ORDER BY f.seq LIMIT $3");
    read(&id, &db.query(&sql, &[&num, &after.0, &at_most(most)]).await?)
}

/// A session's frames of a range.
pub(super) async fn between(
    tx: &mut Tx,
    session: SessionId,
    num: i64,
    range: (i64, i64),
) -> Result<Vec<Frame>, Fault> {
    let sql = format!("{FRAME} WHERE f.session = $1 AND f.seq BETWEEN $2 AND $3 ORDER BY f.seq");
    read(&session.to_string(), &tx.query(&sql, &[&num, &range.0, &range.1]).await?)
}

/// What a task has streamed since its session's `first` frame.
pub(super) async fn of_turn(
    tx: &mut Tx,
    session: i64,
    first: i64,
    task: i64,
) -> Result<Vec<FrameBody>, Fault> {
    let rows = tx
        .query(
            "SELECT seq, body FROM frame WHERE session = $1 AND seq >= $2 AND task = $3 ORDER BY seq",
            &[&session, &first, &task],
        )
        .await?;
    let mut frames = Vec::with_capacity(rows.len());
    for row in rows {
        frames.extend(or_left_out(frame_body(row.try_get(0)?, row.try_get(1)?)));
    }
    Ok(frames)
}
