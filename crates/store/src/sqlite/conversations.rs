//! Messages, checkpoints and the agents' own conversation ids.

use dispatch_core::{
    change::{Checkpoint, CheckpointKind},
    conversation::{Message, MessageState, Role},
    ids::{ChatId, CheckpointId, Epoch, MessageId, TaskId},
    ports::{AgentConversation, Lineage, NewCheckpoint},
    task::{Name, TaskState, TurnKey},
};
use rusqlite::{OptionalExtension, Row, Transaction};

use super::lookup::{maybe_text, text};
use crate::{
    end::EndedMessage,
    fault::Fault,
    fresh::{now, random},
    rows::{CheckpointRow, ConversationRow, MessageRow, or_left_out},
};

fn message_row(row: &Row<'_>) -> rusqlite::Result<MessageRow> {
    Ok(MessageRow {
        num: row.get(0)?,
        id: text(row, 1)?,
        chat: text(row, 2)?,
        task: text(row, 3)?,
        role: text(row, 4)?,
        state: text(row, 5)?,
        model: maybe_text(row, 6)?,
        content: text(row, 7)?,
        content_truncated: row.get(8)?,
        reasoning: text(row, 9)?,
        reasoning_truncated: row.get(10)?,
        parts: maybe_text(row, 11)?,
        input: maybe_text(row, 12)?,
        usage: text(row, 13)?,
        created_at: row.get(14)?,
        finished_at: row.get(15)?,
    })
}

const MESSAGE: &str =
    "SELECT m.num, m.id, c.id, t.id, m.role, m.state, m.model, m.content, m.content_truncated,
  m.reasoning, m.reasoning_truncated, p.parts, CASE m.role WHEN 'user' THEN i.input END, m.usage,
  m.created_at, m.finished_at
FROM message m JOIN chat c ON c.num = m.chat JOIN task t ON t.num = m.task
  LEFT JOIN message_parts p ON p.message = m.num LEFT JOIN task_input i ON i.task = m.task";

