//! The session and chat that a task belongs to, made where they are missing (SPEC T3).

use dispatch_core::{
    ids::{ChatId, SessionId, Timestamp},
    task::{NewTask, chat_title, session_title},
};
use rusqlite::{OptionalExtension, Transaction};

use super::lookup::number;
use crate::{
    admission::{Holder, check_chat, check_session},
    fault::Fault,
    fresh::random,
};

/// Where a task belongs, by row.
pub(super) struct Place {
    pub project: i64,
    pub session: i64,
    pub chat: i64,
}

impl Place {
    pub fn find_or_make(tx: &Transaction<'_>, new: &NewTask, now: Timestamp) -> Result<Self, Fault> {
        let project = number(tx, "project", &new.project.to_string())?;
        let chat = new.chat.map(|chat| Chat::find(tx, chat)).transpose()?;
        let session = match (new.session, &chat) {
            (Some(session), _) => Some(number(tx, "session", &session.to_string())?),
            (None, Some(chat)) => Some(chat.holder.of),
            (None, None) => None,
        };
        let session = match session {
            Some(session) => {
                check_session(new, project, session_holder(tx, session)?)?;
                session
            }
            None => make_session(tx, project, new, now)?,
        };
        let chat = match chat {
            Some(chat) => {
                check_chat(session, chat.holder)?;
                chat.num
            }
            None => newest_open_chat(tx, session)?.map_or_else(|| make_chat(tx, session, new, now), Ok)?,
        };
        Ok(Self { project, session, chat })
    }
}

/// The chat that is asked for.
struct Chat {
    num: i64,
    holder: Holder,
}

impl Chat {
    fn find(tx: &Transaction<'_>, id: ChatId) -> Result<Self, Fault> {
        tx.prepare_cached("SELECT num, session, open FROM chat WHERE id = ?1")?
            .query_row([id.to_string()], |row| {
                Ok(Self { num: row.get(0)?, holder: Holder { of: row.get(1)?, open: row.get(2)? } })
            })
            .optional()?
            .ok_or(Fault::NotFound { what: "chat", id: id.to_string() })
    }
}

fn session_holder(tx: &Transaction<'_>, session: i64) -> rusqlite::Result<Holder> {
    tx.prepare_cached("SELECT project, open FROM session WHERE num = ?1")?
        .query_row([session], |row| Ok(Holder { of: row.get(0)?, open: row.get(1)? }))
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
