//! Projects and tasks, read.

use std::{os::unix::ffi::OsStrExt, path::Path, sync::LazyLock};

use dispatch_core::{
    ids::{ProjectId, TaskId},
    ports::{NewProject, TaskFilter},
    task::{Project, Task},
};
use postgres_types::ToSql;
use tokio_postgres::Row;

use super::{
    db::{Db, Tx, made_meanwhile},
    text::shown,
};
use crate::{
    fault::{BadRow, Fault},
    fresh::random,
    prefix::Prefix,
    rows::{ProjectRow, Stage, TaskRow, or_left_out},
};

/// A task's columns, in the order of [`task_row`].
pub(super) const COLUMNS: &str = "t.num, t.id, p.id, s.id, c.id, t.from_chat, um.id, i.input, i.options,
  i.permissions, t.state, t.reason, t.stopped IS NOT NULL, t.attended_by IS NOT NULL, t.route, t.attempt,
  t.epoch, am.id, r.summary, r.cost, r.currency, t.created_at, t.started_at, t.finished_at";

/// Where [`COLUMNS`] are beside `t`, the task: what always is there, and what may be missing.
pub(super) const PLACE: &str =
    "JOIN project p ON p.num = t.project JOIN session s ON s.num = t.session JOIN chat c ON c.num = t.chat";
pub(super) const DETAILS: &str = "LEFT JOIN task_input i ON i.task = t.num
  LEFT JOIN task_result r ON r.task = t.num
  LEFT JOIN message um ON um.task = t.num AND um.role = 'user'
  LEFT JOIN message am ON am.num = t.assistant_message";

static TASK: LazyLock<String> = LazyLock::new(|| format!("SELECT {COLUMNS} FROM task t {PLACE} {DETAILS}"));
static TASK_BY_ID: LazyLock<String> = LazyLock::new(|| format!("{} WHERE t.id = $1", *TASK));
static TASK_BY_NUM: LazyLock<String> = LazyLock::new(|| format!("{} WHERE t.num = $1", *TASK));

pub(super) fn task_row(row: &Row) -> Result<TaskRow, Fault> {
    let input: Option<Vec<u8>> = row.try_get(7)?;
    Ok(TaskRow {
        num: row.try_get(0)?,
        id: row.try_get(1)?,
        project: row.try_get(2)?,
        session: row.try_get(3)?,
        chat: row.try_get(4)?,
        from_chat: row.try_get(5)?,
        user_message: row.try_get(6)?,
        // What is not UTF-8 counts as missing.
        input: input.and_then(|bytes| String::from_utf8(bytes).ok()),
        options: row.try_get(8)?,
        permissions: row.try_get(9)?,
        stage: row.try_get(10)?,
        reason: row.try_get(11)?,
        stopped: row.try_get(12)?,
        attended: row.try_get(13)?,
        route: row.try_get(14)?,
        attempt: row.try_get::<_, i32>(15)?.unsigned_abs(),
        epoch: row.try_get(16)?,
        assistant_message: row.try_get(17)?,
        summary: row.try_get(18)?,
        cost: row.try_get(19)?,
        currency: row.try_get(20)?,
        created_at: row.try_get(21)?,
        started_at: row.try_get(22)?,
        finished_at: row.try_get(23)?,
    })
}

fn found(rows: Vec<Row>, id: TaskId) -> Result<Task, Fault> {
    let row = rows.first().ok_or(Fault::NotFound { what: "task", id: id.to_string() })?;
    Ok(task_row(row)?.read()?)
}

pub(super) async fn task(db: &Db, id: TaskId) -> Result<Task, Fault> {
    found(db.query(&TASK_BY_ID, &[&id.to_string()]).await?, id)
}

/// The same within a transaction.
pub(super) async fn task_in(tx: &mut Tx, id: TaskId) -> Result<Task, Fault> {
    found(tx.query(&TASK_BY_ID, &[&id.to_string()]).await?, id)
}

/// A task by its row; the inner result says what is wrong with the row.
pub(super) async fn task_at(tx: &mut Tx, num: i64) -> Result<Result<Task, BadRow>, Fault> {
    let row = tx.find(&TASK_BY_NUM, &[&num]).await?.ok_or(Fault::Misuse("the task is gone"))?;
    Ok(task_row(&row)?.read())
}

