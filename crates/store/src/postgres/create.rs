//! Making tasks: two round trips, whatever is missing (SPEC T3).

use dispatch_core::{
    conversation::{MessageState, Role},
    ids::{ChatId, MessageId, NodeId, SessionId, Timestamp},
    task::{NewTask, Task, TaskState, chat_title, session_title},
};
use tokio_postgres::Row;

use super::{
    claim::agent_column,
    db::{Tx, Values},
    host::Host,
    queue::PROMOTE,
    tasks,
    text::shown,
};
use crate::{
    admission::{Holder, check_chat, check_input, check_session, without_its_node},
    fault::Fault,
    fresh::random,
    node_lock,
};

/// The session that is given, or the given chat's; it is held.
const SESSION: &str = "SELECT num, id, project, open FROM session
WHERE num = CASE WHEN $1::text IS NOT NULL THEN (SELECT num FROM session WHERE id = $1)
                 ELSE (SELECT session FROM chat WHERE id = $2) END FOR NO KEY UPDATE";

const CHAT: &str = "SELECT num, id, session, open FROM chat WHERE id = $1";

const NEWEST_CHAT: &str = "SELECT num, id, session, open FROM chat
WHERE session = (SELECT num FROM session WHERE id = $1) AND open ORDER BY num DESC LIMIT 1";

/// Held until the task is there, so that whoever finds the node gone finds the task, too.
const NODE: &str = "SELECT host FROM node WHERE id = $1 AND NOT gone AND expires_at > now() FOR SHARE";

/// Makes what is missing; the session's own promotion decides what becomes claimable.
const MAKE: &str = "WITH made_session AS (
  INSERT INTO session (id, project, title, model, created_at)
  SELECT $3, $1, $4, $5, now_ms() WHERE $2::bigint IS NULL RETURNING num),
here AS (SELECT num FROM made_session UNION ALL SELECT $2 WHERE $2::bigint IS NOT NULL),
made_chat AS (
  INSERT INTO chat (id, session, title, created_at)
  SELECT $7, here.num, $8, now_ms() FROM here WHERE $6::bigint IS NULL RETURNING num),
there AS (SELECT num FROM made_chat UNION ALL SELECT $6 WHERE $6::bigint IS NOT NULL),
made AS (
  INSERT INTO task (id, project, session, chat, from_chat, agent, attended_by, state, created_at)
  SELECT $9, $1, here.num, there.num, $10, $11, $12,
    CASE WHEN $2::bigint IS NULL THEN 'ready' ELSE 'queued' END, now_ms() FROM here, there
  RETURNING num, session, chat, created_at),
asked AS (
  INSERT INTO task_input (task, input, options, permissions) SELECT num, $13, $14, $15 FROM made),
said AS (
  INSERT INTO message (id, chat, task, role, state, created_at, finished_at)
  SELECT $16, chat, num, $17, $18, created_at, created_at FROM made)
SELECT session, created_at FROM made";

/// Where a task belongs; a number that is missing is that of something to be made.
struct Place {
    project: i64,
    session: Option<i64>,
    session_id: SessionId,
    chat: Option<i64>,
    chat_id: ChatId,
}

/// What was looked up, a row each where there is one.
struct Found<'a> {
    project: Option<&'a Row>,
    session: Option<&'a Row>,
    chat: Option<&'a Row>,
    newest_chat: Option<&'a Row>,
}

/// Makes a task and what it lacks, once for an id; the transaction is committed by the caller.
pub(super) async fn create(tx: &mut Tx, host: &Host, new: &NewTask) -> Result<Task, Fault> {
    let id = new.id.to_string();
    let (session, chat) = (new.session.map(|id| id.to_string()), new.chat.map(|id| id.to_string()));
    let node = new.attended_by.map(|id| id.to_string());
    let [sessions, known, projects, chats, newest_chats, nodes] = tx
        .pipeline([
            (SESSION, &[&session, &chat]),
            ("SELECT num FROM task WHERE id = $1", &[&id]),
            ("SELECT num FROM project WHERE id = $1", &[&new.project.to_string()]),
            (CHAT, &[&chat]),
            (NEWEST_CHAT, &[&session]),
            (NODE, &[&node]),
        ])
        .await?;
    if !known.is_empty() {
        return tasks::task_in(tx, new.id).await;
    }
    check_input(new)?;
    if let Some(node) = new.attended_by
        && !is_alive(nodes.first(), host, node)?
    {
        return Err(without_its_node(node));
    }
    let found = Found {
        project: projects.first(),
        session: sessions.first(),
        chat: chats.first(),
        newest_chat: newest_chats.first(),
    };
    make(tx, new, &found.place(new)?).await
}

