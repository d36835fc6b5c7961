//! Sessions, read.

use dispatch_core::{
    ids::SessionId,
    ports::{SessionFilter, SessionView},
};
use tokio_postgres::Row;

use super::{
    db::{Db, Tx},
    locks::LOCK_SESSION,
    tasks::Clauses,
};
use crate::{
    admission::check_reopening,
    fault::Fault,
    rows::{SessionRow, or_left_out},
};

const SESSION: &str = "SELECT s.num, s.id, p.id, s.title, s.model, s.open,
  ARRAY(SELECT c.id FROM chat c WHERE c.session = s.num ORDER BY c.num),
  (SELECT count(*) FROM task t WHERE t.session = s.num AND t.state = 'queued')
    + (SELECT count(*) FROM task t WHERE t.session = s.num AND t.state = 'ready'),
  (SELECT t.id FROM task t WHERE t.session = s.num AND t.state = 'running'), s.created_at
FROM session s JOIN project p ON p.num = s.project";

fn session_row(row: &Row) -> Result<SessionRow, Fault> {
    Ok(SessionRow {
        num: row.try_get(0)?,
        id: row.try_get(1)?,
        project: row.try_get(2)?,
        title: row.try_get(3)?,
        model: row.try_get(4)?,
        open: row.try_get(5)?,
        chats: row.try_get(6)?,
        waiting: row.try_get(7)?,
        running: row.try_get(8)?,
        created_at: row.try_get(9)?,
    })
}

fn found(rows: Vec<Row>, id: SessionId) -> Result<SessionView, Fault> {
    let row = rows.first().ok_or(Fault::NotFound { what: "session", id: id.to_string() })?;
    Ok(session_row(row)?.read()?)
}

pub(super) async fn session(db: &Db, id: SessionId) -> Result<SessionView, Fault> {
    found(db.query(&format!("{SESSION} WHERE s.id = $1"), &[&id.to_string()]).await?, id)
}

/// The same within a transaction.
pub(super) async fn session_in(tx: &mut Tx, id: SessionId) -> Result<SessionView, Fault> {
    found(tx.query(&format!("{SESSION} WHERE s.id = $1"), &[&id.to_string()]).await?, id)
}

/// Opens a closed session again (SPEC R4).
pub(super) async fn reopen(tx: &mut Tx, id: SessionId) -> Result<SessionView, Fault> {
    tx.query(LOCK_SESSION, &[&id.to_string()]).await?;
    let found = session_in(tx, id).await?;
    check_reopening(&found)?;
    tx.query("UPDATE session SET open = true WHERE id = $1", &[&id.to_string()]).await?;
    Ok(SessionView { open: true, ..found })
}

pub(super) async fn sessions(db: &Db, filter: &SessionFilter) -> Result<Vec<SessionView>, Fault> {
    let mut clauses = Clauses::default();
    clauses
        .and("s.project = (SELECT num FROM project WHERE id = $)", filter.project.map(|id| id.to_string()));
    clauses.and("s.open = $", filter.open);
    let rows = clauses.query(db, SESSION, "s.num", filter.limit).await?;
    let rows: Vec<_> = rows.iter().map(session_row).collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}
