//! Rows that cannot be understood: damaged, or text that no build of ours wrote (SAFETY A39).

use dispatch_core::{
    conversation::{MessageState, Role},
    ids::MessageId,
    routing::Route,
    task::{PermissionPolicy, TurnOptions},
};

use super::{db::Tx, tasks};
use crate::{fault::Fault, fresh::random};

/// Tasks in a state that nobody knows.
pub(super) const UNKNOWN: &str = "SELECT num FROM task WHERE state NOT IN
  ('queued', 'ready', 'running', 'completed', 'failed', 'cancelled', 'interrupted') ORDER BY num";

const INPUT: &str = "SELECT i.options, i.permissions, t.route, m.id FROM task t
  LEFT JOIN task_input i ON i.task = t.num LEFT JOIN message m ON m.task = t.num AND m.role = 'user'
WHERE t.num = $1";

const MEND_INPUT: &str = "INSERT INTO task_input (task, input, options, permissions) VALUES ($1, '', $2, $3)
ON CONFLICT (task) DO UPDATE SET options = excluded.options, permissions = excluded.permissions";

/// Puts defaults in the place of what cannot be read of a task that has ended, so that it is an error only
/// once: what was wrong is in its summary.
pub(super) async fn make_readable(tx: &mut Tx, task: i64) -> Result<(), Fault> {
    if tasks::task_at(tx, task).await?.is_ok() {
        return Ok(());
    }
    let row = tx.find(INPUT, &[&task]).await?.ok_or(Fault::Misuse("the task is gone"))?;
    let (options, permissions): (Option<&str>, Option<&str>) = (row.try_get(0)?, row.try_get(1)?);
    let (route, message): (Option<&str>, Option<&str>) = (row.try_get(2)?, row.try_get(3)?);
    let options = options.filter(|json| serde_json::from_str::<TurnOptions>(json).is_ok()).unwrap_or("{}");
    let permissions = permissions
        .filter(|word| word.parse::<PermissionPolicy>().is_ok())
        .unwrap_or(PermissionPolicy::Ask.as_str());
    let route = route.filter(|word| word.parse::<Route>().is_ok());
    tx.pipeline([
        (MEND_INPUT, &[&task, &options, &permissions]),
        ("UPDATE task SET route = $2 WHERE num = $1", &[&task, &route]),
    ])
    .await?;
    if message.is_none_or(|id| id.parse::<MessageId>().is_err()) {
        add_user_message(tx, task).await?;
    }
    if let Err(bad) = tasks::task_at(tx, task).await? {
        tracing::warn!(task, "it still cannot be read: {bad}");
    }
    Ok(())
}

/// Records the message that holds a task's input, in the place of one that has no usable id.
async fn add_user_message(tx: &mut Tx, task: i64) -> Result<(), Fault> {
    const ADD: &str = "INSERT INTO message (id, chat, task, role, state, created_at, finished_at)
      SELECT $2, chat, num, $3, $4, created_at, created_at FROM task WHERE num = $1
      ON CONFLICT (task) WHERE role = 'user' DO UPDATE SET id = excluded.id";
    let id = MessageId::from_random(random()?).to_string();
    tx.query(ADD, &[&task, &id, &Role::User.as_str(), &MessageState::Complete.as_str()]).await?;
    Ok(())
}
