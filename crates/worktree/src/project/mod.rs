//! A project's repository: the way to its worktrees, checkpoints and changes.

pub(crate) mod repository;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use gix::ObjectId;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Checkpoint};
use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::{CheckpointId, CommitId, OwnerId, TreeId, WorktreeId, short_hash};
use crate::layout::ProjectLayout;
use crate::lock::Lock;
use crate::policy::Policy;
use crate::refs;
use crate::state_dir::StateDir;
use crate::worktree::{Base, Kind, Record, Worktree};

/// A git repository that worktrees are made of. Cheap to clone; may be used from many threads and, with the
/// same state directory, from many processes at once.
#[derive(Clone)]
pub struct Project {
    inner: Arc<Inner>,
}

struct Inner {
    state: StateDir,
    repo: gix::ThreadSafeRepository,
    id: String,
    common_dir: PathBuf,
    git_dir: PathBuf,
    checkout: Option<PathBuf>,
    layout: ProjectLayout,
}

/// What a state directory keeps about a project, so that a sweep finds it.
#[derive(Serialize, Deserialize)]
struct ProjectFile {
    /// The repository's common directory; bytes, because a path need not be text.
    common_dir: Vec<u8>,
    /// The checkout that the project was opened at last.
    checkout: Option<Vec<u8>>,
}