pub(super) async fn tasks(db: &Db, filter: &TaskFilter) -> Result<Vec<Task>, Fault> {
    let mut clauses = Clauses::default();
    clauses
        .and("t.project = (SELECT num FROM project WHERE id = $)", filter.project.map(|id| id.to_string()));
    clauses
        .and("t.session = (SELECT num FROM session WHERE id = $)", filter.session.map(|id| id.to_string()));
    clauses.and("t.state = ANY($)", filter.state.map(Stage::of));
    let rows = clauses.query(db, &TASK, "t.num", filter.limit).await?;
    let rows: Vec<_> = rows.iter().map(task_row).collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// Conditions of a listing, and their values.
#[derive(Default)]
pub(super) struct Clauses {
    sql: String,
    values: Vec<Box<dyn ToSql + Send + Sync>>,
}

impl Clauses {
    /// One more condition, where there is a value for its `$`.
    pub fn and<T: ToSql + Send + Sync + 'static>(&mut self, clause: &str, value: Option<T>) {
        if let Some(value) = value {
            self.values.push(Box::new(value));
            let place = format!("${}", self.values.len());
            self.sql += if self.values.len() == 1 { " WHERE " } else { " AND " };
            self.sql += &clause.replacen('$', &place, 1);
        }
    }

    /// The rows that meet them, newest first.
    pub async fn query(mut self, db: &Db, select: &str, num: &str, limit: usize) -> Result<Vec<Row>, Fault> {
        self.values.push(Box::new(at_most(limit)));
        let sql = format!("{select}{} ORDER BY {num} DESC LIMIT ${}", self.sql, self.values.len());
        let values: Vec<_> = self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
        db.query(&sql, &values).await
    }
}

/// A limit as the server wants it: NULL is none.
pub(super) fn at_most(limit: usize) -> Option<i64> {
    (limit > 0).then(|| i64::try_from(limit).unwrap_or(i64::MAX))
}

/// The one id in `table` that begins with `prefix`.
pub(super) async fn id_by_prefix<T: std::str::FromStr>(
    db: &Db,
    what: &'static str,
    prefix: &str,
) -> Result<T, Fault> {
    let prefix = Prefix::new(what, prefix)?;
    let sql = format!("SELECT id FROM {what} WHERE id >= $1 AND id < $1 || 'g' ORDER BY id LIMIT 2");
    let rows = db.query(&sql, &[&prefix.digits()]).await?;
    let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<&str>, _>>()?;
    prefix.one_of(&ids)
}

fn project_row(row: &Row) -> Result<ProjectRow, Fault> {
    Ok(ProjectRow { num: row.try_get(0)?, id: row.try_get(1)?, name: row.try_get(2)?, path: row.try_get(3)? })
}

pub(super) async fn project(db: &Db, id: ProjectId) -> Result<Project, Fault> {
    let rows = db.query("SELECT num, id, name, path FROM project WHERE id = $1", &[&id.to_string()]).await?;
    let row = rows.first().ok_or(Fault::NotFound { what: "project", id: id.to_string() })?;
    Ok(project_row(row)?.read()?)
}

pub(super) async fn projects(db: &Db) -> Result<Vec<Project>, Fault> {
    let rows = db.query("SELECT num, id, name, path FROM project ORDER BY name, num", &[]).await?;
    let rows: Vec<_> = rows.iter().map(project_row).collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

pub(super) async fn project_at(db: &Db, path: &Path) -> Result<Option<Project>, Fault> {
    const AT: &str = "SELECT num, id, name, path FROM project WHERE sha256(path) = sha256($1) AND path = $1";
    let rows = db.query(AT, &[&path.as_os_str().as_bytes()]).await?;
    Ok(rows.first().map(project_row).transpose()?.map(ProjectRow::read).transpose()?)
}

pub(super) async fn ensure_project(db: &Db, new: &NewProject) -> Result<Project, Fault> {
    const NAMED: &str = "SELECT num, id, name, path FROM project
      WHERE path IS NULL AND md5(name) = md5($1) AND name = $1";
    loop {
        let known = match &new.path {
            Some(path) => project_at(db, path).await?,
            None => {
                let rows = db.query(NAMED, &[&shown(&new.name)]).await?;
                rows.first().map(project_row).transpose()?.map(ProjectRow::read).transpose()?
            }
        };
        if let Some(project) = known {
            return Ok(project);
        }
        let id = ProjectId::from_random(random()?);
        let path = new.path.as_ref().map(|path| path.as_os_str().as_bytes());
        let made = db
            .query(
                "INSERT INTO project (id, name, path, created_at) VALUES ($1, $2, $3, now_ms())",
                &[&id.to_string(), &shown(&new.name), &path],
            )
            .await;
        match made {
            Err(fault) if made_meanwhile(&fault) => {}
            made => {
                made?;
                return Ok(Project { id, name: shown(&new.name).into_owned(), path: new.path.clone() });
            }
        }
    }
}
