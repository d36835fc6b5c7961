//! Rows that cannot be understood: a damaged file, or text that no build of ours wrote (SAFETY A39).

use dispatch_core::{
    conversation::{MessageState, Role},
    ids::MessageId,
    routing::Route,
    task::{PermissionPolicy, TurnOptions},
};
use rusqlite::{OptionalExtension, Transaction};

use super::{
    lookup::{maybe_text, text},
    tasks,
};
use crate::{
    fault::Fault,
    fresh::{now, random},
};

/// Tasks in a state that nobody knows.
pub(super) fn unknown(tx: &Transaction<'_>) -> rusqlite::Result<Vec<i64>> {
    let mut unknown = tx.prepare_cached(
        "SELECT num FROM task INDEXED BY task_unknown WHERE state NOT IN
           ('queued', 'ready', 'running', 'completed', 'failed', 'cancelled', 'interrupted')
         ORDER BY num",
    )?;
    unknown.query_map([], |row| row.get(0))?.collect()
}

/// Puts defaults in the place of what cannot be read of a task that has ended, so that it is an error only
/// once: what was wrong is in its summary.
pub(super) fn make_readable(tx: &Transaction<'_>, task: i64) -> Result<(), Fault> {
    if tasks::task_at(tx, task)?.is_ok() {
        return Ok(());
    }
    mend_input(tx, task)?;
    mend_route(tx, task)?;
    mend_messages(tx, task)?;
    if let Err(bad) = tasks::task_at(tx, task)? {
        tracing::warn!(task, "it still cannot be read: {bad}");
    }
    Ok(())
}

fn mend_input(tx: &Transaction<'_>, task: i64) -> Result<(), Fault> {
    let found = tx
        .prepare_cached("SELECT options, permissions FROM task_input WHERE task = ?1")?
        .query_row([task], |row| Ok((text(row, 0)?, text(row, 1)?)))
        .optional()?;
    let (options, permissions) = found.unzip();
    let options = options.filter(|json| serde_json::from_str::<TurnOptions>(json).is_ok());
    let permissions = permissions.filter(|word| word.parse::<PermissionPolicy>().is_ok());
    tx.prepare_cached(
        "INSERT INTO task_input (task, input, options, permissions) VALUES (?1, '', ?2, ?3)
         ON CONFLICT (task) DO UPDATE SET options = excluded.options, permissions = excluded.permissions",
    )?
    .execute((
        task,
        options.unwrap_or_else(|| "{}".to_owned()),
        permissions.unwrap_or_else(|| PermissionPolicy::Ask.to_string()),
    ))?;
    Ok(())
}

fn mend_route(tx: &Transaction<'_>, task: i64) -> Result<(), Fault> {
    let route = tx
        .prepare_cached("SELECT route FROM task WHERE num = ?1")?
        .query_row([task], |row| maybe_text(row, 0))?;
    if route.is_some_and(|word| word.parse::<Route>().is_err()) {
        tx.prepare_cached("UPDATE task SET route = NULL WHERE num = ?1")?.execute([task])?;
    }
    Ok(())
}

fn mend_messages(tx: &Transaction<'_>, task: i64) -> Result<(), Fault> {
    let (user, assistant) = tx
        .prepare_cached(
            "SELECT u.id, a.id FROM task t LEFT JOIN message u ON u.num = t.user_message
               LEFT JOIN message a ON a.num = t.assistant_message WHERE t.num = ?1",
        )?
        .query_row([task], |row| Ok((maybe_text(row, 0)?, maybe_text(row, 1)?)))?;
    let is_id = |id: String| id.parse::<MessageId>().is_ok();
    if !user.is_some_and(is_id) {
        add_user_message(tx, task)?;
    }
    if !assistant.is_some_and(is_id) {
        tx.prepare_cached("UPDATE task SET assistant_message = NULL WHERE num = ?1")?.execute([task])?;
    }
    Ok(())
}

/// Records the message that holds a task's input.
pub(super) fn add_user_message(tx: &Transaction<'_>, task: i64) -> Result<(), Fault> {
    let id = MessageId::from_random(random()?);
    tx.prepare_cached(
        "INSERT INTO message (id, chat, task, role, state, created_at, finished_at)
         SELECT ?2, chat, num, ?3, ?4, ?5, ?5 FROM task WHERE num = ?1",
    )?
    .execute((task, id.to_string(), Role::User.as_str(), MessageState::Complete.as_str(), now().0))?;
    tx.prepare_cached("UPDATE task SET user_message = ?2 WHERE num = ?1")?
        .execute([task, tx.last_insert_rowid()])?;
    Ok(())
}