impl Project {
    /// Opens the repository that `path` lies in.
    pub(crate) fn open(state: &StateDir, path: &Path) -> Result<Self> {
        use std::os::unix::ffi::OsStrExt;
        let repository::Found { repo, common_dir, git_dir, checkout } =
            repository::find(path, state.policy())?;
        let id = short_hash(common_dir.as_os_str().as_bytes());
        let layout = state.layout().project(&id);
        let file = ProjectFile {
            common_dir: common_dir.as_os_str().as_bytes().to_vec(),
            checkout: checkout.as_ref().map(|p| p.as_os_str().as_bytes().to_vec()),
        };
        let json = serde_json::to_vec(&file).expect("because the record has only plain fields");
        if fsio::read_bounded(&layout.project_file(), 1 << 20)?.as_deref() != Some(&json) {
            fsio::create_private_folder(&layout.records)?;
            fsio::create_private_folder(&layout.checkouts)?;
            fsio::replace(&layout.project_file(), &json)?;
        }
        let inner = Inner { state: state.clone(), repo, id, common_dir, git_dir, checkout, layout };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens a project again from what the state directory knows of it.
    pub(crate) fn reopen(state: &StateDir, id: &str) -> Result<Self> {
        let path = state.layout().project(id).project_file();
        let json = fsio::read_bounded(&path, 1 << 20)?.unwrap_or_default();
        let file: ProjectFile =
            serde_json::from_slice(&json).map_err(|source| Error::Record { path, source })?;
        let at = file.checkout.filter(|p| fsio::os_path(p).is_dir()).unwrap_or(file.common_dir);
        Self::open(state, fsio::os_path(&at))
    }

    /// The root of the user's checkout; none if the repository is bare.
    pub fn root(&self) -> Option<&Path> {
        self.inner.checkout.as_deref()
    }

    /// The folder that all of the repository's worktrees share: `.git`, or the bare repository itself.
    pub fn common_dir(&self) -> &Path {
        &self.inner.common_dir
    }

    /// Gives `owner` a worktree that starts from `base`: a detached checkout, outside of the repository.
    ///
    /// Repeatable: the same owner gets the same worktree and base commit again, also after a crash, whatever
    /// `base` is by then. What a crash left half made is made anew; a worktree that has been removed or lost
    /// comes back with the content of its last checkpoint.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once `cancel` is raised; nothing is left behind then. [`Error::NoCommit`] if the base
    /// is not in the repository. [`Error::Tampered`] if the existing worktree cannot be trusted.
    pub fn create(&self, owner: &OwnerId, base: Base, kind: Kind, cancel: &AtomicBool) -> Result<Worktree> {
        crate::worktree::create(self, owner, base, kind, cancel)
    }

    /// [`create`](Self::create) for a session: such a worktree is never removed by a sweep.
    ///
    /// # Errors
    /// As `create`.
    pub fn ensure_session(&self, owner: &OwnerId, base: Base, cancel: &AtomicBool) -> Result<Worktree> {
        self.create(owner, base, Kind::Session, cancel)
    }

    /// The owner's worktree, if it is there and complete.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Record`] if that cannot be found out.
    pub fn find(&self, owner: &OwnerId) -> Result<Option<Worktree>> {
        match self.open_worktree(&self.worktree_id(owner)) {
            Ok(worktree) => Ok(Some(worktree)),
            Err(Error::NoWorktree { .. } | Error::CheckoutMissing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The worktree with this id.
    ///
    /// # Errors
    /// [`Error::NoWorktree`] if there is none, [`Error::CheckoutMissing`] if only its folder is gone.
    pub fn open_worktree(&self, id: &WorktreeId) -> Result<Worktree> {
        crate::worktree::open(self, id)
    }

    /// The id that the owner's worktree has or would have.
    pub fn worktree_id(&self, owner: &OwnerId) -> WorktreeId {
        WorktreeId::derive([self.inner.state.id(), &self.inner.id, owner.as_str()])
    }

    /// The checkpoints of an owner's worktree, oldest first, also after it was removed. Read from the repository
    /// alone, so that lost database rows can be made again. A ref among them that leads to no checkpoint is logged
    /// and passed over.
    ///
    /// # Errors
    /// [`Error::Git`] if the repository cannot be read.
    pub fn checkpoints(&self, owner: &OwnerId) -> Result<Vec<Checkpoint>> {
        self.checkpoints_of(&self.worktree_id(owner))
    }

    /// Like [`checkpoints`](Self::checkpoints), for a worktree whose owner is not known.
    ///
    /// # Errors
    /// [`Error::Git`] if the repository cannot be read.
    pub fn checkpoints_of(&self, id: &WorktreeId) -> Result<Vec<Checkpoint>> {
        checkpoint::all(self, &self.repo(), id)
    }

    /// One checkpoint, by its id.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if its ref does not lead to its commit.
    pub fn checkpoint(&self, id: &CheckpointId) -> Result<Checkpoint> {
        let repo = self.repo();
        let missing = || Error::NoCheckpoint { id: id.clone() };
        if !id.reference.starts_with(refs::ALL) {
            return Err(missing());
        }
        let found = repo.try_find_reference(id.reference.as_str()).map_err(|_| missing())?;
        match found.and_then(|r| r.try_id().map(gix::Id::detach)) {
            Some(commit) if commit == id.commit.0 => checkpoint::read(self, &repo, id),
            _ => Err(missing()),
        }
    }

    pub(crate) fn repo(&self) -> gix::Repository {
        let mut repo = self.inner.repo.to_thread_local();
        repo.object_cache_size_if_unset(8 << 20);
        repo
    }

    /// The repository, for what looks at rules and attributes, as all that reads or writes files does.
    pub(crate) fn repo_with_rules(&self) -> Result<gix::Repository> {
        repository::check_info(self.common_dir())?;
        Ok(self.repo())
    }

    /// The repository with the worktree's checkout in place of the user's.
    pub(crate) fn worktree_repo(&self, record: &Record) -> Result<gix::Repository> {
        let checkout = self.layout().worktree(&record.id).checkout;
        let mut repo = self.repo_with_rules()?;
        match repo.set_workdir(checkout.clone()) {
            Ok(_) => Ok(repo),
            Err(_) if !checkout.exists() => Err(Error::CheckoutMissing { path: checkout }),
            Err(error) => Err(self.git_error("enter the worktree", error)),
        }
    }

    pub(crate) fn tree_of(&self, commit: CommitId) -> Result<TreeId> {
        let missing = || Error::NoCommit { commit, path: self.common_dir().to_owned() };
        let repo = self.repo();
        let commit = repo.find_commit(commit.0).map_err(|_| missing())?;
        commit.tree_id().map(|id| TreeId(id.detach())).map_err(|e| self.git_error("read a commit's tree", e))
    }

    pub(crate) fn git_dir(&self) -> &Path {
        &self.inner.git_dir
    }

    pub(crate) fn state(&self) -> &StateDir {
        &self.inner.state
    }

    pub(crate) fn layout(&self) -> &ProjectLayout {
        &self.inner.layout
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.inner.state.policy()
    }

    pub(crate) fn git_error<E>(&self, doing: &'static str, source: E) -> Error
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        repository::git_error(&self.inner.common_dir, doing)(source)
    }

    /// Serialises what concerns the whole repository: registrations and applied changes.
    pub(crate) fn lock(&self, cancel: &AtomicBool) -> Result<Lock> {
        Lock::folder(&self.inner.common_dir, self.policy().lock_wait, cancel)
    }

    /// Writes a commit of ours. Returns it with its time in seconds since 1970.
    pub(crate) fn write_commit(
        &self,
        repo: &gix::Repository,
        tree: ObjectId,
        parents: &[ObjectId],
        message: &str,
    ) -> Result<(ObjectId, i64)> {
        let seconds =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let commit = self.write_commit_at(repo, tree, parents, message, seconds)?;
        Ok((commit, seconds))
    }

    /// Like [`write_commit`](Self::write_commit); the same arguments always make the same commit.
    pub(crate) fn write_commit_at(
        &self,
        repo: &gix::Repository,
        tree: ObjectId,
        parents: &[ObjectId],
        message: &str,
        seconds: i64,
    ) -> Result<ObjectId> {
        let who = gix::actor::Signature {
            name: "boocoder".into(),
            email: "boocoder@localhost".into(),
            time: gix::date::Time { seconds, offset: 0 },
        };
        let commit = gix::objs::Commit {
            tree,
            parents: parents.iter().copied().collect(),
            author: who.clone(),
            committer: who,
            encoding: None,
            message: message.into(),
            extra_headers: Vec::new(),
        };
        let id = repo.write_object(&commit).map_err(|e| self.git_error("write a commit", e))?;
        Ok(id.detach())
    }
}

impl std::fmt::Debug for Project {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Project").field("common_dir", &self.inner.common_dir).finish_non_exhaustive()
    }
}
