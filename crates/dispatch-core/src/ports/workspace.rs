//! Where a turn works: worktrees, checkpoints and changes.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;

use crate::{
    agent::Failure,
    change::{ChangeDraft, CheckpointKind, Snapshot},
    ids::{SessionId, TaskId},
    task::TerminalReason,
};

/// A flag that asks a long operation to give up. It can only be raised.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Asks to give up.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether giving up was asked for.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The flag as synchronous code wants it.
    #[must_use]
    pub fn as_atomic(&self) -> &AtomicBool {
        &self.0
    }
}

/// Whose worktree it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkspaceOwner {
    /// One task's, removed after its turn.
    Task(TaskId),
    /// A session's, kept.
    Session(SessionId),
}

impl fmt::Display for WorkspaceOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => write!(f, "task-{id}"),
            Self::Session(id) => write!(f, "session-{id}"),
        }
    }
}

/// Which worktree a turn needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceSpec {
    /// The project's repository.
    pub project: PathBuf,
    /// Whose worktree it is.
    pub owner: WorkspaceOwner,
}

/// A worktree that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceInfo {
    /// Its id in the workspace's word.
    pub id: String,
    /// Its top folder.
    pub path: PathBuf,
    /// The commit that it was made from.
    pub base_commit: String,
}

/// What is to become of a worktree after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It stays.
    Keep,
    /// It is removed after a final checkpoint.
    Remove,
}

/// What a turn did to its worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The `after` checkpoint.
    pub after: Snapshot,
    /// What the worktree differs from its base in; `None` when it does not.
    pub draft: Option<ChangeDraft>,
}

/// Why a workspace operation failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The cancel flag was raised; nothing is left behind.
    #[error("cancelled")]
    Cancelled,
    /// The project is not (or no longer) a usable repository.
    #[error("{0}")]
    BadProject(String),
    /// Anything else, with the adapter's error as its source.
    #[error("{doing}: {source}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The adapter's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl WorkspaceError {
    /// The error as the failure of a turn.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let reason = match &self {
            Self::BadProject(_) => TerminalReason::NoProject,
            Self::Cancelled | Self::Failed { .. } => TerminalReason::NoWorktree,
        };
        Failure::new(reason, self.to_string())
    }
}

/// Makes, saves, compares and removes worktrees. Every operation is safe to repeat.
#[async_trait]
pub trait Workspace: Send + Sync {
    /// Makes the worktree, or finds the one that its owner has; the same base commit for ever.
    ///
    /// # Errors
    /// [`WorkspaceError::Cancelled`] once the flag is raised, with nothing left behind.
    async fn prepare(
        &self,
        spec: &WorkspaceSpec,
        cancel: &CancelFlag,
    ) -> Result<WorkspaceInfo, WorkspaceError>;

    /// Saves the whole worktree. Its index, branch and files are not touched.
    ///
    /// # Errors
    /// When it cannot be saved; earlier checkpoints are intact.
    async fn checkpoint(
        &self,
        spec: &WorkspaceSpec,
        kind: CheckpointKind,
        label: &str,
        cancel: &CancelFlag,
    ) -> Result<Snapshot, WorkspaceError>;

    /// Takes an `after` checkpoint and computes what changed against a tree, or against the base where none is given.
    ///
    /// # Errors
    /// When it cannot be computed; the worktree is as it was.
    async fn collect(
        &self,
        spec: &WorkspaceSpec,
        against: Option<&str>,
        label: &str,
        cancel: &CancelFlag,
    ) -> Result<Collected, WorkspaceError>;

    /// Gives the worktree back: removes it after a final checkpoint, which it returns, or leaves it.
    ///
    /// # Errors
    /// When it cannot be removed, or not be saved first; it is kept then.
    async fn release(&self, spec: &WorkspaceSpec, how: Release) -> Result<Option<Snapshot>, WorkspaceError>;
}
