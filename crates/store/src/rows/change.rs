//! Changes and checkpoints.

use dispatch_core::{
    change::{Change, ChangeDraft, Checkpoint},
    ids::Timestamp,
};

use super::at::{At, or_left_out};
use crate::fault::BadRow;

/// A change with the ids that it is about.
pub(crate) struct ChangeRow {
    pub num: i64,
    pub id: String,
    pub project: String,
    pub session: String,
    pub task: String,
    pub agent: String,
    pub state: String,
    pub from_failed_turn: bool,
    pub rejected_before: bool,
    pub superseded_by: Option<String>,
    pub draft: String,
    pub created_at: i64,
    pub decided_at: Option<i64>,
}

impl ChangeRow {
    pub fn read(self) -> Result<Change, BadRow> {
        let at = At { table: "change", row: self.num };
        Ok(Change {
            id: at.word("id", &self.id)?,
            project: at.word("project", &self.project)?,
            session: at.word("session", &self.session)?,
            task: at.word("task", &self.task)?,
            agent: self.agent,
            state: at.word("state", &self.state)?,
            from_failed_turn: self.from_failed_turn,
            rejected_before: self.rejected_before,
            superseded_by: at.maybe("superseded_by", self.superseded_by.as_ref())?,
            draft: at.json("draft", &self.draft)?,
            created_at: Timestamp(self.created_at),
            decided_at: self.decided_at.map(Timestamp),
        })
    }
}

/// The tree that a change made, from its stored text; what cannot be read is reported and counts for nothing.
pub(crate) fn result_tree(change: i64, draft: &str) -> Option<String> {
    let draft = At { table: "change", row: change }.json::<ChangeDraft>("draft", draft);
    or_left_out(draft).map(|draft| draft.result_tree)
}

/// A checkpoint with the ids that it is about.
pub(crate) struct CheckpointRow {
    pub num: i64,
    pub id: String,
    pub task: String,
    pub session: String,
    pub message: Option<String>,
    pub kind: String,
    pub worktree: String,
    pub snapshot: String,
    pub created_at: i64,
}

impl CheckpointRow {
    pub fn read(self) -> Result<Checkpoint, BadRow> {
        let at = At { table: "checkpoint", row: self.num };
        Ok(Checkpoint {
            id: at.word("id", &self.id)?,
            task: at.word("task", &self.task)?,
            session: at.word("session", &self.session)?,
            message: at.maybe("message", self.message.as_ref())?,
            kind: at.word("kind", &self.kind)?,
            worktree: self.worktree,
            snapshot: at.json("snapshot", &self.snapshot)?,
            created_at: Timestamp(self.created_at),
        })
    }
}
