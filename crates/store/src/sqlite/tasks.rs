//! Tasks, read.

use dispatch_core::{ids::TaskId, ports::TaskFilter, task::Task};
use rusqlite::{OptionalExtension, Row, Transaction, types::Value};

use super::lookup::{limit, maybe_text, text};
use crate::{
    fault::{BadRow, Fault},
    rows::{Stage, TaskRow, or_left_out},
};

const TASK: &str =
    "SELECT t.num, t.id, p.id, s.id, c.id, t.from_chat, um.id, i.input, i.options, i.permissions,
  t.state, t.reason, t.stopped IS NOT NULL, t.attended_by IS NOT NULL, t.route, t.attempt, t.epoch, am.id, r.summary, r.cost, r.currency,
  t.created_at, t.started_at, t.finished_at
FROM task t
  JOIN project p ON p.num = t.project JOIN session s ON s.num = t.session JOIN chat c ON c.num = t.chat
  LEFT JOIN task_input i ON i.task = t.num LEFT JOIN task_result r ON r.task = t.num
  LEFT JOIN message um ON um.num = t.user_message LEFT JOIN message am ON am.num = t.assistant_message";

fn task_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    Ok(TaskRow {
        num: row.get(0)?,
        id: text(row, 1)?,
        project: text(row, 2)?,
        session: text(row, 3)?,
        chat: text(row, 4)?,
        from_chat: row.get(5)?,
        user_message: maybe_text(row, 6)?,
        input: maybe_text(row, 7)?,
        options: maybe_text(row, 8)?,
        permissions: maybe_text(row, 9)?,
        stage: text(row, 10)?,
        reason: maybe_text(row, 11)?,
        stopped: row.get(12)?,
        attended: row.get(13)?,
        route: maybe_text(row, 14)?,
        attempt: u32::try_from(row.get::<_, i64>(15)?).unwrap_or(u32::MAX),
        epoch: row.get(16)?,
        assistant_message: maybe_text(row, 17)?,
        summary: maybe_text(row, 18)?,
        cost: row.get(19)?,
        currency: maybe_text(row, 20)?,
        created_at: row.get(21)?,
        started_at: row.get(22)?,
        finished_at: row.get(23)?,
    })
}

pub(super) fn task(tx: &Transaction<'_>, id: TaskId) -> Result<Task, Fault> {
    let found = tx
        .prepare_cached(&format!("{TASK} WHERE t.id = ?1"))?
        .query_row([id.to_string()], task_row)
        .optional()?;
    Ok(found.ok_or(Fault::NotFound { what: "task", id: id.to_string() })?.read()?)
}

/// A task by its row; the inner result says what is wrong with the row.
pub(super) fn task_at(tx: &Transaction<'_>, num: i64) -> Result<Result<Task, BadRow>, Fault> {
    let row =
        tx.prepare_cached(&format!("{TASK} WHERE t.num = ?1"))?.query_row([num], task_row).optional()?;
    Ok(match row {
        Some(row) => row.read(),
        None => {
            let why = "its project, session or chat is missing".to_owned();
            Err(BadRow { table: "task", row: num, column: "session", why })
        }
    })
}

pub(super) fn tasks(tx: &Transaction<'_>, filter: &TaskFilter) -> Result<Vec<Task>, Fault> {
    let mut sql = format!("{TASK} WHERE true");
    let mut values: Vec<Value> = Vec::new();
    let mut and = |clause: &str, value: String| {
        sql.push_str(clause);
        values.push(value.into());
    };
    if let Some(project) = filter.project {
        and(" AND t.project = (SELECT num FROM project WHERE id = ?)", project.to_string());
    }
    if let Some(session) = filter.session {
        and(" AND t.session = (SELECT num FROM session WHERE id = ?)", session.to_string());
    }
    match filter.state.map(Stage::of) {
        Some([one]) => and(" AND t.state = ?", (*one).to_owned()),
        Some([first, rest @ ..]) => {
            and(" AND t.state IN (?", (*first).to_owned());
            rest.iter().for_each(|stage| and(", ?", (*stage).to_owned()));
            sql.push(')');
        }
        Some([]) | None => {}
    }
    sql.push_str(" ORDER BY t.num DESC LIMIT ?");
    values.push(limit(filter.limit));
    let mut found = tx.prepare_cached(&sql)?;
    let rows = found.query_map(rusqlite::params_from_iter(values), task_row)?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}
