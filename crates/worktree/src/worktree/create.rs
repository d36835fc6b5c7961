//! Making a worktree, or finding the one that was made.

use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::index::entry::Mode;

use super::handle::Worktree;
use super::{Kind, Record, State, admin, remove};
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::{CommitId, OwnerId, WorktreeId};
use crate::index::{self, PrivateIndex};
use crate::layout::{self, WorktreeLayout};
use crate::lock::{self, Lock};
use crate::project::Project;
use crate::refs;

/// What a new worktree starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The commit that the project's `HEAD` leads to now. What the user has changed since is not in it. In a
    /// repository without commits, an empty commit that only our ref leads to.
    Head,
    /// This commit.
    Commit(CommitId),
}

pub(crate) fn create(
    project: &Project,
    owner: &OwnerId,
    base: Base,
    kind: Kind,
    cancel: &AtomicBool,
) -> Result<Worktree> {
    let id = project.worktree_id(owner);
    let files = project.layout().worktree(&id);
    let lock = lock_worktree(project, &files, cancel)?;
    let found = match Record::load(&files)? {
        Some(record) if record.state == State::Ready => match admin::verify(project, &record) {
            Ok(()) => return Ok(Worktree::new(project, record)),
            Err(Error::CheckoutMissing { .. }) => Some(record),
            Err(error) => return Err(error),
        },
        Some(record) if record.state == State::Removing => {
            remove::finish(project, &record)?;
            drop(lock);
            return create(project, owner, base, kind, cancel);
        }
        other => other,
    };
    let is_first = found.is_none() && refs::read(project, &project.repo(), &refs::base(&id))?.is_none();
    let made = make(project, &id, owner, base, kind, found, cancel);
    if made.is_err() {
        undo(project, &id, is_first);
    }
    drop(lock);
    made.map(|record| Worktree::new(project, record))
}

/// Takes the lock of one worktree.
pub(crate) fn lock_worktree(project: &Project, files: &WorktreeLayout, cancel: &AtomicBool) -> Result<Lock> {
    loop {
        fsio::create_private_folder(&files.folder)?;
        match Lock::file(&files.lock(), project.policy().lock_wait, cancel) {
            // Its last holder removed the folder.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                lock::check(cancel)?
            }
            other => return other,
        }
    }
}

fn make(
    project: &Project,
    id: &WorktreeId,
    owner: &OwnerId,
    base: Base,
    kind: Kind,
    found: Option<Record>,
    cancel: &AtomicBool,
) -> Result<Record> {
    lock::check(cancel)?;
    let files = project.layout().worktree(id);
    let repo = project.repo_with_rules()?;
    let base_commit = match (&found, refs::read(project, &repo, &refs::base(id))?) {
        (Some(record), _) => record.base_commit,
        (None, Some(commit)) => CommitId(commit),
        (None, None) => resolve(project, &repo, base)?,
    };
    let base_tree = project.tree_of(base_commit)?;
    let mut record = Record {
        id: id.clone(),
        owner: owner.clone(),
        kind,
        state: State::Creating,
        base_commit,
        base_tree,
        restoring: None,
        keep: false,
    };
    record.store(&files)?;
    refs::create(project, &repo, &refs::base(id), base_commit.0)?;
    remove::discard(project, id)?;

    let start = Start::find(project, &repo, &record)?;
    check_out(project, &repo, &record, &start, cancel)?;
    record.state = State::Ready;
    record.store(&files)?;
    tracing::debug!(worktree = %id, owner = %owner, base = %base_commit, "worktree ready");
    Ok(record)
}

/// Takes back what [`make`] began. Failing at that is left to the sweep.
fn undo(project: &Project, id: &WorktreeId, is_first: bool) {
    let files = project.layout().worktree(id);
    let undone = remove::discard(project, id).and_then(|()| {
        if is_first {
            refs::delete(project, &project.repo(), &[refs::base(id)])?;
        }
        fsio::remove_tree(&files.folder)
    });
    if let Err(error) = undone {
        tracing::warn!(worktree = %id, %error, "failed to remove a half-made worktree, left to the next sweep");
    }
}

