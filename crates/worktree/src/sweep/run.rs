//! The sweep itself.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{SweepFailure, SweepReport, Swept, SweptHow};
use crate::apply::{self, JournalState};
use crate::checkpoint::restore;
use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::{OwnerId, WorktreeId};
use crate::lock::{self, Lock};
use crate::project::Project;
use crate::refs;
use crate::state_dir::StateDir;
use crate::worktree::{Kind, Record, State, remove};

pub(super) fn sweep(
    state: &StateDir,
    live: &dyn Fn(&OwnerId) -> bool,
    cancel: &AtomicBool,
) -> Result<SweepReport> {
    let mut report = SweepReport::default();
    for id in names_in(&state.layout().projects())? {
        lock::check(cancel)?;
        let swept = Project::reopen(state, &id).and_then(|p| sweep_project(&p, live, cancel, &mut report));
        note(&mut report, &state.layout().project(&id).records, swept)?;
    }
    for name in names_in(&state.layout().trash())? {
        lock::check(cancel)?;
        let path = state.layout().trash().join(name);
        let emptied = fsio::remove_tree(&path);
        note(&mut report, &path, emptied)?;
    }
    Ok(report)
}

/// The names in a folder of ours, sorted.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let failed = |e| Error::io("list", folder, e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// The worktrees that a project has records of.
pub(super) fn worktrees_of(project: &Project) -> Result<Vec<WorktreeId>> {
    Ok(names_in(&project.layout().records)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// One failure must not keep the sweep from the rest.
fn note(report: &mut SweepReport, path: &Path, outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(error) => {
            report.failed.push(SweepFailure { path: path.to_owned(), error });
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn sweep_project(
    project: &Project,
    live: &dyn Fn(&OwnerId) -> bool,
    cancel: &AtomicBool,
    report: &mut SweepReport,
) -> Result<()> {
    for id in worktrees_of(project)? {
        lock::check(cancel)?;
        let files = project.layout().worktree(&id);
        let swept = match Lock::file(&files.lock(), Duration::ZERO, cancel) {
            Ok(_lock) => sweep_worktree(project, &id, live, cancel),
            Err(Error::Busy { .. }) => {
                report.in_use += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        };
        let swept = swept.map(|swept| report.worktrees.extend(swept));
        note(report, &files.checkout, swept)?;
    }
    let unfinished: Vec<_> =
        apply::journals(project)?.into_iter().filter(|j| j.state == JournalState::Writing).collect();
    if unfinished.is_empty() {
        return Ok(());
    }
    let _lock = project.lock(cancel)?;
    for journal in apply::journals(project)?.into_iter().filter(|j| j.state == JournalState::Writing) {
        let path: PathBuf = journal.checkout();
        let recovered = apply::recover(project, journal).map(|recovered| report.applied.push(recovered));
        note(report, &path, recovered)?;
    }
    Ok(())
}

fn sweep_worktree(
    project: &Project,
    id: &WorktreeId,
    live: &dyn Fn(&OwnerId) -> bool,
    cancel: &AtomicBool,
) -> Result<Option<Swept>> {
    let files = project.layout().worktree(id);
    let Some(record) = Record::load(&files)? else {
        if files.checkout.symlink_metadata().is_err() {
            fsio::remove_tree(&files.folder)?;
        }
        return Ok(None);
    };
    let owner = record.owner.clone();
    let what = match record.state {
        // Its owner will ask for it again and find its base commit in the record.
        State::Creating if live(&owner) => return Ok(None),
        State::Creating => {
            discard(project, id)?;
            SweptHow::Discarded
        }
        State::Removing => {
            remove::finish(project, &record)?;
            SweptHow::RemovalCompleted
        }
        State::Ready if record.kind == Kind::Task && !live(&owner) => {
            let receipt = remove::remove(project, record, cancel)?;
            SweptHow::Removed { checkpoint: receipt.checkpoint.map(Box::new), kept: receipt.kept }
        }
        State::Ready => match record.restoring {
            Some(commit) => {
                let target = project.checkpoints_of(id)?.into_iter().find(|c| c.id.commit == commit);
                let Some(target) = target else {
                    return Err(Error::NoCommit { commit, path: project.common_dir().to_owned() });
                };
                let restored = restore::restore(project, record, &target, cancel)?;
                SweptHow::RestoreCompleted { kept: restored.kept }
            }
            None => return Ok(None),
        },
    };
    tracing::info!(worktree = %id, owner = %owner, what = ?what, "swept");
    Ok(Some(Swept { owner, path: files.checkout, what }))
}

/// Nobody has worked in it. Its base stays if checkpoints of an earlier life need it.
fn discard(project: &Project, id: &WorktreeId) -> Result<()> {
    remove::discard(project, id)?;
    let repo = project.repo();
    if crate::checkpoint::last(project, &repo, id)?.is_none() {
        refs::delete(project, &repo, &[refs::base(id)])?;
    }
    fsio::remove_tree(&project.layout().worktree(id).folder)
}
