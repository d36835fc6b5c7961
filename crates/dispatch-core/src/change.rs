//! Checkpoints and pending changes, as the record keeps them.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ChangeId, CheckpointId, MessageId, ProjectId, SessionId, TaskId, Timestamp},
    words::words,
};

words! {
    /// When a checkpoint was taken.
    CheckpointKind {
        /// Before a turn.
        Before = "before",
        /// After a turn.
        After = "after",
        /// While a turn runs.
        Periodic = "periodic",
        /// Before its worktree was removed.
        Final = "final",
        /// Before a restore.
        PreRestore = "pre-restore",
    }
}

words! {
    /// How a change stands.
    ChangeState {
        /// Waiting for a decision.
        Pending = "pending",
        /// In the user's checkout.
        Applied = "applied",
        /// Refused.
        Rejected = "rejected",
        /// Replaced by a newer one of its session.
        Superseded = "superseded",
        /// Its worktree went back to its base by itself.
        Withdrawn = "withdrawn",
    }
}

/// A worktree's state at one moment, as the workspace saved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The commit that holds it.
    pub commit: String,
    /// The ref that keeps the commit alive.
    pub reference: String,
    /// The tree of the whole worktree.
    pub tree: String,
    /// What could not be saved, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// A recorded checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its id.
    pub id: CheckpointId,
    /// The task whose turn took it.
    pub task: TaskId,
    /// Its session.
    pub session: SessionId,
    /// The assistant message that it belongs to.
    pub message: Option<MessageId>,
    /// When it was taken.
    pub kind: CheckpointKind,
    /// Which worktree it is of, in the workspace's word.
    pub worktree: String,
    /// What was saved.
    pub snapshot: Snapshot,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// What happened to one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// The path from the repository's top; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// What happened.
    pub kind: FileChangeKind,
    /// Where it was before, for a rename.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Lines added; 0 for a binary file.
    pub additions: u64,
    /// Lines removed; 0 for a binary file.
    pub deletions: u64,
    /// Whether its content is not text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub binary: bool,
}

words! {
    /// What happened to a file.
    FileChangeKind {
        /// It is new.
        Added = "added",
        /// It is gone.
        Deleted = "deleted",
        /// Its content changed.
        Modified = "modified",
        /// It has another name.
        Renamed = "renamed",
        /// Only its mode changed.
        ModeChanged = "mode_changed",
        /// It became something else: a link, a file.
        TypeChanged = "type_changed",
    }
}

/// What a worktree changed against its base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeDraft {
    /// The tree that it is compared with.
    pub base_tree: String,
    /// The worktree's tree.
    pub result_tree: String,
    /// What keeps the result alive.
    pub snapshot: Snapshot,
    /// The files, in the order of their paths.
    pub files: Vec<FileChange>,
    /// Things the user should know before applying it, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ChangeDraft {
    /// Lines added and removed in all.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.files.iter().fold((0, 0), |(a, d), file| (a + file.additions, d + file.deletions))
    }
}

/// A recorded change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its id.
    pub id: ChangeId,
    /// The project that it is for.
    pub project: ProjectId,
    /// The session that made it.
    pub session: SessionId,
    /// The task that made it.
    pub task: TaskId,
    /// Who made it.
    pub agent: String,
    /// How it stands.
    pub state: ChangeState,
    /// Whether the turn that made it failed (SPEC T12).
    pub from_failed_turn: bool,
    /// Whether it holds edits that were rejected before (SPEC R3).
    pub rejected_before: bool,
    /// The change that replaced it.
    pub superseded_by: Option<ChangeId>,
    /// What it changes.
    pub draft: ChangeDraft,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}