/// A chat's messages, oldest first.
pub(super) fn messages(tx: &Transaction<'_>, chat: ChatId) -> Result<Vec<Message>, Fault> {
    let chat = chat.to_string();
    let num: i64 = tx
        .prepare_cached("SELECT num FROM chat WHERE id = ?1")?
        .query_row([&chat], |row| row.get(0))
        .optional()?
        .ok_or(Fault::NotFound { what: "chat", id: chat })?;
    let mut found = tx.prepare_cached(&format!("{MESSAGE} WHERE m.chat = ?1 ORDER BY m.num"))?;
    let rows = found.query_map([num], message_row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// What was said in a running turn's chat before its task, task by task: a task's request was recorded when it
/// began to wait, perhaps before the answer to the one ahead of it.
pub(super) fn history(tx: &Transaction<'_>, key: &TurnKey) -> Result<Vec<Message>, Fault> {
    let sql = format!(
        "{MESSAGE} JOIN task own ON own.chat = m.chat AND own.num > m.task
         WHERE own.id = ?1 AND own.epoch = ?2 AND own.state = 'running' AND m.state <> 'streaming'
         ORDER BY m.task, m.num"
    );
    let mut found = tx.prepare_cached(&sql)?;
    let rows = found.query_map((key.task.to_string(), key.epoch.0), message_row)?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// Begins a task's assistant message, or finds the one that an earlier attempt left empty.
pub(super) fn begin_message(
    tx: &Transaction<'_>,
    task: i64,
    fresh: MessageId,
    model: Option<&Name>,
) -> Result<MessageId, Fault> {
    let streaming = MessageState::Streaming.as_str();
    let begun: Option<String> = tx
        .prepare_cached(
            "SELECT m.id FROM task t JOIN message m ON m.num = t.assistant_message
             WHERE t.num = ?1 AND m.state = ?2",
        )?
        .query_row((task, streaming), |row| row.get(0))
        .optional()?;
    let model = model.map(Name::as_str);
    if let Some(begun) = begun.and_then(|id| id.parse().ok()) {
        return Ok(begun);
    }
    tx.prepare_cached(
        "INSERT INTO message (id, chat, task, role, state, model, created_at)
         SELECT ?2, chat, num, ?3, ?4, ?5, ?6 FROM task WHERE num = ?1",
    )?
    .execute((task, fresh.to_string(), Role::Assistant.as_str(), streaming, model, now().0))?;
    tx.prepare_cached("UPDATE task SET assistant_message = ?2 WHERE num = ?1")?
        .execute([task, tx.last_insert_rowid()])?;
    Ok(fresh)
}

/// Writes the end of a task's assistant message.
pub(super) fn settle_message(tx: &Transaction<'_>, task: i64, end: &EndedMessage) -> Result<(), Fault> {
    let num: i64 = tx
        .prepare_cached(
            "UPDATE message SET state = ?3, content = ?4, content_truncated = ?5, reasoning = ?6,
               reasoning_truncated = ?7, usage = ?8, finished_at = ?9
             WHERE id = ?1 AND task = ?2 RETURNING num",
        )?
        .query_row(
            (
                end.id.to_string(),
                task,
                end.state.as_str(),
                &end.content,
                end.content_truncated,
                &end.reasoning,
                end.reasoning_truncated,
                serde_json::to_string(&end.usage)?,
                now().0,
            ),
            |row| row.get(0),
        )
        .optional()?
        .ok_or(Fault::NotFound { what: "message", id: end.id.to_string() })?;
    tx.prepare_cached("INSERT OR REPLACE INTO message_parts (message, parts) VALUES (?1, ?2)")?
        .execute((num, &end.parts))?;
    Ok(())
}

/// Ends the empty message of an earlier attempt, when the last one ends before it takes it over.
pub(super) fn close_empty_message(tx: &Transaction<'_>, task: i64, end: TaskState) -> Result<(), Fault> {
    let state = match end {
        TaskState::Cancelled => MessageState::Cancelled,
        _ => MessageState::Failed,
    };
    tx.prepare_cached(
        "UPDATE message SET state = ?2, finished_at = ?3
         WHERE state = 'streaming' AND num = (SELECT assistant_message FROM task WHERE num = ?1)",
    )?
    .execute((task, state.as_str(), now().0))?;
    Ok(())
}

/// Records a checkpoint of a task, once; returns its id.
pub(super) fn add_checkpoint(
    tx: &Transaction<'_>,
    task: i64,
    new: &NewCheckpoint,
) -> Result<CheckpointId, Fault> {
    let id = CheckpointId::from_random(random()?);
    let snapshot = serde_json::to_string(&new.snapshot)?;
    tx.prepare_cached(
        "INSERT INTO checkpoint (id, task, session, message, kind, worktree, snapshot, created_at)
         SELECT ?2, num, session, (SELECT num FROM message WHERE id = ?3), ?4, ?5, ?6, ?7
         FROM task WHERE num = ?1
         ON CONFLICT (task, kind, worktree, snapshot) DO NOTHING",
    )?
    .execute((
        task,
        id.to_string(),
        new.message.map(|message| message.to_string()),
        new.kind.as_str(),
        &new.worktree,
        &snapshot,
        now().0,
    ))?;
    if new.kind == CheckpointKind::PreRestore {
        // What was rejected is about to leave the worktree (SPEC R3): what a turn in another one made is not.
        tx.prepare_cached(
            "UPDATE change SET restored = 1 WHERE session = (SELECT session FROM task WHERE num = ?1)
               AND EXISTS (SELECT 1 FROM checkpoint k
                           WHERE k.task = change.task AND k.kind = 'after' AND k.worktree = ?2)",
        )?
        .execute((task, &new.worktree))?;
    }
    let recorded: String = tx
        .prepare_cached(
            "SELECT id FROM checkpoint WHERE task = ?1 AND kind = ?2 AND worktree = ?3 AND snapshot = ?4",
        )?
        .query_row((task, new.kind.as_str(), &new.worktree, &snapshot), |row| row.get(0))?;
    Ok(recorded.parse().unwrap_or(id))
}

const CHECKPOINT: &str = "SELECT k.num, k.id, t.id, s.id, m.id, k.kind, k.worktree, k.snapshot, k.created_at
FROM checkpoint k JOIN task t ON t.num = k.task JOIN session s ON s.num = k.session
  LEFT JOIN message m ON m.num = k.message";

fn checkpoint_row(row: &Row<'_>) -> rusqlite::Result<CheckpointRow> {
    Ok(CheckpointRow {
        num: row.get(0)?,
        id: text(row, 1)?,
        task: text(row, 2)?,
        session: text(row, 3)?,
        message: maybe_text(row, 4)?,
        kind: text(row, 5)?,
        worktree: text(row, 6)?,
        snapshot: text(row, 7)?,
        created_at: row.get(8)?,
    })
}

pub(super) fn checkpoint(tx: &Transaction<'_>, id: CheckpointId) -> Result<Checkpoint, Fault> {
    let found = tx
        .prepare_cached(&format!("{CHECKPOINT} WHERE k.id = ?1"))?
        .query_row([id.to_string()], checkpoint_row)
        .optional()?;
    Ok(found.ok_or(Fault::NotFound { what: "checkpoint", id: id.to_string() })?.read()?)
}

/// A task's checkpoints, oldest first.
pub(super) fn checkpoints(tx: &Transaction<'_>, task: TaskId) -> Result<Vec<Checkpoint>, Fault> {
    let sql = format!("{CHECKPOINT} WHERE t.id = ?1 ORDER BY k.num");
    let mut found = tx.prepare_cached(&sql)?;
    let rows = found.query_map([task.to_string()], checkpoint_row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter_map(|row| or_left_out(row.read())).collect())
}

/// Records the agent's conversation for a task; a newer one replaces it (SPEC W2).
pub(super) fn record_agent_session(
    tx: &Transaction<'_>,
    task: i64,
    conversation: &AgentConversation,
    worktree: &str,
) -> Result<(), Fault> {
    let own = serde_json::to_string(&conversation.own)?;
    tx.prepare_cached(
        "INSERT INTO agent_session (task, chat, agent, route, worktree, node, epoch, id, own)
         SELECT num, chat, agent, route, ?2, node, epoch, ?3, ?4 FROM task WHERE num = ?1
         ON CONFLICT (task) DO UPDATE SET route = excluded.route, worktree = excluded.worktree,
           node = excluded.node, epoch = excluded.epoch, id = excluded.id, own = excluded.own",
    )?
    .execute((task, worktree, &conversation.id, own))?;
    Ok(())
}

/// The agent's conversation that a running turn goes on with (SPEC W2).
pub(super) fn agent_session(
    tx: &Transaction<'_>,
    key: &TurnKey,
    lineage: Lineage,
    worktree: &str,
) -> Result<Option<(AgentConversation, Epoch)>, Fault> {
    let read = |row: &Row<'_>| {
        Ok(ConversationRow { id: text(row, 0)?, own: text(row, 1)?, epoch: row.get(2)? }.read())
    };
    let turn = (key.task.to_string(), key.epoch.0);
    let found = match lineage {
        Lineage::Task => tx
            .prepare_cached(
                "SELECT a.id, a.own, a.epoch FROM task t
                 JOIN agent_session a ON a.task = t.num AND a.route IS t.route
                 WHERE t.id = ?1 AND t.epoch = ?2 AND t.state = 'running' AND t.resumed",
            )?
            .query_row(turn, read),
        Lineage::Chat => tx
            .prepare_cached(
                "SELECT a.id, a.own, a.epoch FROM task t JOIN agent_session a
                   ON a.chat = t.chat AND a.agent = t.agent AND a.route IS t.route AND a.worktree = ?3
                 WHERE t.id = ?1 AND t.epoch = ?2 AND t.state = 'running' ORDER BY a.epoch DESC LIMIT 1",
            )?
            .query_row((turn.0, turn.1, worktree), read),
    };
    Ok(found.optional()?)
}
