//! Claims. Claimable tasks are found by their agent, so a claim's cost depends neither on how many tasks wait
//! behind others nor on how many wait for an agent without room.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use dispatch_core::{
    ids::{Epoch, NodeId, TaskId},
    ports::ClaimRequest,
    task::{Claim, Name},
};
use rusqlite::{OptionalExtension, Transaction};

use super::{lookup::text, node, recover, tasks, writer::Write};
use crate::{fault::Fault, fresh::now, rows::path_of};

// Without the hints the planner may walk the whole table, past everything that ever ran.
/// The oldest claimable task of each agent. Each step skips to the next agent in the index.
const HEADS: &str = "WITH RECURSIVE waiting(agent) AS (
  SELECT (SELECT agent FROM task INDEXED BY task_ready
          WHERE state = 'ready' AND attended_by IS NULL AND agent >= '' ORDER BY agent LIMIT 1)
  UNION ALL
  SELECT (SELECT agent FROM task INDEXED BY task_ready
          WHERE state = 'ready' AND attended_by IS NULL AND agent > waiting.agent ORDER BY agent LIMIT 1)
  FROM waiting WHERE waiting.agent IS NOT NULL)
SELECT agent, (SELECT num FROM task INDEXED BY task_ready
               WHERE state = 'ready' AND attended_by IS NULL AND agent = waiting.agent ORDER BY num LIMIT 1)
FROM waiting WHERE agent IS NOT NULL";
/// The oldest claimable task of one agent.
const HEAD: &str = "SELECT num FROM task INDEXED BY task_ready
WHERE state = 'ready' AND attended_by IS NULL AND agent = ?1 ORDER BY num LIMIT 1";

/// How the column says who is to do a task.
pub(super) fn agent_column(agent: Option<&Name>) -> &str {
    agent.map_or("", Name::as_str)
}

/// How much more a node can run.
struct Room {
    free: usize,
    limits: HashMap<String, usize>,
}

impl Room {
    fn new(request: &ClaimRequest) -> Self {
        let mut limits = HashMap::new();
        for (agent, limit) in &request.limits {
            let left = limits.entry(agent_column(agent.as_ref()).to_owned()).or_insert(usize::MAX);
            *left = (*left).min(*limit);
        }
        Self { free: request.free, limits }
    }

    fn is_there_for(&self, agent: &str) -> bool {
        self.free > 0 && self.limits.get(agent) != Some(&0)
    }

    fn take(&mut self, agent: &str) {
        self.free = self.free.saturating_sub(1);
        if let Some(left) = self.limits.get_mut(agent) {
            *left = left.saturating_sub(1);
        }
    }
}

/// A claimable task.
struct Head {
    agent: String,
    task: i64,
}

/// Claims what the request leaves room for: first what the node was given and never heard of.
pub(super) fn claim(tx: &Write<'_>, node: NodeId, request: &ClaimRequest) -> Result<Vec<Claim>, Fault> {
    let Some(number) = node::number(tx, node)? else { return Ok(vec![]) };
    let mut room = Room::new(request);
    let mut claims = Vec::new();
    for lost in unheard(tx, number, request)? {
        if room.free == 0 {
            break;
        }
        match tasks::task_at(tx, lost.task)? {
            Ok(_) => {
                claims.push(held(tx, lost.task)?);
                room.take(&lost.agent);
            }
            Err(bad) => recover::set_aside(tx, lost.task, &bad)?,
        }
    }
    let find = |tx: &Write<'_>| match request.only {
        Some(only) => this_one(tx, only, node),
        None => heads(tx),
    };
    let mut heads = find(tx)?;
    while let Some(at) = oldest(&heads, &room) {
        let Head { agent, task } = &heads[at];
        match tasks::task_at(tx, *task)? {
            Ok(_) => {
                claims.push(hold(tx, *task, number)?);
                room.take(agent);
                match request.only {
                    None => next_head(tx, &mut heads, at)?,
                    Some(_) => break,
                }
            }
            Err(bad) => {
                recover::set_aside(tx, *task, &bad)?;
                // The session's next task may be another agent's.
                heads = find(tx)?;
            }
        }
    }
    Ok(claims)
}

