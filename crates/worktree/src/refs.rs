//! Our refs. They are in the repository's common namespace, because git's garbage collection does not honour
//! `refs/worktree/` of another worktree, and they have no reflog.
//!
//! ```text
//! refs/boocoder/<worktree>/base          the commit that the worktree started from
//! refs/boocoder/<worktree>/cp/<number>   a checkpoint, eight digits or more
//! refs/boocoder/applied/<applied>/{before,after}
//! ```

use gix::ObjectId;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit};
use gix::refs::{FullName, Target};

use crate::error::Result;
use crate::ids::{AppliedId, WorktreeId};
use crate::project::Project;

/// How often to try to create a ref while `git pack-refs` or `git gc` are at work.
const ATTEMPTS: u32 = 20;

/// Nobody takes as many checkpoints as this; a greater number is not ours.
const LAST_CHECKPOINT: u64 = 999_999_999;

pub(crate) const ALL: &str = "refs/boocoder/";

pub(crate) fn base(id: &WorktreeId) -> String {
    format!("refs/boocoder/{id}/base")
}

pub(crate) fn checkpoints(id: &WorktreeId) -> String {
    format!("refs/boocoder/{id}/cp/")
}

pub(crate) fn checkpoint(id: &WorktreeId, number: u64) -> String {
    format!("refs/boocoder/{id}/cp/{number:08}")
}

/// The number after that of a checkpoint.
pub(crate) fn number_after(project: &Project, number: u64) -> Result<u64> {
    if number >= LAST_CHECKPOINT {
        return Err(project.git_error("number a checkpoint", "the last number is taken"));
    }
    Ok(number + 1)
}

pub(crate) fn applied(id: &AppliedId, which: &str) -> String {
    format!("refs/boocoder/applied/{id}/{which}")
}

/// Creates a ref of a worktree, whose lock the caller holds, or one with a random name. False if there is one
/// with another target already.
pub(crate) fn create(
    project: &Project,
    repo: &gix::Repository,
    name: &str,
    target: ObjectId,
) -> Result<bool> {
    let edit = RefEdit {
        change: Change::Update {
            log: LogChange::default(),
            expected: PreviousValue::MustNotExist,
            new: Target::Object(target),
        },
        name: full_name(name),
        deref: false,
    };
    let mut attempt = 1;
    loop {
        match repo.edit_references_as([edit.clone()], None) {
            Ok(_) => return Ok(true),
            Err(error) => match read(project, repo, name)? {
                Some(found) => return Ok(found == target),
                None if attempt == ATTEMPTS => return Err(project.git_error("create a ref", error)),
                None => {
                    remove_stale_lock(project, name)?;
                    std::thread::sleep(std::time::Duration::from_millis(u64::from(attempt)));
                    attempt += 1;
                }
            },
        }
    }
}

/// A process that was killed while it wrote a ref of ours leaves git's lock file for ever. The ref does not exist
/// yet, so no git command has a reason to lock it, and whoever creates one of a worktree's refs holds the
/// worktree's lock: it belongs to nobody.
fn remove_stale_lock(project: &Project, name: &str) -> Result<()> {
    crate::fsio::remove_file(&crate::fsio::with_suffix(&project.common_dir().join(name), ".lock"))
}

/// What a ref leads to, if it exists.
pub(crate) fn read(project: &Project, repo: &gix::Repository, name: &str) -> Result<Option<ObjectId>> {
    let found = repo.try_find_reference(name).map_err(|e| project.git_error("read a ref", e))?;
    Ok(found.and_then(|r| r.try_id().map(gix::Id::detach)))
}

/// Deletes a worktree's refs in one go, whose lock the caller holds; those that are not there are fine, and a lock that
/// a killed process left on one goes with it.
pub(crate) fn delete(project: &Project, repo: &gix::Repository, names: &[String]) -> Result<()> {
    let mut edits = Vec::new();
    for name in names {
        if read(project, repo, name)?.is_none() {
            remove_stale_lock(project, name)?;
            continue;
        }
        edits.push(RefEdit {
            change: Change::Delete {
                expected: PreviousValue::Any,
                log: gix::refs::transaction::RefLog::AndReference,
            },
            name: full_name(name),
            deref: false,
        });
    }
    repo.edit_references_as(edits, None).map(drop).map_err(|e| project.git_error("delete refs", e))
}

/// All refs below a prefix that ends in `/`, with their targets, in order of their names.
pub(crate) fn list(
    project: &Project,
    repo: &gix::Repository,
    prefix: &str,
) -> Result<Vec<(String, ObjectId)>> {
    let git = |e: gix::Error| project.git_error("list refs", e);
    let platform = repo.references().map_err(git)?;
    let mut found = Vec::new();
    for reference in platform.prefixed(prefix).map_err(git)? {
        let reference = reference.map_err(|e| project.git_error("list refs", e))?;
        if let (Ok(name), Some(id)) = (std::str::from_utf8(reference.name().as_bstr()), reference.try_id()) {
            found.push((name.to_owned(), id.detach()));
        }
    }
    Ok(found)
}

/// What are, by their names, the checkpoints of a worktree: with their numbers, oldest first.
pub(crate) fn list_checkpoints(
    project: &Project,
    repo: &gix::Repository,
    id: &WorktreeId,
) -> Result<Vec<(u64, String, ObjectId)>> {
    let prefix = checkpoints(id);
    let mut found: Vec<_> = list(project, repo, &prefix)?
        .into_iter()
        .filter_map(|(name, target)| Some((name.strip_prefix(&prefix)?.parse().ok()?, name, target)))
        .filter(|(number, name, _)| *number <= LAST_CHECKPOINT && *name == checkpoint(id, *number))
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn full_name(name: &str) -> FullName {
    name.try_into().expect("because our ref names are made of hexadecimal digits and fixed words")
}
