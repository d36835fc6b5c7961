//! Permission requests that wait for a user.

use dispatch_core::{
    agent::Answer,
    ids::{TaskId, Timestamp},
    ports::{OpenPermission, PermissionAnswer},
};
use rusqlite::{OptionalExtension, Transaction};

use super::{
    lookup::{maybe_text, text},
    writer::Write,
};
use crate::{
    admission::{check_answer, user_answer},
    fault::Fault,
    noted::Noted,
    rows::{AnswerRow, PermissionRow, or_left_out},
};

/// Opens and closes what a running turn's frames, stored at `ts`, ask for and resolve.
pub(super) fn note(
    tx: &Transaction<'_>,
    (task, epoch): (i64, i64),
    ts: Timestamp,
    noted: &Noted,
) -> Result<(), Fault> {
    for id in &noted.resolved {
        tx.prepare_cached("DELETE FROM permission WHERE task = ?1 AND epoch = ?2 AND id = ?3")?
            .execute((task, epoch, id))?;
    }
    for asked in &noted.asked {
        // Of two with one id, the first stays: a user may be about to answer it.
        tx.prepare_cached(
            "INSERT INTO permission (task, epoch, id, request, asked_at, lapses_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5 + ?6) ON CONFLICT DO NOTHING",
        )?
        .execute((task, epoch, &asked.id, &asked.request, ts.0, asked.waits_ms))?;
    }
    Ok(())
}

/// Closes whatever a task's turn still asks, as the turn is over.
pub(super) fn close_all(tx: &Transaction<'_>, task: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM permission WHERE task = ?1")?.execute([task])?;
    Ok(())
}

/// What waits for an answer, oldest first.
pub(super) fn open(tx: &Transaction<'_>, task: Option<TaskId>) -> Result<Vec<OpenPermission>, Fault> {
    let mut open = tx.prepare_cached(
        "SELECT p.num, t.id, s.id, t.agent, p.request, p.asked_at, p.lapses_at, p.answer
         FROM permission p JOIN task t ON t.num = p.task JOIN session s ON s.num = t.session
         WHERE t.state = 'running' AND t.epoch = p.epoch AND (?1 IS NULL OR t.id = ?1) ORDER BY p.num",
    )?;
    let rows = open.query_map([task.map(|task| task.to_string())], |row| {
        Ok(PermissionRow {
            num: row.get(0)?,
            task: text(row, 1)?,
            session: text(row, 2)?,
            agent: text(row, 3)?,
            request: text(row, 4)?,
            asked_at: row.get(5)?,
            lapses_at: row.get(6)?,
            answer: maybe_text(row, 7)?,
        })
    })?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// Records a user's answer, which the turn is told until it has resolved the request.
pub(super) fn answer(tx: &Write<'_>, task: TaskId, id: &str, answer: Answer) -> Result<(), Fault> {
    let given = user_answer(answer)?;
    let stands: Option<String> = tx
        .prepare_cached(
            "UPDATE permission SET answer = coalesce(answer, ?3)
             WHERE id = ?2 AND (task, epoch) =
               (SELECT num, epoch FROM task WHERE id = ?1 AND state = 'running') RETURNING answer",
        )?
        .query_row((task.to_string(), id, given), |row| text(row, 0))
        .optional()?;
    check_answer(id, given, stands.as_deref())?;
    tx.ring();
    Ok(())
}

/// The answers that turns of a node have not heard yet.
pub(super) fn answers(tx: &Transaction<'_>, node: i64) -> Result<Vec<PermissionAnswer>, Fault> {
    let mut given = tx.prepare_cached(
        "SELECT p.num, t.id, p.id, p.answer
         FROM task t INDEXED BY task_running JOIN permission p ON p.task = t.num AND p.epoch = t.epoch
         WHERE t.state = 'running' AND t.node = ?1 AND p.answer IS NOT NULL ORDER BY p.num",
    )?;
    let rows = given.query_map([node], |row| {
        Ok(AnswerRow { num: row.get(0)?, task: text(row, 1)?, id: text(row, 2)?, answer: text(row, 3)? })
    })?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}
