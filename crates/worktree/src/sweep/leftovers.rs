//! Saying what is left, without touching it.

use gix::bstr::ByteSlice;

use super::Leftover;
use super::run::{names_in, worktrees_of};
use crate::apply::{self, JournalState};
use crate::error::Result;
use crate::fsio;
use crate::ids::WorktreeId;
use crate::project::Project;
use crate::state_dir::StateDir;
use crate::worktree::{Record, State};

pub(super) fn list(state: &StateDir) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for id in names_in(&state.layout().projects())? {
        let listed = Project::reopen(state, &id).and_then(|project| list_project(&project, &mut found));
        if let Err(error) = listed {
            found.push(Leftover::Unreadable {
                path: state.layout().project(&id).records,
                why: error.to_string(),
            });
        }
    }
    let kept = state.layout().kept();
    found.extend(names_in(&kept)?.into_iter().map(|name| Leftover::Kept { path: kept.join(name) }));
    let trash = state.layout().trash();
    found.extend(names_in(&trash)?.into_iter().map(|name| Leftover::Trash { path: trash.join(name) }));
    Ok(found)
}

fn list_project(project: &Project, found: &mut Vec<Leftover>) -> Result<()> {
    for id in worktrees_of(project)? {
        let files = project.layout().worktree(&id);
        let path = files.checkout.clone();
        match Record::load(&files) {
            Ok(Some(Record { owner, state: State::Creating, .. })) => {
                found.push(Leftover::HalfMade { owner, path })
            }
            Ok(Some(Record { owner, state: State::Removing, .. })) => {
                found.push(Leftover::HalfRemoved { owner, path })
            }
            Ok(Some(Record { owner, restoring: Some(_), .. })) => {
                found.push(Leftover::HalfRestored { owner, path })
            }
            Ok(Some(Record { owner, kind, .. })) if !path.is_dir() => {
                found.push(Leftover::CheckoutMissing { owner, kind, path });
            }
            Ok(_) => {}
            Err(error) => found.push(Leftover::Unreadable { path: files.folder, why: error.to_string() }),
        }
    }
    for journal in apply::journals(project)?.into_iter().filter(|j| j.state == JournalState::Writing) {
        found.push(Leftover::HalfApplied { checkout: journal.checkout() });
    }
    orphans(project, found)
}

/// Worktrees that git has registered under our lock and that no record here knows.
fn orphans(project: &Project, found: &mut Vec<Leftover>) -> Result<()> {
    let registered = project.common_dir().join("worktrees");
    if !registered.is_dir() {
        return Ok(());
    }
    for name in names_in(&registered)? {
        let Ok(id) = name.parse::<WorktreeId>() else { continue };
        let admin = registered.join(name);
        let reason = fsio::read_bounded(&admin.join("locked"), 1000).ok().flatten().unwrap_or_default();
        let known = project.layout().worktree(&id).record().exists();
        if known || !reason.starts_with_str(format!("boocoder {id} ")) {
            continue;
        }
        let owner = project.checkpoints_of(&id).ok().and_then(|mut all| all.pop()).map(|last| last.owner);
        found.push(Leftover::Orphan { id, owner, admin });
    }
    Ok(())
}