fn resolve(project: &Project, repo: &gix::Repository, base: Base) -> Result<CommitId> {
    match base {
        Base::Commit(commit) => match repo.find_commit(commit.0) {
            Ok(_) => Ok(commit),
            Err(_) => Err(Error::NoCommit { commit, path: project.common_dir().to_owned() }),
        },
        Base::Head => {
            let mut head = repo.head().map_err(|e| project.git_error("read HEAD", e))?;
            if head.is_unborn() {
                let tree = repo.empty_tree().id;
                let tree = repo.write_object(gix::objs::Tree::empty()).map_or(tree, gix::Id::detach);
                return project.write_commit_at(repo, tree, &[], "an empty start\n", 0).map(CommitId);
            }
            let commit = head.peel_to_commit().map_err(|e| project.git_error("read HEAD's commit", e))?;
            Ok(CommitId(commit.id))
        }
    }
}

/// What the new checkout shall hold.
struct Start {
    /// The commit that `HEAD` is detached on.
    head: ObjectId,
    head_tree: ObjectId,
    /// The files.
    tree: ObjectId,
}

impl Start {
    /// The last checkpoint where there is one, else the base.
    fn find(project: &Project, repo: &gix::Repository, record: &Record) -> Result<Self> {
        let base =
            Self { head: record.base_commit.0, head_tree: record.base_tree.0, tree: record.base_tree.0 };
        let Some(last) = checkpoint::last(project, repo, &record.id)? else {
            return Ok(base);
        };
        let head = last.head.unwrap_or(record.base_commit);
        Ok(Self { head: head.0, head_tree: project.tree_of(head)?.0, tree: last.tree.0 })
    }
}

fn check_out(
    project: &Project,
    repo: &gix::Repository,
    record: &Record,
    start: &Start,
    cancel: &AtomicBool,
) -> Result<()> {
    let files = project.layout().worktree(&record.id);
    let git = |e: gix::Error| project.git_error("check out the worktree", e);
    std::fs::create_dir(&files.checkout).map_err(|e| Error::io("create", &files.checkout, e))?;
    let mut seed = PrivateIndex::from_tree(repo, start.tree).map_err(git)?;
    write_files(project, repo, &files, &mut seed, cancel)?;
    admin::register(project, &record.id, &files.checkout, start.head)?;

    let agent = if start.head_tree == start.tree {
        seed.entries.clone()
    } else {
        let mut of_head = PrivateIndex::from_tree(repo, start.head_tree).map_err(git)?;
        of_head.borrow_stats(&seed.entries);
        of_head.entries
    };
    let admin = layout::admin_dir(project.common_dir(), &record.id);
    let agent_index = admin.join("index");
    let mut file = gix::index::File::from_state(agent, agent_index.clone());
    file.write(gix::index::write::Options::default())
        .map_err(|e| project.git_error("write the worktree's index", e))?;
    if start.tree == record.base_tree.0 && start.head_tree == start.tree {
        // Nothing to learn from it: it holds what the base does.
        seed.agent_index = rustix::fs::lstat(&agent_index).ok().map(|s| index::stat_of(&s));
    }
    seed.as_of = index::clock_of(&files.folder)?;
    seed.store(&files.index())
}

fn write_files(
    project: &Project,
    repo: &gix::Repository,
    files: &WorktreeLayout,
    seed: &mut PrivateIndex,
    cancel: &AtomicBool,
) -> Result<()> {
    let git = |e: gix::Error| project.git_error("check out the worktree", e);
    let mut options =
        repo.checkout_options(gix::worktree::stack::state::attributes::Source::IdMapping).map_err(git)?;
    options.destination_is_initially_empty = true;
    let objects = repo.objects.clone().into_arc().map_err(|e| Error::io("read", project.common_dir(), e))?;
    let outcome = gix::worktree::state::checkout(
        &mut seed.entries,
        &files.checkout,
        objects,
        &gix::progress::Discard,
        &gix::progress::Discard,
        cancel,
        options,
    )
    .map_err(git)?;
    lock::check(cancel)?;
    if let Some(failed) = outcome.errors.into_iter().next() {
        return Err(git(failed.error));
    }
    if let Some(collision) = outcome.collisions.into_iter().next() {
        let path = files.checkout.join(fsio::os_path(&collision.path));
        return Err(Error::io("create", path, std::io::Error::from(collision.error_kind)));
    }
    for entry in seed.entries.entries().iter().filter(|e| e.mode == Mode::COMMIT) {
        let path = files.checkout.join(fsio::os_path(entry.path(&seed.entries)));
        std::fs::create_dir_all(&path).map_err(|e| Error::io("create", &path, e))?;
    }
    Ok(())
}
