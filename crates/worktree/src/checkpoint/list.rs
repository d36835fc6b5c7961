//! Finding a worktree's checkpoints. Agents can make refs, too: what is no checkpoint is passed over.

use crate::error::Result;
use crate::ids::{CheckpointId, CommitId, WorktreeId};
use crate::project::Project;
use crate::refs;

use super::{Checkpoint, trailer};

/// The checkpoints of a worktree, oldest first.
pub(crate) fn all(project: &Project, repo: &gix::Repository, id: &WorktreeId) -> Result<Vec<Checkpoint>> {
    let found = refs::list_checkpoints(project, repo, id)?;
    Ok(found.into_iter().filter_map(|found| readable(project, repo, id, found)).collect())
}

/// The newest checkpoint of a worktree.
pub(crate) fn last(project: &Project, repo: &gix::Repository, id: &WorktreeId) -> Result<Option<Checkpoint>> {
    let found = refs::list_checkpoints(project, repo, id)?;
    Ok(found.into_iter().rev().find_map(|found| readable(project, repo, id, found)))
}

fn readable(
    project: &Project,
    repo: &gix::Repository,
    worktree: &WorktreeId,
    (number, reference, commit): (u64, String, gix::ObjectId),
) -> Option<Checkpoint> {
    let id = CheckpointId { commit: CommitId(commit), reference };
    match trailer::read(project, repo, &id) {
        Ok(found) if found.sequence == number && found.worktree == *worktree => Some(found),
        Ok(_) => {
            tracing::warn!(checkpoint = %id, "passed over a ref that leads to another checkpoint");
            None
        }
        Err(error) => {
            tracing::warn!(checkpoint = %id, %error, "passed over a ref that leads to no checkpoint");
            None
        }
    }
}
