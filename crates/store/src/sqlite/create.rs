//! Making tasks (SPEC T3).

use std::path::Path;

use dispatch_core::task::{NewTask, Task};

use super::{aside, claim::agent_column, node, place::Place, queue, tasks, writer::Write};
use crate::{
    admission::{check_input, without_its_node},
    fault::Fault,
    fresh::now,
};

/// Makes a task and what it lacks (SPEC T3), once for an id.
pub(super) fn create(tx: &Write<'_>, nodes: &Path, new: &NewTask) -> Result<Task, Fault> {
    let id = new.id.to_string();
    let made = tx.prepare_cached("SELECT 1 FROM task WHERE id = ?1")?.exists([&id])?;
    if made {
        return tasks::task(tx, new.id);
    }
    check_input(new)?;
    if let Some(node) = new.attended_by
        && !node::is_live(tx, nodes, node)?
    {
        return Err(without_its_node(node));
    }
    let now = now();
    let place = Place::find_or_make(tx, new, now)?;
    tx.prepare_cached(
        "INSERT INTO task (id, project, session, chat, from_chat, agent, attended_by, state, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued', ?8)",
    )?
    .execute((
        id,
        place.project,
        place.session,
        place.chat,
        new.session.is_some() || new.chat.is_some(),
        agent_column(new.options.agent.as_ref()),
        new.attended_by.map(|node| node.to_string()),
        now.0,
    ))?;
    let task = tx.last_insert_rowid();
    let options = serde_json::to_string(&new.options)?;
    tx.prepare_cached("INSERT INTO task_input (task, input, options, permissions) VALUES (?1, ?2, ?3, ?4)")?
        .execute((task, &new.input, options, new.permissions.as_str()))?;
    aside::add_user_message(tx, task)?;
    queue::promote(tx, place.session)?;
    Ok(tasks::task_at(tx, task)??)
}
