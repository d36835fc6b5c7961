//! Messages, checkpoints and the agents' own conversation ids.

use dispatch_core::{
    change::{Checkpoint, CheckpointKind},
    conversation::{Message, MessageState, Role},
    ids::{ChatId, CheckpointId, Epoch, MessageId, TaskId},
    ports::{AgentConversation, Lineage, NewCheckpoint, WriteAnswer},
    task::{Name, TaskState, TurnKey},
};
use tokio_postgres::Row;

use super::{
    db::{Db, Tx},
    text::shown,
};
use crate::{
    end::EndedMessage,
    fault::Fault,
    fresh::random,
    rows::{CheckpointRow, ConversationRow, MessageRow, or_left_out},
};

fn message_row(row: &Row) -> Result<MessageRow, Fault> {
    let input: Option<Vec<u8>> = row.try_get(12)?;
    Ok(MessageRow {
        num: row.try_get(0)?,
        id: row.try_get(1)?,
        chat: row.try_get(2)?,
        task: row.try_get(3)?,
        role: row.try_get(4)?,
        state: row.try_get(5)?,
        model: row.try_get(6)?,
        content: row.try_get(7)?,
        content_truncated: row.try_get(8)?,
        reasoning: row.try_get(9)?,
        reasoning_truncated: row.try_get(10)?,
        parts: row.try_get(11)?,
        input: input.and_then(|bytes| String::from_utf8(bytes).ok()),
        usage: row.try_get(13)?,
        created_at: row.try_get(14)?,
        finished_at: row.try_get(15)?,
    })
}

const MESSAGE: &str = "SELECT m.num, m.id, c.id, t.id, m.role, m.state, m.model, m.content,
  m.content_truncated, m.reasoning, m.reasoning_truncated, p.parts,
  CASE m.role WHEN 'user' THEN i.input END, m.usage, m.created_at, m.finished_at
FROM message m JOIN chat c ON c.num = m.chat JOIN task t ON t.num = m.task
  LEFT JOIN message_parts p ON p.message = m.num LEFT JOIN task_input i ON i.task = m.task";

fn read_messages(rows: &[Row]) -> Result<Vec<Message>, Fault> {
    let rows: Vec<_> = rows.iter().map(message_row).collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// A chat's messages, oldest first.
pub(super) async fn messages(db: &Db, chat: ChatId) -> Result<Vec<Message>, Fault> {
    let id = chat.to_string();
    let rows = db.query("SELECT num FROM chat WHERE id = $1", &[&id]).await?;
    let num: i64 = rows.first().ok_or(Fault::NotFound { what: "chat", id })?.try_get(0)?;
    read_messages(&db.query(&format!("{MESSAGE} WHERE m.chat = $1 ORDER BY m.num"), &[&num]).await?)
}

/// What was said in a running turn's chat before its task, task by task: a task's request was recorded when it
/// began to wait, perhaps before the answer to the one ahead of it.
pub(super) async fn history(db: &Db, key: &TurnKey) -> Result<Vec<Message>, Fault> {
    let sql = format!(
        "{MESSAGE} JOIN task own ON own.chat = m.chat AND own.ord > t.ord
         WHERE own.id = $1 AND own.epoch = $2 AND own.state = 'running' AND m.state <> 'streaming'
         ORDER BY t.ord, m.num"
    );
    read_messages(&db.query(&sql, &[&key.task.to_string(), &key.epoch.0]).await?)
}

/// Begins a turn's assistant message, or finds the one that an earlier attempt left empty. The task's row is
/// held by a statement of its own, so that the next one sees the message that the last holder began.
pub(super) async fn begin_message(
    db: &Db,
    key: &TurnKey,
    fresh: MessageId,
    model: Option<&Name>,
) -> Result<(WriteAnswer, MessageId), Fault> {
    const HOLD: &str = "SELECT num FROM task WHERE id = $1 FOR NO KEY UPDATE";
    const BEGIN: &str = "WITH turn AS MATERIALIZED (
      SELECT num, chat, assistant_message FROM task WHERE id = $1 AND epoch = $2 AND state = 'running'),
    kept AS (
      SELECT m.id FROM message m JOIN turn ON turn.assistant_message = m.num WHERE m.state = $5),
    made AS (
      INSERT INTO message (id, chat, task, role, state, model, created_at)
      SELECT $3, chat, num, $4, $5, $6, now_ms() FROM turn WHERE NOT EXISTS (SELECT 1 FROM kept)
      RETURNING num, id),
    noted AS (UPDATE task t SET assistant_message = made.num FROM made, turn WHERE t.num = turn.num)
    SELECT id FROM kept UNION ALL SELECT id FROM made";
    let model = model.map(|model| shown(model.as_str()));
    let (role, state) = (Role::Assistant.as_str(), MessageState::Streaming.as_str());
    let task = key.task.to_string();
    let [_, rows] = db
        .begin()
        .await?
        .pipeline_and_commit([
            (HOLD, &[&task]),
            (BEGIN, &[&task, &key.epoch.0, &fresh.to_string(), &role, &state, &model]),
        ])
        .await?;
    match rows.first() {
        Some(row) => Ok((WriteAnswer::Done, row.try_get::<_, &str>(0)?.parse().unwrap_or(fresh))),
        None => Ok((WriteAnswer::Fenced, fresh)),
    }
}

