//! The files in which two trees differ.

use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::diff::tree_with_rewrites::Change;
use gix::objs::tree::{EntryKind, EntryMode};

use super::hunks;
use super::{ChangeKind, FileChange, FileMode, Side};
use crate::error::Result;
use crate::ids::{BlobId, TreeId};
use crate::lock;
use crate::project::Project;

/// Compares two trees; with `renames`, deleted and added files that are at least half alike become one.
pub(crate) fn raw(
    project: &Project,
    repo: &gix::Repository,
    base: ObjectId,
    result: ObjectId,
    renames: bool,
) -> Result<Vec<Change>> {
    let git = |e: gix::Error| project.git_error("compare two trees", e);
    if base == result {
        return Ok(Vec::new());
    }
    let old = repo.find_tree(base).map_err(git)?;
    let new = repo.find_tree(result).map_err(git)?;
    let options = gix::diff::Options::default().with_rewrites(renames.then(gix::diff::Rewrites::default));
    let changes = repo.diff_tree_to_tree(Some(&old), Some(&new), Some(options)).map_err(git)?;
    let mut changes: Vec<_> = changes
        .into_iter()
        .filter(|change| !change.entry_mode().is_tree() && !change.source_entry_mode_and_id().0.is_tree())
        .collect();
    changes.sort_by(|a, b| a.location().cmp(b.location()));
    Ok(changes)
}

/// The files that differ, with their line counts.
pub(crate) fn files(
    project: &Project,
    base: TreeId,
    result: TreeId,
    cancel: &AtomicBool,
) -> Result<Vec<FileChange>> {
    let repo = project.repo_with_rules()?;
    raw(project, &repo, base.0, result.0, true)?
        .into_iter()
        .map(|change| {
            lock::check(cancel)?;
            count(project, &repo, describe(change))
        })
        .collect()
}

fn count(project: &Project, repo: &gix::Repository, mut file: FileChange) -> Result<FileChange> {
    if file.old.map(|s| s.id) == file.new.map(|s| s.id) {
        return Ok(file);
    }
    let old = hunks::content(project, repo, file.old)?;
    let new = hunks::content(project, repo, file.new)?;
    file.binary = hunks::is_binary(&old) || hunks::is_binary(&new);
    if !file.binary {
        (file.additions, file.deletions) = hunks::count(&old, &new);
    }
    Ok(file)
}

fn describe(change: Change) -> FileChange {
    let file = |path: gix::bstr::BString, kind, old, new, similarity| FileChange {
        path: crate::path::RelPath(path),
        kind,
        binary: false,
        additions: 0,
        deletions: 0,
        old,
        new,
        similarity,
    };
    match change {
        Change::Addition { location, entry_mode, id, .. } => {
            file(location, ChangeKind::Added, None, Some(side(id, entry_mode)), None)
        }
        Change::Deletion { location, entry_mode, id, .. } => {
            file(location, ChangeKind::Deleted, Some(side(id, entry_mode)), None, None)
        }
        Change::Modification { location, previous_entry_mode, previous_id, entry_mode, id } => {
            let (old, new) = (side(previous_id, previous_entry_mode), side(id, entry_mode));
            let kind = match () {
                () if !old.mode.same_type(new.mode) => ChangeKind::TypeChanged,
                () if old.id == new.id => ChangeKind::ModeChanged,
                () => ChangeKind::Modified,
            };
            file(location, kind, Some(old), Some(new), None)
        }
        Change::Rewrite {
            source_location,
            source_entry_mode,
            source_id,
            diff,
            entry_mode,
            id,
            location,
            ..
        } => {
            let (old, new) = (side(source_id, source_entry_mode), side(id, entry_mode));
            let similarity = diff.map_or(100, |d| (d.similarity * 100.0) as u8);
            let kind = ChangeKind::Renamed { from: crate::path::RelPath(source_location) };
            file(location, kind, Some(old), Some(new), Some(similarity))
        }
    }
}

fn side(id: ObjectId, mode: EntryMode) -> Side {
    let mode = match mode.kind() {
        EntryKind::BlobExecutable => FileMode::Executable,
        EntryKind::Link => FileMode::Link,
        EntryKind::Commit => FileMode::Submodule,
        EntryKind::Blob | EntryKind::Tree => FileMode::File,
    };
    Side { id: BlobId(id), mode }
}
