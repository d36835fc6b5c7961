//! The queue: only the head of a session is ever claimable.

use dispatch_core::{ids::TaskId, ports::WaitsFor};
use rusqlite::{OptionalExtension, Transaction};

use super::{lookup::text, writer::Write};
use crate::{
    fault::{BadRow, Fault},
    rows::Stage,
};

// Without the hints the planner may walk the whole table, past everything that ever ran.
pub(super) const PROMOTE: &str = "UPDATE task SET state = 'ready'
WHERE num = (SELECT num FROM task INDEXED BY task_queued
             WHERE session = ?1 AND state = 'queued' ORDER BY num LIMIT 1)
  AND NOT EXISTS (SELECT 1 FROM task INDEXED BY task_one
                  WHERE session = ?1 AND state IN ('ready', 'running'))";

/// Makes the session's oldest waiting task claimable, unless one of its tasks is claimable or running.
pub(super) fn promote(tx: &Write<'_>, session: i64) -> rusqlite::Result<()> {
    if tx.prepare_cached(PROMOTE)?.execute([session])? > 0 {
        tx.ring();
    }
    Ok(())
}

/// What a task waits for.
pub(super) fn waits_for(tx: &Transaction<'_>, id: TaskId) -> Result<WaitsFor, Fault> {
    let found = tx
        .prepare_cached("SELECT num, session, state, attended_by IS NOT NULL FROM task WHERE id = ?1")?
        .query_row([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?, text(row, 2)?, row.get(3)?)))
        .optional()?;
    let (num, session, stage, attended): (i64, i64, String, bool) =
        found.ok_or(Fault::NotFound { what: "task", id: id.to_string() })?;
    let bad = |column, why: String| BadRow { table: "task", row: num, column, why };
    match stage.parse().map_err(|why: dispatch_core::task::UnknownWord| bad("state", why.to_string()))? {
        Stage::Running | Stage::Ended(_) => return Ok(WaitsFor::Nothing),
        Stage::Ready => {}
        Stage::Queued => {
            let head: Option<String> = tx
                .prepare_cached(
                    "SELECT id FROM task INDEXED BY task_one
                     WHERE session = ?1 AND state IN ('ready', 'running')",
                )?
                .query_row([session], |row| text(row, 0))
                .optional()?;
            let queued: i64 = tx
                .prepare_cached(
                    "SELECT count(*) FROM task INDEXED BY task_queued
                     WHERE session = ?1 AND state = 'queued' AND num < ?2",
                )?
                .query_row([session, num], |row| row.get(0))?;
            if let Some(head) = head {
                let head = head.parse().map_err(|e: dispatch_core::ids::BadId| bad("id", e.to_string()))?;
                return Ok(WaitsFor::Behind { head, ahead: queued.unsigned_abs() + 1 });
            }
        }
    }
    Ok(if attended { WaitsFor::ItsProcess } else { WaitsFor::Slot })
}