/// Writes the end of a task's assistant message.
pub(super) async fn settle_message(tx: &mut Tx, task: i64, end: &EndedMessage) -> Result<(), Fault> {
    const SETTLE: &str = "WITH ended AS (
      UPDATE message SET state = $3, content = $4, content_truncated = $5, reasoning = $6,
        reasoning_truncated = $7, usage = $8, finished_at = now_ms()
      WHERE id = $1 AND task = $2 RETURNING num)
    INSERT INTO message_parts (message, parts) SELECT num, $9 FROM ended
    ON CONFLICT (message) DO UPDATE SET parts = excluded.parts RETURNING message";
    let id = end.id.to_string();
    let usage = serde_json::to_string(&end.usage)?;
    let (content, reasoning) = (shown(&end.content), shown(&end.reasoning));
    tx.find(
        SETTLE,
        &[
            &id,
            &task,
            &end.state.as_str(),
            &content,
            &end.content_truncated,
            &reasoning,
            &end.reasoning_truncated,
            &usage,
            &end.parts,
        ],
    )
    .await?
    .ok_or(Fault::NotFound { what: "message", id })?;
    Ok(())
}

/// Ends the empty message of an earlier attempt, when the last one ends before it takes it over.
pub(super) async fn close_empty_message(tx: &mut Tx, task: i64, end: TaskState) -> Result<(), Fault> {
    let state = match end {
        TaskState::Cancelled => MessageState::Cancelled,
        _ => MessageState::Failed,
    };
    tx.query(
        "UPDATE message SET state = $2, finished_at = now_ms()
         WHERE state = 'streaming' AND num = (SELECT assistant_message FROM task WHERE num = $1)",
        &[&task, &state.as_str()],
    )
    .await?;
    Ok(())
}

/// Which task a checkpoint is recorded for.
pub(super) enum Whose<'a> {
    /// The one that was claimed under this epoch, whether it still runs or not.
    Turn(&'a TurnKey),
    /// Any.
    Task(TaskId),
}

/// Records a checkpoint of a task, once; returns its id, or `None` when there is no such task.
pub(super) async fn add_checkpoint(
    db: &Db,
    whose: Whose<'_>,
    new: &NewCheckpoint,
) -> Result<Option<CheckpointId>, Fault> {
    const ADD: &str = "WITH whose AS MATERIALIZED (
      SELECT num, session FROM task WHERE id = $1 AND ($2::bigint IS NULL OR epoch = $2)),
    added AS (
      INSERT INTO checkpoint (id, task, session, message, kind, worktree, snapshot, created_at)
      SELECT $3, num, session, (SELECT m.num FROM message m WHERE m.id = $4), $5, $6, $7, now_ms() FROM whose
      ON CONFLICT DO NOTHING RETURNING id),
    -- What was rejected is about to leave the worktree (SPEC R3): what a turn in another one made is not.
    restored AS (
      UPDATE change h SET restored = true FROM whose WHERE h.session = whose.session AND $8
        AND EXISTS (SELECT FROM checkpoint k
                    WHERE k.task = h.task AND k.kind = 'after' AND k.worktree = $6))
    SELECT id FROM added";
    const FIND: &str = "SELECT k.id FROM checkpoint k JOIN task t ON t.num = k.task
      WHERE t.id = $1 AND ($2::bigint IS NULL OR t.epoch = $2) AND k.kind = $3
        AND md5(k.worktree) = md5($4) AND md5(k.snapshot) = md5($5)";
    let (task, epoch) = match whose {
        Whose::Turn(key) => (key.task, Some(key.epoch.0)),
        Whose::Task(task) => (task, None),
    };
    let (task, id) = (task.to_string(), CheckpointId::from_random(random()?));
    let snapshot = serde_json::to_string(&new.snapshot)?;
    let (kind, worktree) = (new.kind.as_str(), shown(&new.worktree));
    let message = new.message.map(|message| message.to_string());
    let restores = new.kind == CheckpointKind::PreRestore;
    let mut tx = db.begin().await?;
    let [added, found] = tx
        .pipeline([
            (ADD, &[&task, &epoch, &id.to_string(), &message, &kind, &worktree, &snapshot, &restores]),
            (FIND, &[&task, &epoch, &kind, &worktree, &snapshot]),
        ])
        .await?;
    tx.commit().await?;
    let row = added.first().or(found.first());
    Ok(row.map(|row| row.try_get::<_, &str>(0)).transpose()?.map(|text| text.parse().unwrap_or(id)))
}

