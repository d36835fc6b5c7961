//! Sessions and their projects.

use std::{os::unix::ffi::OsStringExt, path::PathBuf};

use dispatch_core::{
    ids::Timestamp,
    ports::SessionView,
    task::{Name, Project},
};

use super::at::{At, or_left_out};
use crate::fault::BadRow;

/// A session with what is known of its chats and tasks.
pub(crate) struct SessionRow {
    pub num: i64,
    pub id: String,
    pub project: String,
    pub title: String,
    pub model: Option<String>,
    pub open: bool,
    /// Oldest first.
    pub chats: Vec<String>,
    pub waiting: i64,
    pub running: Option<String>,
    pub created_at: i64,
}

impl SessionRow {
    pub fn read(self) -> Result<SessionView, BadRow> {
        let at = At { table: "session", row: self.num };
        let chats = self.chats.iter().filter_map(|chat| or_left_out(at.word("chat", chat)));
        Ok(SessionView {
            id: at.word("id", &self.id)?,
            project: at.word("project", &self.project)?,
            title: self.title,
            model: self.model.as_deref().and_then(Name::new),
            open: self.open,
            chats: chats.collect(),
            waiting: self.waiting.unsigned_abs(),
            running: at.maybe("running", self.running.as_ref())?,
            created_at: Timestamp(self.created_at),
        })
    }
}

/// A project.
pub(crate) struct ProjectRow {
    pub num: i64,
    pub id: String,
    pub name: String,
    pub path: Option<Vec<u8>>,
}

impl ProjectRow {
    pub fn read(self) -> Result<Project, BadRow> {
        let at = At { table: "project", row: self.num };
        Ok(Project { id: at.word("id", &self.id)?, name: self.name, path: self.path.map(path_of) })
    }
}

/// A path from its stored bytes.
pub(crate) fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}
