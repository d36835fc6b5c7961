//! Projects.

use std::os::unix::ffi::OsStrExt;

use dispatch_core::{ids::ProjectId, ports::NewProject, task::Project};
use rusqlite::{OptionalExtension, Row, Transaction};

use super::lookup::text;
use crate::{
    fault::Fault,
    fresh::{now, random},
    rows::{ProjectRow, or_left_out},
};

fn project_row(row: &Row<'_>) -> rusqlite::Result<ProjectRow> {
    Ok(ProjectRow { num: row.get(0)?, id: text(row, 1)?, name: text(row, 2)?, path: row.get(3)? })
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
