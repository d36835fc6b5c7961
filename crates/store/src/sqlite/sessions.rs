//! Sessions, as they stand and as they are closed.

use dispatch_core::{
    ids::SessionId,
    ports::{SessionFilter, SessionView},
};
use rusqlite::{OptionalExtension, Row, Transaction, types::Value};

use super::{
    lookup::{limit, maybe_text, number, text},
    recover,
    writer::Write,
};
use crate::{
    admission::check_reopening,
    fault::Fault,
    rows::{SessionRow, or_left_out},
};

const SESSION: &str = "SELECT s.num, s.id, p.id, s.title, s.model, s.open, s.created_at,
  (SELECT count(*) FROM task INDEXED BY task_queued WHERE session = s.num AND state = 'queued')
  + (SELECT count(*) FROM task INDEXED BY task_one
     WHERE session = s.num AND state IN ('ready', 'running') AND state = 'ready'),
  (SELECT id FROM task INDEXED BY task_one
   WHERE session = s.num AND state IN ('ready', 'running') AND state = 'running')
FROM session s JOIN project p ON p.num = s.project";

/// All but the chats.
fn session_row(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        num: row.get(0)?,
        id: text(row, 1)?,
        project: text(row, 2)?,
        title: text(row, 3)?,
        model: maybe_text(row, 4)?,
        open: row.get(5)?,
        created_at: row.get(6)?,
        waiting: row.get(7)?,
        running: maybe_text(row, 8)?,
        chats: vec![],
    })
}

fn with_chats(tx: &Transaction<'_>, row: SessionRow) -> rusqlite::Result<SessionRow> {
    let mut chats = tx.prepare_cached("SELECT id FROM chat WHERE session = ?1 ORDER BY num")?;
    let chats = chats.query_map([row.num], |chat| text(chat, 0))?.collect::<Result<_, _>>()?;
    Ok(SessionRow { chats, ..row })
}

pub(super) fn session(tx: &Transaction<'_>, id: SessionId) -> Result<SessionView, Fault> {
    let found = tx
        .prepare_cached(&format!("{SESSION} WHERE s.id = ?1"))?
        .query_row([id.to_string()], session_row)
        .optional()?;
    let row = found.ok_or(Fault::NotFound { what: "session", id: id.to_string() })?;
    Ok(with_chats(tx, row)?.read()?)
}

pub(super) fn sessions(tx: &Transaction<'_>, filter: &SessionFilter) -> Result<Vec<SessionView>, Fault> {
    let mut sql = format!("{SESSION} WHERE true");
    let mut values: Vec<Value> = Vec::new();
    if let Some(project) = filter.project {
        sql.push_str(" AND s.project = (SELECT num FROM project WHERE id = ?)");
        values.push(project.to_string().into());
    }
    if let Some(open) = filter.open {
        sql.push_str(" AND s.open = ?");
        values.push(i64::from(open).into());
    }
    sql.push_str(" ORDER BY s.num DESC LIMIT ?");
    values.push(limit(filter.limit));
    let mut found = tx.prepare_cached(&sql)?;
    let rows = found.query_map(rusqlite::params_from_iter(values), session_row)?;
    let mut sessions = Vec::new();
    for row in rows {
        sessions.extend(or_left_out(with_chats(tx, row?)?.read()));
    }
    Ok(sessions)
}

/// Closes a session (SPEC R4).
pub(super) fn close(tx: &Write<'_>, id: SessionId) -> Result<SessionView, Fault> {
    let num = number(tx, "session", &id.to_string())?;
    let closed = tx.prepare_cached("UPDATE session SET open = 0 WHERE num = ?1 AND open")?.execute([num])?;
    if closed > 0 {
        // Nodes may keep agents for its chats.
        tx.ring();
        // The newest first: so none becomes claimable on the way.
        let mut left = tx.prepare_cached(
            "SELECT num FROM task INDEXED BY task_queued WHERE session = ?1 AND state = 'queued'
             UNION ALL
             SELECT num FROM task INDEXED BY task_one WHERE session = ?1 AND state IN ('ready', 'running')
             ORDER BY num DESC",
        )?;
        let left = left.query_map([num], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        for task in left {
            recover::stop(tx, task)?;
        }
    }
    session(tx, id)
}

/// Opens a closed session again (SPEC R4).
pub(super) fn reopen(tx: &Transaction<'_>, id: SessionId) -> Result<SessionView, Fault> {
    let found = session(tx, id)?;
    check_reopening(&found)?;
    tx.prepare_cached("UPDATE session SET open = 1 WHERE id = ?1")?.execute([id.to_string()])?;
    Ok(SessionView { open: true, ..found })
}
