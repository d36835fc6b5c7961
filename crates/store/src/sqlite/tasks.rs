//! Projects, sessions, chats and tasks.

use std::os::unix::ffi::OsStrExt;

use dispatch_core::{
    conversation::{MessageState, Role},
    ids::{ChatId, MessageId, ProjectId, SessionId, TaskId, Timestamp},
    ports::{NewProject, SessionView, TaskFilter},
    task::{NewTask, Project, Task, chat_title, session_title},
};
use rusqlite::{OptionalExtension, Row, Transaction, types::Value};

use super::queue;
use crate::{
    fault::{BadRow, Fault},
    fresh::{now, random},
    rows::{ProjectRow, Stage, TaskRow, or_left_out},
};

const TASK: &str =
    "SELECT t.num, t.id, p.id, s.id, c.id, t.from_chat, um.id, i.input, i.options, i.permissions,
  t.state, t.reason, t.stopped IS NOT NULL, t.route, t.attempt, t.epoch, am.id, r.summary, r.cost, r.currency,
  t.created_at, t.started_at, t.finished_at
FROM task t
  JOIN project p ON p.num = t.project JOIN session s ON s.num = t.session JOIN chat c ON c.num = t.chat
  LEFT JOIN task_input i ON i.task = t.num LEFT JOIN task_result r ON r.task = t.num
  LEFT JOIN message um ON um.num = t.user_message LEFT JOIN message am ON am.num = t.assistant_message";

fn task_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    Ok(TaskRow {
        num: row.get(0)?,
        id: row.get(1)?,
        project: row.get(2)?,
        session: row.get(3)?,
        chat: row.get(4)?,
        from_chat: row.get(5)?,
        user_message: row.get(6)?,
        input: row.get(7)?,
        options: row.get(8)?,
        permissions: row.get(9)?,
        stage: row.get(10)?,
        reason: row.get(11)?,
        stopped: row.get(12)?,
        route: row.get(13)?,
        attempt: row.get(14)?,
        epoch: row.get(15)?,
        assistant_message: row.get(16)?,
        summary: row.get(17)?,
        cost: row.get(18)?,
        currency: row.get(19)?,
        created_at: row.get(20)?,
        started_at: row.get(21)?,
        finished_at: row.get(22)?,
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

/// A limit as SQLite wants it: negative is none.
pub(super) fn limit(limit: usize) -> Value {
    match limit {
        0 => Value::Integer(-1),
        limit => Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)),
    }
}

/// The one id in `table` that begins with `prefix`.
pub(super) fn id_by_prefix<T: std::str::FromStr>(
    tx: &Transaction<'_>,
    what: &'static str,
    prefix: &str,
) -> Result<T, Fault> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.len() < 4 {
        return Err(Fault::Refused(format!("{what} `{prefix}`: give at least four digits of its id")));
    }
    let not_found = || Fault::NotFound { what, id: prefix.clone() };
    if prefix.len() > 32 || !prefix.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(not_found());
    }
    // `g` sorts behind every digit, so the index finds the range.
    let sql = format!("SELECT id FROM {what} WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id LIMIT 2");
    let mut found = tx.prepare_cached(&sql)?;
    let ids = found.query_map([&prefix], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    match ids.as_slice() {
        [] => Err(not_found()),
        [id] => id.parse().map_err(|_| not_found()),
        _ => Err(Fault::Ambiguous { what, id: prefix }),
    }
}

fn project_row(row: &Row<'_>) -> rusqlite::Result<ProjectRow> {
    Ok(ProjectRow { num: row.get(0)?, id: row.get(1)?, name: row.get(2)?, path: row.get(3)? })
}

pub(super) fn project(tx: &Transaction<'_>, id: ProjectId) -> Result<Project, Fault> {
    let found = tx
        .prepare_cached("SELECT num, id, name, path FROM project WHERE id = ?1")?
        .query_row([id.to_string()], project_row)
        .optional()?;
    Ok(found.ok_or(Fault::NotFound { what: "project", id: id.to_string() })?.read()?)
}

