//! Bringing a worktree back to a checkpoint.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::diff::tree_with_rewrites::Change;
use gix::objs::tree::EntryMode;
use rustix::fs::AtFlags;

use super::{Checkpoint, CheckpointKind, take};
use crate::change::diff;
use crate::error::{Error, Result};
use crate::fsio;
use crate::index::PrivateIndex;
use crate::lock;
use crate::path::RelPath;
use crate::project::Project;
use crate::worktree::Record;
use crate::writer::Writer;

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The worktree as it was before: restoring this one undoes the restore.
    pub before: Checkpoint,
    /// Files written.
    pub written: usize,
    /// Files deleted.
    pub deleted: usize,
    /// Files that the checkpoint does not hold and its rules ignore: they were left alone.
    pub kept: Vec<RelPath>,
}

/// Restores `target`. The caller holds the worktree's lock. After a crash in the middle the record tells the
/// sweep where the way led.
pub(crate) fn restore(
    project: &Project,
    mut record: Record,
    target: &Checkpoint,
    cancel: &AtomicBool,
) -> Result<RestoreReport> {
    let files = project.layout().worktree(&record.id);
    let repo = project.worktree_repo(&record)?;
    let tracked = new_paths(project, &repo, &record, target)?;
    let label = format!("before restoring checkpoint {}", target.sequence);
    let before = take::take(project, &record, CheckpointKind::PreRestore, &label, &tracked, cancel)?;

    record.restoring = Some(target.id.commit);
    record.store(&files)?;
    let restored = write_and_verify(project, &repo, &record, before, target, cancel);
    // Whoever called knows that it failed; only a crash is the sweep's to continue.
    record.restoring = None;
    record.store(&files)?;
    restored
}

/// Paths of the target that the next checkpoint would not look at if rules ignore them now: what is there
/// must be saved before it is overwritten.
fn new_paths(
    project: &Project,
    repo: &gix::Repository,
    record: &Record,
    target: &Checkpoint,
) -> Result<HashSet<BString>> {
    let known = take::known(project, repo, record)?;
    let changes = diff::raw(project, repo, known.tree, target.tree.0, false)?;
    Ok(changes
        .into_iter()
        .filter_map(|change| match change {
            Change::Addition { location, .. } => Some(location),
            _ => None,
        })
        .collect())
}

fn write_and_verify(
    project: &Project,
    repo: &gix::Repository,
    record: &Record,
    before: Checkpoint,
    target: &Checkpoint,
    cancel: &AtomicBool,
) -> Result<RestoreReport> {
    let files = project.layout().worktree(&record.id);
    let git = |e: gix::Error| project.git_error("read the checkpoint's tree", e);
    let mut index = PrivateIndex::from_tree(repo, target.tree.0).map_err(git)?;
    let mut report = RestoreReport { before, written: 0, deleted: 0, kept: Vec::new() };
    let plan = Plan::new(project, repo, &index, &report.before, target, &mut report.kept)?;
    plan.carry_out(project, repo, &files.checkout, &index, cancel)?;
    (report.written, report.deleted) = (plan.writes.len(), plan.deletes.len());

    // What the pre-restore checkpoint knew holds for the files that are the same.
    let now = take::known(project, repo, record)?;
    index.borrow_stats(&now.entries);
    index.as_of = now.as_of;
    let scanned = take::scan_from(project, repo, record, index, &HashSet::new(), cancel)?;
    if let Some(change) = diff::raw(project, repo, target.tree.0, scanned.index.tree, false)?.first() {
        let path = change.location().into();
        return Err(Error::RestoreIncomplete { worktree: files.checkout, path });
    }
    scanned.index.store(&files.index())?;
    Ok(report)
}

/// What has to be done to the files.
struct Plan {
    deletes: Vec<BString>,
    writes: Vec<(BString, ObjectId, EntryMode)>,
}

impl Plan {
    fn new(
        project: &Project,
        repo: &gix::Repository,
        index: &PrivateIndex,
        before: &Checkpoint,
        target: &Checkpoint,
        kept: &mut Vec<RelPath>,
    ) -> Result<Self> {
        let git = |e: gix::Error| project.git_error("read the checkpoint's rules", e);
        // The target's own rules, from its tree: those on disk are about to change.
        let source = gix::worktree::stack::state::ignore::Source::IdMapping;
        let mut rules = repo.excludes(&index.entries, None, source).map_err(git)?;
        let mut plan = Self { deletes: Vec::new(), writes: Vec::new() };
        for change in diff::raw(project, repo, before.tree.0, target.tree.0, false)? {
            match change {
                Change::Deletion { location, .. } => {
                    let ignored = rules.at_path(fsio::os_path(&location), None).map_err(git)?.is_excluded();
                    if ignored {
                        kept.push(location.as_bstr().into());
                    } else {
                        plan.deletes.push(location);
                    }
                }
                Change::Addition { location, entry_mode, id, .. }
                | Change::Modification { location, entry_mode, id, .. }
                | Change::Rewrite { location, entry_mode, id, .. } => {
                    plan.writes.push((location, id, entry_mode))
                }
            }
        }
        Ok(plan)
    }

    /// Deletes first: a file may stand where a folder must be, or the other way round.
    fn carry_out(
        &self,
        project: &Project,
        repo: &gix::Repository,
        checkout: &Path,
        index: &PrivateIndex,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let root = fsio::open_folder(checkout).map_err(|e| Error::io("open", checkout, e))?;
        let at = |path: &BStr| checkout.join(fsio::os_path(path));
        for path in &self.deletes {
            lock::check(cancel)?;
            delete(&root, path.as_bstr()).map_err(|e| Error::io("remove", at(path.as_bstr()), e))?;
        }
        let mut writer = Writer::new(project, repo, &index.entries)?;
        for (path, id, mode) in &self.writes {
            lock::check(cancel)?;
            let content = writer.on_disk(path.as_bstr(), *id, *mode)?;
            let written = fsio::create_parent(&root, path).map_err(std::io::Error::from).and_then(|folder| {
                let (_, name) = fsio::split(path);
                replace(&folder, name, |temporary| content.write_new(&folder, temporary))
            });
            written.map_err(|e| Error::io("restore", at(path.as_bstr()), e))?;
        }
        Ok(())
    }
}

fn delete(root: &OwnedFd, path: &BStr) -> rustix::io::Result<()> {
    use rustix::io::Errno;
    let Some(folder) = fsio::open_parent(root, path)? else { return Ok(()) };
    let (_, name) = fsio::split(path);
    match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
        // A submodule's folder goes only if nothing is in it.
        Err(Errno::ISDIR) => match rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            other => other?,
        },
        Err(Errno::NOENT) => {}
        other => other?,
    }
    fsio::remove_empty_parents(root, path);
    Ok(())
}

/// Puts something new in place of whatever has the name, at once.
fn replace(
    folder: &OwnedFd,
    name: &[u8],
    write: impl FnOnce(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let temporary = fsio::temporary_name("restore", 0);
    // Left over by a crash.
    let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
    write(&temporary)?;
    let renamed = match rustix::fs::renameat(folder, &temporary, folder, name) {
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => {
            // Only an empty folder is in nobody's way.
            rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
                .and_then(|()| rustix::fs::renameat(folder, &temporary, folder, name))
        }
        other => other,
    };
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty())
            .or_else(|_| rustix::fs::unlinkat(folder, &temporary, AtFlags::REMOVEDIR));
    }
    Ok(renamed?)
}
