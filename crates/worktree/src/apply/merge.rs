//! Merging a change with what the user has.

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::diff::tree_with_rewrites::Change;
use gix::merge::blob::builtin_driver::text::Labels;
use gix::merge::tree::{Conflict as Unmerged, ResolutionFailure as Failure, TreatAsUnresolved};

use super::{ApplyError, Conflict, ConflictKind};
use crate::ids::BlobId;
use crate::project::Project;

/// The tree that both changes together make, or what is against it. Writes objects, nothing else.
pub(super) fn merge(
    project: &Project,
    repo: &gix::Repository,
    base: ObjectId,
    ours: ObjectId,
    theirs: ObjectId,
) -> Result<ObjectId, ApplyError> {
    if ours == base || ours == theirs {
        return Ok(theirs);
    }
    let git = |e: gix::Error| project.git_error("merge the change", e);
    let labels =
        Labels { ancestor: Some("base".into()), current: Some("yours".into()), other: Some("change".into()) };
    let options = repo.tree_merge_options().map_err(git)?;
    let mut outcome = repo.merge_trees(base, ours, theirs, labels, options).map_err(git)?;
    let how = TreatAsUnresolved::git();
    let mut conflicts: Vec<_> =
        outcome.conflicts.iter().filter(|c| c.is_unresolved(how)).map(|c| describe(repo, c)).collect();
    if conflicts.is_empty() {
        return Ok(outcome.tree.write().map_err(git)?.detach());
    }
    conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    conflicts.dedup_by(|a, b| a.path == b.path && a.kind == b.kind);
    Err(ApplyError::Conflicts(conflicts))
}

fn describe(repo: &gix::Repository, conflict: &Unmerged) -> Conflict {
    let [base, ours, theirs] = conflict.entries().map(|entry| entry.map(|e| BlobId(e.id)));
    let kind = match (&conflict.resolution, &conflict.ours, &conflict.theirs) {
        (Err(Failure::SubmoduleMerge | Failure::SubmoduleAddAdd), ..) => ConflictKind::Submodule,
        (_, Change::Deletion { .. }, _) => ConflictKind::DeletedByUser,
        (_, _, Change::Deletion { .. }) => ConflictKind::DeletedByChange,
        (
            Err(
                Failure::OursAddedTheirsAddedTypeMismatch { .. }
                | Failure::OursModifiedTheirsDirectoryThenOursRenamed { .. }
                | Failure::OursDirectoryTheirsNonDirectoryTheirsRenamed { .. }
                | Failure::OursModifiedTheirsRenamedTypeMismatch,
            ),
            ..,
        ) => ConflictKind::Type,
        (Err(Failure::Unknown), ..) => ConflictKind::Type,
        (Err(_), ..) => ConflictKind::Rename,
        (Ok(_), Change::Addition { .. }, Change::Addition { .. }) => ConflictKind::BothAdded,
        (Ok(_), ..) if [ours, theirs].into_iter().flatten().any(|id| is_binary(repo, id)) => {
            ConflictKind::Binary
        }
        (Ok(_), ..) => ConflictKind::Content,
    };
    Conflict { path: conflict.ours.location().as_bstr().into(), kind, base, ours, theirs }
}

fn is_binary(repo: &gix::Repository, id: BlobId) -> bool {
    repo.find_blob(id.0).is_ok_and(|blob| crate::change::is_binary(&blob.data))
}