/// Tasks that the node holds and does not run: the answer to their claim was lost, so no prompt went out.
fn unheard(tx: &Transaction<'_>, node: i64, request: &ClaimRequest) -> rusqlite::Result<Vec<Head>> {
    let running: HashSet<String> = request.running.iter().map(TaskId::to_string).collect();
    let only = request.only.map(|only| only.to_string());
    let mut held = tx.prepare_cached(
        "SELECT num, agent, id FROM task INDEXED BY task_running
         WHERE state = 'running' AND node = ?1 AND NOT prompt_sent
           AND CASE WHEN ?2 IS NULL THEN attended_by IS NULL ELSE id = ?2 END ORDER BY num",
    )?;
    let rows = held.query_map((node, only), |row| {
        Ok((Head { task: row.get(0)?, agent: text(row, 1)? }, text(row, 2)?))
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter(|(_, id)| !running.contains(id)).map(|(head, _)| head).collect())
}

fn heads(tx: &Transaction<'_>) -> Result<Vec<Head>, Fault> {
    let mut heads = tx.prepare_cached(HEADS)?;
    let heads = heads.query_map([], |row| Ok(Head { agent: text(row, 0)?, task: row.get(1)? }))?;
    Ok(heads.collect::<Result<_, _>>()?)
}

fn this_one(tx: &Transaction<'_>, only: TaskId, node: NodeId) -> Result<Vec<Head>, Fault> {
    let mut found = tx.prepare_cached(
        "SELECT agent, num FROM task
         WHERE id = ?1 AND state = 'ready' AND coalesce(attended_by, ?2) = ?2",
    )?;
    let found = found.query_map([only.to_string(), node.to_string()], |row| {
        Ok(Head { agent: text(row, 0)?, task: row.get(1)? })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The oldest head that there is room for.
fn oldest(heads: &[Head], room: &Room) -> Option<usize> {
    let possible = heads.iter().enumerate().filter(|(_, head)| room.is_there_for(&head.agent));
    possible.min_by_key(|(_, head)| head.task).map(|(at, _)| at)
}

/// Puts the agent's next task in the place of the one that was taken.
fn next_head(tx: &Transaction<'_>, heads: &mut Vec<Head>, at: usize) -> rusqlite::Result<()> {
    let next = tx.prepare_cached(HEAD)?.query_row([&heads[at].agent], |row| row.get(0)).optional()?;
    match next {
        Some(task) => heads[at].task = task,
        None => drop(heads.swap_remove(at)),
    }
    Ok(())
}

fn hold(tx: &Transaction<'_>, task: i64, node: i64) -> Result<Claim, Fault> {
    let epoch: i64 = tx
        .prepare_cached("UPDATE epoch SET last = last + 1 RETURNING last")?
        .query_row([], |row| row.get(0))?;
    tx.prepare_cached(
        "UPDATE task SET state = 'running', node = ?2, epoch = ?3, attempt = attempt + 1, prompt_sent = 0,
           started_at = ?4, first_seq = (SELECT last_seq + 1 FROM session WHERE num = task.session),
           answered = NULL, answered_first = NULL, answered_last = NULL
         WHERE num = ?1",
    )?
    .execute((task, node, epoch, now().0))?;
    held(tx, task)
}

/// The claim of a running task.
fn held(tx: &Transaction<'_>, num: i64) -> Result<Claim, Fault> {
    let (path, epoch, resumed): (Option<Vec<u8>>, i64, bool) = tx
        .prepare_cached(
            "SELECT p.path, t.epoch, t.resumed FROM task t JOIN project p ON p.num = t.project
             WHERE t.num = ?1",
        )?
        .query_row([num], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let project_path: Option<PathBuf> = path.map(path_of);
    Ok(Claim { task: tasks::task_at(tx, num)??, epoch: Epoch(epoch), project_path, resumed })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::sqlite::{open::migrate, queue::PROMOTE};

    fn empty() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, std::path::Path::new(":memory:")).unwrap();
        connection
    }

    fn plan(sql: &str) -> String {
        let connection = empty();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nothing = vec![rusqlite::types::Null; plan.parameter_count()];
        let lines =
            plan.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3)).unwrap();
        lines.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    }

    #[test]
    fn a_claim_and_a_promotion_read_one_entry_of_an_index() {
        for (sql, index) in [(HEAD, "task_ready (agent=?)"), (PROMOTE, "task_queued (session=?)")] {
            let lines = plan(sql);
            assert!(lines.contains(index), "{lines}");
            assert!(!lines.contains("TEMP B-TREE") && !lines.contains("SCAN task"), "{lines}");
        }
    }

    #[test]
    fn the_heads_of_all_agents_are_found_by_skipping_through_an_index() {
        let lines = plan(HEADS);
        for wanted in ["task_ready (agent>?)", "task_ready (agent=?)"] {
            assert!(lines.contains(wanted), "{lines}");
        }
        assert!(!lines.contains("TEMP B-TREE") && !lines.contains("SCAN task"), "{lines}");
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