const CHECKPOINT: &str = "SELECT k.num, k.id, t.id, s.id, m.id, k.kind, k.worktree, k.snapshot, k.created_at
FROM checkpoint k JOIN task t ON t.num = k.task JOIN session s ON s.num = k.session
  LEFT JOIN message m ON m.num = k.message";

fn checkpoint_row(row: &Row) -> Result<CheckpointRow, Fault> {
    Ok(CheckpointRow {
        num: row.try_get(0)?,
        id: row.try_get(1)?,
        task: row.try_get(2)?,
        session: row.try_get(3)?,
        message: row.try_get(4)?,
        kind: row.try_get(5)?,
        worktree: row.try_get(6)?,
        snapshot: row.try_get(7)?,
        created_at: row.try_get(8)?,
    })
}

pub(super) async fn checkpoint(db: &Db, id: CheckpointId) -> Result<Checkpoint, Fault> {
    let rows = db.query(&format!("{CHECKPOINT} WHERE k.id = $1"), &[&id.to_string()]).await?;
    let row = rows.first().ok_or(Fault::NotFound { what: "checkpoint", id: id.to_string() })?;
    Ok(checkpoint_row(row)?.read()?)
}

/// A task's checkpoints, oldest first.
pub(super) async fn checkpoints(db: &Db, task: TaskId) -> Result<Vec<Checkpoint>, Fault> {
    let sql = format!("{CHECKPOINT} WHERE t.id = $1 ORDER BY k.num");
    let rows = db.query(&sql, &[&task.to_string()]).await?;
    let rows: Vec<_> = rows.iter().map(checkpoint_row).collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// Records the agent's conversation for a turn; a newer one replaces it (SPEC W2).
pub(super) async fn record_agent_session(
    db: &Db,
    key: &TurnKey,
    conversation: &AgentConversation,
    worktree: &str,
) -> Result<WriteAnswer, Fault> {
    const RECORD: &str = "WITH turn AS MATERIALIZED (
      SELECT num, chat, agent, route, node, epoch FROM task
      WHERE id = $1 AND epoch = $2 AND state = 'running' FOR NO KEY UPDATE)
    INSERT INTO agent_session (task, chat, agent, route, worktree, node, epoch, id, own)
    SELECT num, chat, agent, route, $3, node, epoch, $4, $5 FROM turn
    ON CONFLICT (task) DO UPDATE SET route = excluded.route, worktree = excluded.worktree,
      node = excluded.node, epoch = excluded.epoch, id = excluded.id, own = excluded.own
    RETURNING task";
    let (id, worktree) = (shown(&conversation.id), shown(worktree));
    let own = serde_json::to_string(&conversation.own)?;
    let rows = db.query(RECORD, &[&key.task.to_string(), &key.epoch.0, &worktree, &id, &own]).await?;
    Ok(if rows.is_empty() { WriteAnswer::Fenced } else { WriteAnswer::Done })
}

/// The agent's conversation that a running turn goes on with (SPEC W2).
pub(super) async fn agent_session(
    db: &Db,
    key: &TurnKey,
    lineage: Lineage,
    worktree: &str,
) -> Result<Option<(AgentConversation, Epoch)>, Fault> {
    const OF_TASK: &str = "SELECT a.id, a.own, a.epoch FROM task t
      JOIN agent_session a ON a.task = t.num AND a.route IS NOT DISTINCT FROM t.route
    WHERE t.id = $1 AND t.epoch = $2 AND t.state = 'running' AND t.resumed";
    const OF_CHAT: &str = "SELECT a.id, a.own, a.epoch FROM task t
      JOIN agent_session a ON a.chat = t.chat AND a.agent = t.agent AND a.route IS NOT DISTINCT FROM t.route
        AND a.worktree = $3
    WHERE t.id = $1 AND t.epoch = $2 AND t.state = 'running' ORDER BY a.epoch DESC LIMIT 1";
    let task = key.task.to_string();
    let rows = match lineage {
        Lineage::Task => db.query(OF_TASK, &[&task, &key.epoch.0]).await?,
        Lineage::Chat => db.query(OF_CHAT, &[&task, &key.epoch.0, &shown(worktree)]).await?,
    };
    let Some(row) = rows.first() else { return Ok(None) };
    let row = ConversationRow { id: row.try_get(0)?, own: row.try_get(1)?, epoch: row.try_get(2)? };
    Ok(Some(row.read()))
}
