//! Removing a worktree: first everything is saved, then one rename takes it away.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::{Record, State, admin};
use crate::checkpoint::{Checkpoint, CheckpointKind, take};
use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::{WorktreeId, random_hex};
use crate::project::Project;

/// What became of a removed worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovalReceipt {
    /// The checkpoint that holds its last content. None if it had been removed before.
    pub checkpoint: Option<Checkpoint>,
    /// Where its folder is now, if it held something that the checkpoint does not, such as a repository inside
    /// it or a file that is too big. It stays there until somebody deletes it.
    pub kept: Option<PathBuf>,
}

/// Takes the final checkpoint and removes the worktree. The caller holds its lock.
pub(crate) fn remove(project: &Project, mut record: Record, cancel: &AtomicBool) -> Result<RemovalReceipt> {
    let files = project.layout().worktree(&record.id);
    let save = || -> Result<Checkpoint> {
        admin::verify(project, &record)?;
        take::take(project, &record, CheckpointKind::Final, "", &HashSet::new(), cancel)
    };
    let checkpoint = match save() {
        Ok(checkpoint) => checkpoint,
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        // Nothing is left that could be saved.
        Err(Error::CheckoutMissing { .. }) => {
            record.state = State::Removing;
            record.store(&files)?;
            let kept = finish(project, &record)?;
            return Ok(RemovalReceipt { checkpoint: None, kept });
        }
        Err(source) => return Err(Error::FinalCheckpoint { path: files.checkout, source: Box::new(source) }),
    };
    record.state = State::Removing;
    record.keep = checkpoint.is_incomplete();
    record.store(&files)?;
    let kept = finish(project, &record)?;
    Ok(RemovalReceipt { checkpoint: Some(checkpoint), kept })
}

/// Goes on with a removal whose final checkpoint is taken. Returns where the folder was kept, if it was.
pub(crate) fn finish(project: &Project, record: &Record) -> Result<Option<PathBuf>> {
    let files = project.layout().worktree(&record.id);
    let mut kept = None;
    if record.keep && files.checkout.symlink_metadata().is_ok() {
        let place = project.state().layout().kept().join(format!("{}-{}", record.id, random_hex()?));
        std::fs::rename(&files.checkout, &place).map_err(|e| Error::io("keep", &files.checkout, e))?;
        tracing::warn!(worktree = %record.id, at = %place.display(), "kept a worktree with content that no checkpoint holds");
        kept = Some(place);
    }
    discard(project, &record.id)?;
    fsio::remove_tree(&files.folder)?;
    Ok(kept)
}

/// Removes the checkout and its registration without looking; the record stays.
pub(crate) fn discard(project: &Project, id: &WorktreeId) -> Result<()> {
    let files = project.layout().worktree(id);
    let mut trashed = None;
    if files.checkout.symlink_metadata().is_ok() {
        let place = project.state().layout().trash().join(format!("{id}-{}", random_hex()?));
        std::fs::rename(&files.checkout, &place)
            .map_err(|e| Error::io("move to the trash", &files.checkout, e))?;
        trashed = Some(place);
    }
    admin::unregister(project, id)?;
    if let Some(place) = trashed
        && let Err(error) = fsio::remove_tree(&place)
    {
        // It no longer counts as a worktree; the sweep tries again.
        tracing::warn!(worktree = %id, %error, "failed to empty the trash");
    }
    Ok(())
}