/// Whether a node lives, as far as can be told from here: one of this data folder holds its lock.
fn is_alive(row: Option<&Row>, host: &Host, node: NodeId) -> Result<bool, Fault> {
    let Some(row) = row else { return Ok(false) };
    Ok(row.try_get::<_, &str>(0)? != host.id || !node_lock::is_free(&host.nodes, &node.to_string())?)
}

impl Found<'_> {
    fn place(&self, new: &NewTask) -> Result<Place, Fault> {
        let missing = |what, id: String| Fault::NotFound { what, id };
        let project = self.project.ok_or_else(|| missing("project", new.project.to_string()))?.try_get(0)?;
        if let (Some(chat), None) = (new.chat, self.chat) {
            return Err(missing("chat", chat.to_string()));
        }
        if let (Some(session), None) = (new.session, self.session) {
            return Err(missing("session", session.to_string()));
        }
        let session: Option<i64> = self.session.map(|row| row.try_get(0)).transpose()?;
        if let Some(row) = self.session {
            check_session(new, project, holder(row)?)?;
        }
        if let (Some(session), Some(row)) = (session, self.chat) {
            check_chat(session, holder(row)?)?;
        }
        let chat = self.chat.or(self.newest_chat);
        Ok(Place {
            project,
            session,
            session_id: id_of(self.session)?.map_or_else(|| random().map(SessionId::from_random), Ok)?,
            chat: chat.map(|row| row.try_get(0)).transpose()?,
            chat_id: id_of(chat)?.map_or_else(|| random().map(ChatId::from_random), Ok)?,
        })
    }
}

fn id_of<T: std::str::FromStr>(row: Option<&Row>) -> Result<Option<T>, Fault> {
    let Some(row) = row else { return Ok(None) };
    let parsed = row.try_get::<_, &str>(1)?.parse();
    parsed.map(Some).map_err(|_| Fault::Misuse("an id in the record is no id"))
}

/// What a row of `SESSION` or `CHAT` says of what it holds.
fn holder(row: &Row) -> Result<Holder, Fault> {
    Ok(Holder { of: row.try_get(2)?, open: row.try_get(3)? })
}

async fn make(tx: &mut Tx, new: &NewTask, place: &Place) -> Result<Task, Fault> {
    let agent = new.options.agent.as_ref();
    let title = session_title(agent, &new.input);
    let model = new.options.model.as_ref().or(new.default_model.as_ref()).map(|model| shown(model.as_str()));
    let (from_chat, attended_by) =
        (new.session.is_some() || new.chat.is_some(), new.attended_by.map(|node| node.to_string()));
    let (input, options) = (new.input.as_bytes(), serde_json::to_string(&new.options)?);
    let message = MessageId::from_random(random()?);
    let values: Values<'_> = &[
        &place.project,
        &place.session,
        &place.session_id.to_string(),
        &shown(&title),
        &model,
        &place.chat,
        &place.chat_id.to_string(),
        &chat_title(agent),
        &new.id.to_string(),
        &from_chat,
        &agent_column(agent),
        &attended_by,
        &input,
        &options,
        &new.permissions.as_str(),
        &message.to_string(),
        &Role::User.as_str(),
        &MessageState::Complete.as_str(),
    ];
    // A session that is made here has no other task; of one that was there, the oldest waiting goes on.
    let [made, promoted] = tx.pipeline([(MAKE, values), (PROMOTE, &[&place.session])]).await?;
    let made = made.first().ok_or(Fault::Misuse("a task was not made"))?;
    tx.wakes = place.session.is_none() || !promoted.is_empty();
    Ok(Task {
        id: new.id,
        project: new.project,
        session: place.session_id,
        chat: place.chat_id,
        from_chat,
        user_message: message,
        input: new.input.clone(),
        options: new.options.clone(),
        permissions: new.permissions,
        state: TaskState::Pending,
        reason: None,
        stop_requested: false,
        attended: new.attended_by.is_some(),
        route: None,
        attempt: 0,
        epoch: None,
        assistant_message: None,
        summary: None,
        cost: None,
        created_at: Timestamp(made.try_get(1)?),
        started_at: None,
        finished_at: None,
    })
}
