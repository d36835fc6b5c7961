//! The queue: only the head of a session is ever claimable, so a claim's cost does not depend on how many
//! tasks wait behind others.

use std::path::PathBuf;

use dispatch_core::{
    ids::{Epoch, NodeId, TaskId},
    task::Claim,
};
use rusqlite::{OptionalExtension, Transaction};

use super::{node, recover, tasks};
use crate::{fault::Fault, fresh::now, rows::path_of};

// Without the hints the planner may walk the whole table, past everything that ever ran.
const OLDEST: &str = "SELECT num FROM task INDEXED BY task_ready WHERE state = 'ready' ORDER BY num LIMIT 1";
const PROMOTE: &str = "UPDATE task SET state = 'ready'
WHERE num = (SELECT num FROM task INDEXED BY task_queued
             WHERE session = ?1 AND state = 'queued' ORDER BY num LIMIT 1)
  AND NOT EXISTS (SELECT 1 FROM task INDEXED BY task_one
                  WHERE session = ?1 AND state IN ('ready', 'running'))";

/// Makes the session's oldest waiting task claimable, unless one of its tasks is claimable or running.
pub(super) fn promote(tx: &Transaction<'_>, session: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(PROMOTE)?.execute([session])?;
    Ok(())
}

/// Claims up to `free` of the oldest claimable tasks, or just `only`.
pub(super) fn claim(
    tx: &Transaction<'_>,
    node: NodeId,
    free: usize,
    only: Option<TaskId>,
) -> Result<Vec<Claim>, Fault> {
    let Some(node) = node::number(tx, node)? else { return Ok(vec![]) };
    let mut claims = Vec::new();
    while claims.len() < free {
        let Some(task) = next(tx, only)? else { break };
        match tasks::task_at(tx, task)? {
            Ok(_) => claims.push(hold(tx, task, node)?),
            Err(bad) => recover::set_aside(tx, task, &bad)?,
        }
    }
    Ok(claims)
}

fn next(tx: &Transaction<'_>, only: Option<TaskId>) -> rusqlite::Result<Option<i64>> {
    match only {
        Some(id) => tx
            .prepare_cached("SELECT num FROM task WHERE id = ?1 AND state = 'ready'")?
            .query_row([id.to_string()], |row| row.get(0)),
        None => tx.prepare_cached(OLDEST)?.query_row([], |row| row.get(0)),
    }
    .optional()
}

fn hold(tx: &Transaction<'_>, task: i64, node: i64) -> Result<Claim, Fault> {
    let epoch = tx
        .prepare_cached("UPDATE epoch SET last = last + 1 RETURNING last")?
        .query_row([], |row| row.get(0))?;
    tx.prepare_cached(
        "UPDATE task SET state = 'running', node = ?2, epoch = ?3, attempt = attempt + 1, prompt_sent = 0,
           started_at = ?4, first_seq = (SELECT last_seq + 1 FROM session WHERE num = task.session)
         WHERE num = ?1",
    )?
    .execute((task, node, epoch, now().0))?;
    let path: Option<Vec<u8>> = tx
        .prepare_cached("SELECT p.path FROM task t JOIN project p ON p.num = t.project WHERE t.num = ?1")?
        .query_row([task], |row| row.get(0))?;
    let project_path: Option<PathBuf> = path.map(path_of);
    Ok(Claim { task: tasks::task_at(tx, task)??, epoch: Epoch(epoch), project_path })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::sqlite::open::migrate;

    fn empty() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, std::path::Path::new(":memory:")).unwrap();
        connection
    }

    #[test]
    fn a_claim_and_a_promotion_read_one_entry_of_an_index() {
        for (sql, index) in [(OLDEST, "task_ready"), (PROMOTE, "task_queued (session=?)")] {
            let connection = empty();
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nothing = vec![rusqlite::types::Null; plan.parameter_count()];
            let lines = plan
                .query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3))
                .unwrap()
                .collect::<Result<Vec<_>, _>>()
                .unwrap()
                .join("\n");
            assert!(lines.contains(index), "{lines}");
            assert!(!lines.contains("TEMP B-TREE") && !lines.contains("SCAN task\n"), "{lines}");
        }
    }

    #[test]
    fn the_database_itself_refuses_a_second_live_head_of_a_session() {
        let connection = empty();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = off;
                 INSERT INTO task (id, project, session, chat, from_chat, state, created_at)
                 VALUES ('a', 1, 1, 1, 0, 'running', 0), ('b', 1, 1, 1, 0, 'queued', 0);",
            )
            .unwrap();
        for state in ["ready", "running"] {
            let refused =
                connection.execute("UPDATE task SET state = ?1 WHERE id = 'b'", [state]).unwrap_err();
            assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation));
        }
    }
}
