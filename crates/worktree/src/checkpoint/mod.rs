//! Checkpoints: the whole worktree at one moment, as a commit below `refs/boocoder/`.
//!
//! The commit's tree is the worktree's content. Its parents are the agent's `HEAD` and, where the agent's index
//! holds something else again, a commit of that index: so nothing that the agent committed or staged is lost to
//! garbage collection. Everything that a database would want to know is in the commit's message.

mod agent_state;
mod list;
pub(crate) mod restore;
pub(crate) mod take;
mod trailer;

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::ids::{CheckpointId, CommitId, OwnerId, TreeId, WorktreeId};
use crate::path::RelPath;

pub use agent_state::Operation;
pub(crate) use list::{all, last};
pub use restore::RestoreReport;
pub(crate) use trailer::read;

/// When in a worktree's life a checkpoint was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CheckpointKind {
    /// Before a turn.
    Before,
    /// After a turn.
    After,
    /// Now and then during a turn.
    Periodic,
    /// Before the worktree was removed.
    Final,
    /// Before a restore, so that it can be undone.
    PreRestore,
}

/// A checkpoint and what is recorded with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// How to find it again.
    pub id: CheckpointId,
    /// The worktree it was taken of.
    pub worktree: WorktreeId,
    /// Whose worktree that was.
    pub owner: OwnerId,
    /// Counts the checkpoints of a worktree from 1.
    pub sequence: u64,
    /// When in the worktree's life.
    pub kind: CheckpointKind,
    /// The caller's words, at most 1,000 characters.
    pub label: String,
    /// The content of the worktree.
    pub tree: TreeId,
    /// The commit that the worktree started from.
    pub base_commit: CommitId,
    /// The content that the worktree started from.
    pub base_tree: TreeId,
    /// The commit that the agent's `HEAD` led to, if any.
    pub head: Option<CommitId>,
    /// The branch that the agent's `HEAD` named, if any.
    pub head_ref: Option<String>,
    /// What the agent's git was in the middle of.
    pub operation: Option<Operation>,
    /// What is in the worktree but not in the checkpoint: at most 100 of them.
    pub skipped: Vec<Skipped>,
    /// How many more were skipped than are listed.
    pub more_skipped: u64,
    /// When, by the system's clock, to the second.
    pub taken_at: SystemTime,
}

impl Checkpoint {
    /// Whether removing the worktree would lose something that this checkpoint does not hold.
    pub fn is_incomplete(&self) -> bool {
        self.more_skipped > 0 || self.skipped.iter().any(|s| s.reason.loses_content())
    }
}

/// Something that a checkpoint could not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Where; empty for the worktree's root.
    pub path: RelPath,
    /// Why.
    #[serde(flatten)]
    pub reason: SkipReason,
}

/// Why something is not in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// Larger than the policy allows; never read.
    TooBig {
        /// Its size in bytes.
        bytes: u64,
    },
    /// A repository of its own; nothing in it was captured.
    NestedRepo {
        /// What its `HEAD` or `.git` file says, at most 4096 bytes.
        head: String,
    },
    /// A pipe, socket or device; never opened.
    Special,
    /// The system refused to read it.
    Unreadable,
    /// It changed each time that it was read.
    Unstable,
    /// Git refuses names like this one.
    BadName,
    /// More than 200 folders deep.
    TooDeep,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match &self.reason {
            SkipReason::TooBig { bytes } => return write!(f, "{} ({bytes} bytes: too big)", self.path),
            SkipReason::NestedRepo { .. } => "a repository of its own",
            SkipReason::Special => "a pipe, socket or device",
            SkipReason::Unreadable => "unreadable",
            SkipReason::Unstable => "it kept changing",
            SkipReason::BadName => "git refuses its name",
            SkipReason::TooDeep => "too many folders deep",
        };
        write!(f, "{} ({why})", self.path)
    }
}

impl SkipReason {
    /// Whether content was left out; pipes and the like have none.
    pub fn loses_content(&self) -> bool {
        !matches!(self, Self::Special)
    }
}
