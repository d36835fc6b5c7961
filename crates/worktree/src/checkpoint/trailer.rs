//! What a checkpoint's commit message says: a line for people and one of JSON.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Checkpoint, CheckpointKind, Operation, Skipped};
use crate::error::{Error, Result};
use crate::ids::{CheckpointId, CommitId, OwnerId, TreeId, WorktreeId};
use crate::project::Project;

const VERSION: u32 = 1;
const MAX_LABEL: usize = 1000;
const MAX_SKIPPED: usize = 100;

/// The JSON line. Fields are only ever added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Trailer {
    pub(super) boocoder: u32,
    pub(super) worktree: WorktreeId,
    pub(super) owner: OwnerId,
    pub(super) sequence: u64,
    pub(super) kind: CheckpointKind,
    pub(super) label: String,
    pub(super) base_commit: CommitId,
    pub(super) base_tree: TreeId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head: Option<CommitId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<Operation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) skipped: Vec<Skipped>,
    #[serde(default)]
    pub(super) more_skipped: u64,
}

impl Trailer {
    pub(super) fn version() -> u32 {
        VERSION
    }

    pub(super) fn cut_label(label: &str) -> String {
        label.chars().take(MAX_LABEL).collect()
    }

    /// Keeps the list within bounds; an agent can make any number of such files.
    pub(super) fn cut_skipped(mut skipped: Vec<Skipped>) -> (Vec<Skipped>, u64) {
        // What loses content comes first, so that it is never hidden behind harmless entries.
        skipped.sort_by_key(|s| !s.reason.loses_content());
        let lost = skipped.iter().skip(MAX_SKIPPED).filter(|s| s.reason.loses_content()).count();
        skipped.truncate(MAX_SKIPPED);
        (skipped, lost as u64)
    }

    pub(super) fn message(&self) -> String {
        let subject: String =
            self.label.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
        let json = serde_json::to_string(self).expect("because a trailer has only string keys");
        format!("checkpoint: {subject}\n\n{json}\n")
    }

    pub(super) fn checkpoint(self, id: CheckpointId, tree: TreeId, seconds: i64) -> Checkpoint {
        Checkpoint {
            id,
            worktree: self.worktree,
            owner: self.owner,
            sequence: self.sequence,
            kind: self.kind,
            label: self.label,
            tree,
            base_commit: self.base_commit,
            base_tree: self.base_tree,
            head: self.head,
            head_ref: self.head_ref,
            operation: self.operation,
            skipped: self.skipped,
            more_skipped: self.more_skipped,
            taken_at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64),
        }
    }
}

/// Reads a checkpoint back from its commit.
pub(crate) fn read(project: &Project, repo: &gix::Repository, id: &CheckpointId) -> Result<Checkpoint> {
    let missing = || Error::NoCheckpoint { id: id.clone() };
    let commit = repo.find_commit(id.commit.0).map_err(|_| missing())?;
    let git = |e: gix::Error| project.git_error("read a checkpoint", e);
    let tree = TreeId(commit.tree_id().map_err(git)?.detach());
    let seconds = commit.time().map_err(git)?.seconds;
    let message = commit.message_raw().map_err(git)?;
    let json = message.rsplit(|&b| b == b'\n').find(|line| !line.is_empty()).unwrap_or_default();
    let trailer: Trailer = serde_json::from_slice(json).map_err(|_| missing())?;
    Ok(trailer.checkpoint(id.clone(), tree, seconds))
}
