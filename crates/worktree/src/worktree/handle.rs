//! The handle of one worktree.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::create::lock_worktree;
use super::remove::{self, RemovalReceipt};
use super::{Kind, Record, State, admin};
use crate::change::ChangeSet;
use crate::checkpoint::{Checkpoint, CheckpointKind, RestoreReport, restore, take};
use crate::error::{Error, Result};
use crate::ids::{CheckpointId, CommitId, OwnerId, TreeId, WorktreeId};
use crate::lock::Lock;
use crate::project::Project;

/// A checkout of its own for one session or task.
///
/// Its methods wait for each other, also between processes; none of them runs a program.
#[derive(Debug, Clone)]
pub struct Worktree {
    project: Project,
    record: Record,
    path: PathBuf,
}

/// What a worktree is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseRef {
    /// What it started from.
    Captured,
    /// A checkpoint.
    Checkpoint(CheckpointId),
    /// A commit.
    Commit(CommitId),
    /// A tree, such as the one that an applied change left.
    Tree(TreeId),
}

pub(crate) fn open(project: &Project, id: &WorktreeId) -> Result<Worktree> {
    let files = project.layout().worktree(id);
    match Record::load(&files)? {
        Some(record) if record.state == State::Ready => {
            if !files.checkout.is_dir() {
                return Err(Error::CheckoutMissing { path: files.checkout });
            }
            Ok(Worktree::new(project, record))
        }
        Some(record) => Err(Error::NoWorktree { owner: record.owner }),
        None => Err(Error::NoWorktree {
            owner: id.as_str().parse().expect("because hexadecimal digits name an owner"),
        }),
    }
}

impl Worktree {
    pub(crate) fn new(project: &Project, record: Record) -> Self {
        let path = project.layout().worktree(&record.id).checkout;
        Self { project: project.clone(), record, path }
    }

    /// Its id.
    pub fn id(&self) -> &WorktreeId {
        &self.record.id
    }

    /// Whose it is.
    pub fn owner(&self) -> &OwnerId {
        &self.record.owner
    }

    /// How long it lives.
    pub fn kind(&self) -> Kind {
        self.record.kind
    }

    /// The folder that an agent works in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit that it started from; never changes.
    pub fn base_commit(&self) -> CommitId {
        self.record.base_commit
    }

    /// The content that it started from; never changes.
    pub fn base_tree(&self) -> TreeId {
        self.record.base_tree
    }

    /// The project that it belongs to.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Records the whole worktree as it is now, as a new checkpoint even if nothing changed. Neither the
    /// agent's index nor the user's is touched. What cannot be held is listed as skipped.
    ///
    /// # Errors
    /// [`Error::CheckoutMissing`], [`Error::Tampered`], [`Error::UnsafeRules`],
    /// [`Error::UnsafeInfo`], [`Error::Cancelled`], [`Error::Busy`], [`Error::Io`] and [`Error::Git`]. There is no new checkpoint then.
    pub fn checkpoint(&self, kind: CheckpointKind, label: &str, cancel: &AtomicBool) -> Result<Checkpoint> {
        let (_lock, record) = self.enter(cancel)?;
        take::take(&self.project, &record, kind, label, &HashSet::new(), cancel)
    }

    /// Brings the files back to a checkpoint, of this worktree or another of the project. Takes a checkpoint
    /// first, so that it can be undone. Files that rules ignore and repositories inside the worktree stay;
    /// the agent's `HEAD` and index stay, too.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint), [`Error::NoCheckpoint`], and [`Error::RestoreIncomplete`] if
    /// something stood in the way; then a part may have been restored.
    pub fn restore(&self, to: &CheckpointId, cancel: &AtomicBool) -> Result<RestoreReport> {
        let target = self.project.checkpoint(to)?;
        let (_lock, record) = self.enter(cancel)?;
        restore::restore(&self.project, record, &target, cancel)
    }

    /// What changed since `from`: takes a checkpoint and compares with that. Empty if nothing did.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint), [`Error::NoCheckpoint`] and [`Error::NoCommit`] for `from`.
    pub fn diff(
        &self,
        from: &BaseRef,
        kind: CheckpointKind,
        label: &str,
        cancel: &AtomicBool,
    ) -> Result<ChangeSet> {
        let base = self.resolve(from)?;
        let checkpoint = self.checkpoint(kind, label, cancel)?;
        self.project.change_set(base, checkpoint.tree, Some(checkpoint.id), cancel)
    }

    /// Saves everything in a final checkpoint, then removes the worktree. Its checkpoints stay, and
    /// [`Project::create`] brings it back. Repeatable.
    ///
    /// # Errors
    /// [`Error::FinalCheckpoint`] if its content could not be saved: the worktree is kept. [`Error::Busy`],
    /// [`Error::Cancelled`], [`Error::Io`].
    pub fn remove(&self, cancel: &AtomicBool) -> Result<RemovalReceipt> {
        let files = self.project.layout().worktree(&self.record.id);
        let nothing = RemovalReceipt { checkpoint: None, kept: None };
        if Record::load(&files)?.is_none() {
            return Ok(nothing);
        }
        let _lock = lock_worktree(&self.project, &files, cancel)?;
        match Record::load(&files)? {
            Some(record) if record.state == State::Ready => remove::remove(&self.project, record, cancel),
            Some(record) => {
                let kept = remove::finish(&self.project, &record)?;
                Ok(RemovalReceipt { checkpoint: None, kept })
            }
            None => {
                crate::fsio::remove_tree(&files.folder)?;
                Ok(nothing)
            }
        }
    }

    /// Takes the lock and reads the record again: another process may have removed the worktree meanwhile.
    fn enter(&self, cancel: &AtomicBool) -> Result<(Lock, Record)> {
        let files = self.project.layout().worktree(&self.record.id);
        if Record::load(&files)?.is_none() {
            return Err(Error::NoWorktree { owner: self.record.owner.clone() });
        }
        let lock = lock_worktree(&self.project, &files, cancel)?;
        match Record::load(&files)? {
            Some(record) if record.state == State::Ready => {
                admin::verify(&self.project, &record)?;
                Ok((lock, record))
            }
            _ => Err(Error::NoWorktree { owner: self.record.owner.clone() }),
        }
    }

    fn resolve(&self, base: &BaseRef) -> Result<TreeId> {
        match base {
            BaseRef::Captured => Ok(self.record.base_tree),
            BaseRef::Tree(tree) => Ok(*tree),
            BaseRef::Checkpoint(id) => Ok(self.project.checkpoint(id)?.tree),
            BaseRef::Commit(commit) => self.project.tree_of(*commit),
        }
    }
}
