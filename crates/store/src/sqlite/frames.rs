//! The frame log.

use dispatch_core::{
    frame::{About, Frame, FrameBody},
    ids::{MessageId, Seq, SessionId, Timestamp},
    ports::Appended,
    task::TurnKey,
};
use rusqlite::{OptionalExtension, Transaction};

use super::{
    lookup::{limit, maybe_text, text},
    offers, permissions,
};
use crate::{
    end::encode,
    fault::Fault,
    fresh::now,
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

/// Appends frames, which are JSON already; tells where they went.
///
/// One row at a time with one prepared statement: without a network in between, that is as fast as one
/// statement for all of them.
pub(super) fn append(
    tx: &Transaction<'_>,
    source: &Source,
    message: Option<MessageId>,
    bodies: &[String],
) -> Result<Appended, Fault> {
    let count = i64::try_from(bodies.len()).map_err(|_| Fault::Misuse("more frames than can be counted"))?;
    let last: i64 = tx
        .prepare_cached("UPDATE session SET last_seq = last_seq + ?2 WHERE num = ?1 RETURNING last_seq")?
        .query_row([source.session, count], |row| row.get(0))?;
    let message = message.map(|id| message_number(tx, id)).transpose()?;
    let (first, ts) = (last - count + 1, now());
    let mut insert = tx.prepare_cached(
        "INSERT INTO frame (session, seq, ts, task, message, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (seq, body) in (first..).zip(bodies) {
        insert.execute((source.session, seq, ts.0, source.task, message, body))?;
    }
    Ok(Appended { first: Seq(first), ts })
}

/// Appends a turn's `batch` of frames, which are JSON already; the last one made again is only answered
/// again. `None` when `source` finds that the turn was fenced off, or when a later batch was appended.
pub(super) fn append_batch(
    tx: &Transaction<'_>,
    key: &TurnKey,
    batch: u64,
    message: Option<MessageId>,
    (bodies, noted): (&[String], &Noted),
    source: impl FnOnce() -> Result<Option<Source>, Fault>,
) -> Result<Option<Appended>, Fault> {
    let (epoch, batch) = (key.epoch.0, batch.cast_signed());
    let last = tx
        .prepare_cached(
            "SELECT append_batch, append_first, append_ts FROM session WHERE id = ?1 AND append_epoch = ?2",
        )?
        .query_row((key.session.to_string(), epoch), |row| {
            Ok((row.get::<_, i64>(0)?, Appended { first: Seq(row.get(1)?), ts: Timestamp(row.get(2)?) }))
        })
        .optional()?;
    if let Some((last, appended)) = last
        && batch <= last
    {
        return Ok((batch == last).then_some(appended));
    }
    let Some(source) = source()? else { return Ok(None) };
    let appended = append(tx, &source, message, bodies)?;
    if !noted.is_empty() {
        permissions::note(tx, (source.task, epoch), appended.ts, noted)?;
        offers::note(tx, source.task, noted)?;
    }
    tx.prepare_cached(
        "UPDATE session SET append_epoch = ?2, append_batch = ?3, append_first = ?4, append_ts = ?5
         WHERE num = ?1",
    )?
    .execute((source.session, epoch, batch, appended.first.0, appended.ts.0))?;
    Ok(Some(appended))
}

/// Appends the last few frames of a turn and returns them as they are stored.
pub(super) fn append_and_show(
    tx: &Transaction<'_>,
    source: &Source,
    message: Option<MessageId>,
    bodies: Vec<FrameBody>,
) -> Result<Vec<Frame>, Fault> {
    if bodies.is_empty() {
        return Ok(vec![]);
    }
    let appended = append(tx, source, message, &encode(&bodies)?)?;
    let about = About { message_id: message, ..source.about };
    Ok(appended.frames(source.session_id, about, bodies).collect())
}

fn message_number(tx: &Transaction<'_>, id: MessageId) -> Result<i64, Fault> {
    tx.prepare_cached("SELECT num FROM message WHERE id = ?1")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()?
        .ok_or(Fault::NotFound { what: "message", id: id.to_string() })
}

/// A session's frames after `after`, in order.
pub(super) fn after(
    tx: &Transaction<'_>,
    session: SessionId,
    after: Seq,
    most: usize,
) -> Result<Vec<Frame>, Fault> {
    let id = session.to_string();
    let num: i64 = tx
        .prepare_cached("SELECT num FROM session WHERE id = ?1")?
        .query_row([&id], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Fault::NotFound { what: "session", id: id.clone() })?;
    let mut found = tx.prepare_cached(
        "SELECT f.seq, f.ts, c.id, m.id, t.id, f.body
         FROM frame f LEFT JOIN task t ON t.num = f.task LEFT JOIN chat c ON c.num = t.chat
           LEFT JOIN message m ON m.num = f.message
         WHERE f.session = ?1 AND f.seq > ?2 ORDER BY f.seq LIMIT ?3",
    )?;
    let rows = found.query_map((num, after.0, limit(most)), |row| {
        Ok(FrameRow {
            session: id.clone(),
            seq: row.get(0)?,
            ts: row.get(1)?,
            chat: maybe_text(row, 2)?,
            message: maybe_text(row, 3)?,
            task: maybe_text(row, 4)?,
            body: text(row, 5)?,
        })
    })?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// What a task has streamed since its session's `first` frame.
pub(super) fn of_turn(
    tx: &Transaction<'_>,
    session: i64,
    first: i64,
    task: i64,
) -> Result<Vec<FrameBody>, Fault> {
    let mut found = tx.prepare_cached(
        "SELECT seq, body FROM frame WHERE session = ?1 AND seq >= ?2 AND task = ?3 ORDER BY seq",
    )?;
    let rows = found.query_map([session, first, task], |row| Ok((row.get(0)?, text(row, 1)?)))?;
    let rows = rows.collect::<Result<Vec<(i64, String)>, _>>()?;
    Ok(rows.into_iter().filter_map(|(seq, body)| or_left_out(frame_body(seq, &body))).collect())
}
