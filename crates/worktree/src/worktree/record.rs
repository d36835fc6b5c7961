//! What the state directory knows about a worktree.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::{CommitId, OwnerId, TreeId, WorktreeId};
use crate::layout::WorktreeLayout;

/// How long a worktree lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Until its task is done; a sweep removes it when its owner is no longer live.
    Task,
    /// Until its session is closed; a sweep never removes it.
    Session,
}

/// How far a worktree has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Nobody has worked in it yet; what is there can be thrown away.
    Creating,
    /// It may hold work.
    Ready,
    /// Its final checkpoint is taken; what is left of it can be thrown away.
    Removing,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: WorktreeId,
    pub(crate) owner: OwnerId,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    pub(crate) base_commit: CommitId,
    pub(crate) base_tree: TreeId,
    /// The checkpoint that a restore is on its way to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restoring: Option<CommitId>,
    /// Content that no checkpoint holds: the folder is kept when the worktree is removed.
    #[serde(default)]
    pub(crate) keep: bool,
}

impl Record {
    /// The record of a worktree, if there is one.
    pub(crate) fn load(files: &WorktreeLayout) -> Result<Option<Self>> {
        let path = files.record();
        let Some(json) = fsio::read_bounded(&path, 1 << 20)? else { return Ok(None) };
        serde_json::from_slice(&json).map(Some).map_err(|source| Error::Record { path, source })
    }

    pub(crate) fn store(&self, files: &WorktreeLayout) -> Result<()> {
        let json = serde_json::to_vec(self).expect("because the record has only plain fields");
        fsio::replace(&files.record(), &json)
    }
}