pub(super) fn projects(tx: &Transaction<'_>) -> Result<Vec<Project>, Fault> {
    let mut found = tx.prepare_cached("SELECT num, id, name, path FROM project ORDER BY name, num")?;
    let rows = found.query_map([], project_row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

pub(super) fn project_at(tx: &Transaction<'_>, path: &std::path::Path) -> Result<Option<Project>, Fault> {
    let found = tx
        .prepare_cached("SELECT num, id, name, path FROM project WHERE path = ?1")?
        .query_row([path.as_os_str().as_bytes()], project_row)
        .optional()?;
    Ok(found.map(ProjectRow::read).transpose()?)
}

pub(super) fn ensure_project(tx: &Transaction<'_>, new: &NewProject) -> Result<Project, Fault> {
    let known = match &new.path {
        Some(path) => project_at(tx, path)?,
        None => tx
            .prepare_cached("SELECT num, id, name, path FROM project WHERE path IS NULL AND name = ?1")?
            .query_row([&new.name], project_row)
            .optional()?
            .map(ProjectRow::read)
            .transpose()?,
    };
    if let Some(project) = known {
        return Ok(project);
    }
    let id = ProjectId::from_random(random()?);
    let path = new.path.as_ref().map(|path| path.as_os_str().as_bytes());
    tx.prepare_cached("INSERT INTO project (id, name, path, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute((id.to_string(), &new.name, path, now().0))?;
    Ok(Project { id, name: new.name.clone(), path: new.path.clone() })
}

pub(super) fn session(tx: &Transaction<'_>, id: SessionId) -> Result<SessionView, Fault> {
    let found = tx
        .prepare_cached(
            "SELECT s.num, p.id, s.title, s.open, s.created_at
             FROM session s JOIN project p ON p.num = s.project WHERE s.id = ?1",
        )?
        .query_row([id.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let (num, project, title, open, created_at): (i64, String, String, bool, i64) =
        found.ok_or(Fault::NotFound { what: "session", id: id.to_string() })?;
    let bad = |column, why: String| BadRow { table: "session", row: num, column, why };
    let mut chats = tx.prepare_cached("SELECT id FROM chat WHERE session = ?1 ORDER BY num")?;
    let chats = chats.query_map([num], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let read_chat =
        |chat: String| or_left_out(chat.parse::<ChatId>().map_err(|e| bad("chat", e.to_string())));
    Ok(SessionView {
        id,
        project: project.parse().map_err(|e: dispatch_core::ids::BadId| bad("project", e.to_string()))?,
        title,
        open,
        chats: chats.into_iter().filter_map(read_chat).collect(),
        created_at: Timestamp(created_at),
    })
}

/// Makes a task and what it lacks (SPEC T3).
pub(super) fn create(tx: &Transaction<'_>, new: &NewTask) -> Result<Task, Fault> {
    if new.input.trim().is_empty() {
        return Err(Fault::Refused("the task is empty: say what is to be done".into()));
    }
    let now = now();
    let place = Place::find_or_make(tx, new, now)?;
    let id = TaskId::from_random(random()?);
    tx.prepare_cached(
        "INSERT INTO task (id, project, session, chat, from_chat, state, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 'queued', ?6)",
    )?
    .execute((
        id.to_string(),
        place.project,
        place.session,
        place.chat,
        new.session.is_some() || new.chat.is_some(),
        now.0,
    ))?;
    let task = tx.last_insert_rowid();
    let options = serde_json::to_string(&new.options)?;
    tx.prepare_cached("INSERT INTO task_input (task, input, options, permissions) VALUES (?1, ?2, ?3, ?4)")?
        .execute((task, &new.input, options, new.permissions.as_str()))?;
    let message = MessageId::from_random(random()?);
    tx.prepare_cached(
        "INSERT INTO message (id, chat, task, role, state, created_at, finished_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?
    .execute((
        message.to_string(),
        place.chat,
        task,
        Role::User.as_str(),
        MessageState::Complete.as_str(),
        now.0,
    ))?;
    tx.prepare_cached("UPDATE task SET user_message = ?2 WHERE num = ?1")?
        .execute([task, tx.last_insert_rowid()])?;
    queue::promote(tx, place.session)?;
    Ok(task_at(tx, task)??)
}

/// Where a task belongs, by row.
struct Place {
    project: i64,
    session: i64,
    chat: i64,
}

impl Place {
    fn find_or_make(tx: &Transaction<'_>, new: &NewTask, now: Timestamp) -> Result<Self, Fault> {
        let project = number(tx, "project", &new.project.to_string())?;
        let chat = new.chat.map(|chat| OpenChat::find(tx, chat)).transpose()?;
        let session = match (new.session, &chat) {
            (Some(session), _) => Some(number(tx, "session", &session.to_string())?),
            (None, Some(chat)) => Some(chat.session),
            (None, None) => None,
        };
        let session = match session {
            Some(session) => check_session(tx, session, project, new)?,
            None => make_session(tx, project, new, now)?,
        };
        let chat = match chat {
            Some(chat) if chat.session != session => {
                return Err(Fault::Refused("the chat belongs to another session".into()));
            }
            Some(chat) if !chat.open => {
                return Err(Fault::Refused("the chat is closed: open another one".into()));
            }
            Some(chat) => chat.num,
            None => newest_open_chat(tx, session)?.map_or_else(|| make_chat(tx, session, new, now), Ok)?,
        };
        Ok(Self { project, session, chat })
    }
}

struct OpenChat {
    num: i64,
    session: i64,
    open: bool,
}

impl OpenChat {
    fn find(tx: &Transaction<'_>, id: ChatId) -> Result<Self, Fault> {
        tx.prepare_cached("SELECT num, session, open FROM chat WHERE id = ?1")?
            .query_row([id.to_string()], |row| {
                Ok(Self { num: row.get(0)?, session: row.get(1)?, open: row.get(2)? })
            })
            .optional()?
            .ok_or(Fault::NotFound { what: "chat", id: id.to_string() })
    }
}

fn number(tx: &Transaction<'_>, what: &'static str, id: &str) -> Result<i64, Fault> {
    tx.prepare_cached(&format!("SELECT num FROM {what} WHERE id = ?1"))?
        .query_row([id], |row| row.get(0))
        .optional()?
        .ok_or(Fault::NotFound { what, id: id.to_owned() })
}

fn check_session(tx: &Transaction<'_>, session: i64, project: i64, new: &NewTask) -> Result<i64, Fault> {
    let (of, open): (i64, bool) = tx
        .prepare_cached("SELECT project, open FROM session WHERE num = ?1")?
        .query_row([session], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if of != project {
        return Err(Fault::Refused(format!("the session belongs to another project than {}", new.project)));
    }
    if !open {
        return Err(Fault::Refused("the session is closed: reopen it first".into()));
    }
    Ok(session)
}

fn make_session(tx: &Transaction<'_>, project: i64, new: &NewTask, now: Timestamp) -> Result<i64, Fault> {
    let title = session_title(new.options.agent.as_ref(), &new.input);
    let model = new.options.model.as_ref().or(new.default_model.as_ref()).map(|model| model.as_str());
    tx.prepare_cached(
        "INSERT INTO session (id, project, title, model, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((SessionId::from_random(random()?).to_string(), project, title, model, now.0))?;
    Ok(tx.last_insert_rowid())
}

fn newest_open_chat(tx: &Transaction<'_>, session: i64) -> rusqlite::Result<Option<i64>> {
    tx.prepare_cached("SELECT num FROM chat WHERE session = ?1 AND open ORDER BY num DESC LIMIT 1")?
        .query_row([session], |row| row.get(0))
        .optional()
}

fn make_chat(tx: &Transaction<'_>, session: i64, new: &NewTask, now: Timestamp) -> Result<i64, Fault> {
    let title = chat_title(new.options.agent.as_ref());
    tx.prepare_cached("INSERT INTO chat (id, session, title, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute((ChatId::from_random(random()?).to_string(), session, title, now.0))?;
    Ok(tx.last_insert_rowid())
}
