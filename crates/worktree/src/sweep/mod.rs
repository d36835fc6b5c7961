//! Cleaning up after processes that were killed, and saying what is left.

mod leftovers;
mod run;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::apply::Recovered;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::ids::{OwnerId, WorktreeId};
use crate::path::RelPath;
use crate::state_dir::Worktrees;
use crate::worktree::Kind;

/// What a sweep did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SweepReport {
    /// Worktrees that it changed or removed.
    pub worktrees: Vec<Swept>,
    /// Applied changes that it completed.
    pub applied: Vec<Recovered>,
    /// Worktrees that another process was working with; they were left alone.
    pub in_use: usize,
    /// What it could not do; nothing was deleted there.
    pub failed: Vec<SweepFailure>,
}

/// A worktree that a sweep did something about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Whose it was.
    pub owner: OwnerId,
    /// Where it was.
    pub path: PathBuf,
    /// What was done.
    pub what: SweptHow,
}

/// What a sweep did about a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SweptHow {
    /// It was half made, and nobody had worked in it: it is gone.
    Discarded,
    /// Its removal had begun: it is complete.
    RemovalCompleted,
    /// Its owner is not live: saved and removed.
    Removed {
        /// What holds its content; none if its folder was gone already.
        checkpoint: Option<Box<Checkpoint>>,
        /// Where the folder is now, if it holds something that the checkpoint does not.
        kept: Option<PathBuf>,
    },
    /// A restore had begun: it is complete.
    RestoreCompleted {
        /// Ignored files that were left alone.
        kept: Vec<RelPath>,
    },
}

/// Something that a sweep could not do.
#[derive(Debug)]
pub struct SweepFailure {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub error: Error,
}

/// Something that a killed process, or a removal, left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// A half-made worktree that nobody worked in. The next sweep discards it.
    HalfMade {
        /// Whose it is.
        owner: OwnerId,
        /// Where.
        path: PathBuf,
    },
    /// A half-removed worktree, its content saved. The next sweep completes the removal.
    HalfRemoved {
        /// Whose it was.
        owner: OwnerId,
        /// Where.
        path: PathBuf,
    },
    /// A worktree in the middle of a restore. The next sweep completes it.
    HalfRestored {
        /// Whose it is.
        owner: OwnerId,
        /// Where.
        path: PathBuf,
    },
    /// A worktree whose folder is gone. [`Project::create`](crate::Project::create) brings it back.
    CheckoutMissing {
        /// Whose it is.
        owner: OwnerId,
        /// Session or task.
        kind: Kind,
        /// Where it was.
        path: PathBuf,
    },
    /// A change that was being applied. The next sweep completes it.
    HalfApplied {
        /// The user's checkout.
        checkout: PathBuf,
    },
    /// A folder that was kept at removal, because it holds something that no checkpoint does. Delete it when it is
    /// no longer needed.
    Kept {
        /// Where.
        path: PathBuf,
    },
    /// A removed folder that is not deleted yet. The next sweep tries again.
    Trash {
        /// Where.
        path: PathBuf,
    },
    /// A registered worktree of ours that this state directory does not know, because it or its predecessor was
    /// lost. Its checkpoints can be listed with
    /// [`Project::checkpoints_of`](crate::Project::checkpoints_of). Nothing ever deletes it.
    Orphan {
        /// Its id.
        id: WorktreeId,
        /// Whose it was, if a checkpoint tells.
        owner: Option<OwnerId>,
        /// Git's administrative folder.
        admin: PathBuf,
    },
    /// A record that cannot be read, or a project whose repository cannot be opened.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Worktrees {
    /// Finishes or takes back what killed processes left in any project of the state directory, and removes the
    /// worktrees of tasks whose owner is not `live`, each after a final checkpoint. Worktrees of sessions stay.
    /// What another process is working with is left alone. Nothing is deleted whose content is not saved.
    ///
    /// # Errors
    /// [`Error::Io`] if the state directory cannot be read, [`Error::Cancelled`]. What fails for one worktree is in
    /// the report.
    pub fn sweep(&self, live: &dyn Fn(&OwnerId) -> bool, cancel: &AtomicBool) -> Result<SweepReport> {
        run::sweep(&self.state, live, cancel)
    }

    /// What is left behind, without changing anything.
    ///
    /// # Errors
    /// [`Error::Io`] if the state directory cannot be read.
    pub fn leftovers(&self) -> Result<Vec<Leftover>> {
        leftovers::list(&self.state)
    }
}
