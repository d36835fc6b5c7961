//! Which files have to change, and whether something that nobody knows of is in their way.

use std::collections::HashSet;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::diff::tree_with_rewrites::Change;
use gix::objs::tree::{EntryKind, EntryMode};

use super::checkout::{Checkout, OnDisk};
use super::{ApplyError, Conflict, ConflictKind};
use crate::change::diff;
use crate::error::Result;
use crate::fsio;
use crate::ids::BlobId;
use crate::project::Project;

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) path: BString,
    pub(super) old: Option<(ObjectId, EntryMode)>,
    pub(super) new: Option<(ObjectId, EntryMode)>,
}

/// The steps from one tree to another; deletions come first, because a file may stand where a folder must be.
/// The same trees always give the same steps in the same order.
pub(super) fn steps(
    project: &Project,
    repo: &gix::Repository,
    from: ObjectId,
    to: ObjectId,
) -> Result<Vec<Step>> {
    let changes = diff::raw(project, repo, from, to, false)?;
    let mut steps: Vec<Step> = changes
        .into_iter()
        .map(|change| match change {
            Change::Addition { location, entry_mode, id, .. } => {
                Step { path: location, old: None, new: Some((id, entry_mode)) }
            }
            Change::Deletion { location, entry_mode, id, .. } => {
                Step { path: location, old: Some((id, entry_mode)), new: None }
            }
            Change::Modification { location, previous_entry_mode, previous_id, entry_mode, id }
            | Change::Rewrite {
                location,
                source_entry_mode: previous_entry_mode,
                source_id: previous_id,
                entry_mode,
                id,
                ..
            } => Step {
                path: location,
                old: Some((previous_id, previous_entry_mode)),
                new: Some((id, entry_mode)),
            },
        })
        .collect();
    steps.sort_by_key(|step| step.new.is_some());
    Ok(steps)
}

/// Fails with everything that is in the way.
pub(super) fn check(checkout: &mut Checkout<'_>, steps: &[Step]) -> Result<(), ApplyError> {
    let gone: HashSet<&BStr> = steps.iter().filter(|s| s.new.is_none()).map(|s| s.path.as_bstr()).collect();
    let mut conflicts = Vec::new();
    for step in steps {
        let submodule =
            |side: Option<(_, EntryMode)>| side.is_some_and(|(_, m)| m.kind() == EntryKind::Commit);
        let kind = if submodule(step.old) || submodule(step.new) {
            Some(ConflictKind::Submodule)
        } else if step.old.is_none() && is_obstructed(checkout, step.path.as_bstr(), &gone)? {
            Some(ConflictKind::Untracked)
        } else {
            None
        };
        if let Some(kind) = kind {
            let id = |side: Option<(ObjectId, _)>| side.map(|(id, _)| BlobId(id));
            let path = step.path.as_bstr().into();
            conflicts.push(Conflict { path, kind, base: None, ours: id(step.old), theirs: id(step.new) });
        }
    }
    if conflicts.is_empty() { Ok(()) } else { Err(ApplyError::Conflicts(conflicts)) }
}

fn is_obstructed(checkout: &mut Checkout<'_>, path: &BStr, gone: &HashSet<&BStr>) -> Result<bool> {
    for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
        let folder = path[..at].as_bstr();
        match checkout.look(folder, false)? {
            OnDisk::Nothing => return Ok(false),
            OnDisk::Folder => {}
            _ if gone.contains(folder) => return Ok(false),
            _ => return Ok(true),
        }
    }
    match checkout.look(path, false)? {
        OnDisk::Nothing => Ok(false),
        OnDisk::Folder => holds_others(checkout, path, gone),
        _ => Ok(true),
    }
}

/// Whether a folder that must make way holds anything but files that the change deletes.
fn holds_others(checkout: &mut Checkout<'_>, path: &BStr, gone: &HashSet<&BStr>) -> Result<bool> {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(Some(parent)) = fsio::open_parent(&checkout.root, &folder) else { return Ok(true) };
        let Ok(opened) = fsio::open_subfolder(&parent, fsio::split(&folder).1) else { return Ok(true) };
        let Ok(names) = fsio::names(&opened) else { return Ok(true) };
        for name in names {
            let child = BString::from([folder.as_slice(), b"/", &name].concat());
            match checkout.look(child.as_bstr(), false)? {
                OnDisk::Folder => folders.push(child),
                _ if gone.contains(child.as_bstr()) => {}
                _ => return Ok(true),
            }
        }
    }
    Ok(false)
}
