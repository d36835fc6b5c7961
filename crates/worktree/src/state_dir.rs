//! The state directory: everything that is kept outside of the users' repositories.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::random_hex;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::policy::Policy;
use crate::project::Project;

/// The entry point: worktrees of any number of projects, kept below one state directory.
#[derive(Debug, Clone)]
pub struct Worktrees {
    pub(crate) state: StateDir,
}

impl Worktrees {
    /// Opens the state directory, creating it if need be. Nothing is cleaned up: see
    /// [`sweep`](Self::sweep).
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be created or written.
    pub fn open(state_dir: &Path, policy: Policy) -> Result<Self> {
        fsio::create_private_folder(state_dir)?;
        let root = std::fs::canonicalize(state_dir).map_err(|e| Error::io("examine", state_dir, e))?;
        let layout = Layout { root };
        for folder in [layout.projects(), layout.trash(), layout.kept()] {
            fsio::create_private_folder(&folder)?;
        }
        let id = state_id(&layout, &policy)?;
        Ok(Self { state: StateDir { inner: Arc::new(Inner { layout, policy, id }) } })
    }

    /// The project whose repository `path` lies in: a checkout, a folder below it, a linked worktree or a bare
    /// repository.
    ///
    /// # Errors
    /// [`Error::PathMissing`], [`Error::NotARepository`], [`Error::Reftable`], [`Error::ForeignOwner`], each with
    /// advice for the user; [`Error::Git`] for a repository that cannot be read.
    pub fn project(&self, path: &Path) -> Result<Project> {
        Project::open(&self.state, path)
    }
}

/// What all handles share.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    policy: Policy,
    id: String,
}

impl StateDir {
    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }
    pub(crate) fn policy(&self) -> &Policy {
        &self.inner.policy
    }
    pub(crate) fn id(&self) -> &str {
        &self.inner.id
    }
}

/// A state directory that was deleted and made again gets another id: its owners' numbers may start over, and
/// must not find the worktrees of their predecessors.
fn state_id(layout: &Layout, policy: &Policy) -> Result<String> {
    let path = layout.id_file();
    let read = || -> Result<Option<String>> {
        let bytes = fsio::read_bounded(&path, 100)?;
        Ok(bytes
            .and_then(|b| String::from_utf8(b).ok())
            .map(|s| s.trim().to_owned())
            .filter(|s| s.len() == 32))
    };
    if let Some(id) = read()? {
        return Ok(id);
    }
    let _lock = Lock::folder(&layout.root, policy.lock_wait, &AtomicBool::new(false))?;
    if let Some(id) = read()? {
        return Ok(id);
    }
    let id = random_hex()?;
    fsio::replace(&path, format!("{id}\n").as_bytes())?;
    Ok(id)
}
