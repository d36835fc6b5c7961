//! What can go wrong, said as what, where and what to do.

use std::path::{Path, PathBuf};

use crate::ids::{AppliedId, CheckpointId, CommitId, OwnerId};
use crate::path::RelPath;

/// The result of everything here but [`apply`](crate::Project::apply).
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed operation. The message says what and where; [`Error::advice`] what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is at the project's path.
    #[error("{} does not exist", path.display())]
    PathMissing {
        /// The project's path.
        path: PathBuf,
    },
    /// The project's path is in no git repository.
    #[error("{} is not a git repository", path.display())]
    NotARepository {
        /// The project's path.
        path: PathBuf,
    },
    /// The repository stores its refs in a way that cannot be read yet.
    #[error("the repository at {} stores its refs as reftable, which is not supported", path.display())]
    Reftable {
        /// The repository's common directory.
        path: PathBuf,
    },
    /// The repository belongs to another user, who could make git run programs as this one.
    #[error("the repository at {} belongs to user {uid}, not to you", path.display())]
    ForeignOwner {
        /// What belongs to somebody else.
        path: PathBuf,
        /// The numeric id of its owner.
        uid: u32,
    },
    /// A bare repository has no checkout that a change could be applied to.
    #[error("the repository at {} is bare: it has no checkout to apply a change to", path.display())]
    Bare {
        /// The repository's common directory.
        path: PathBuf,
    },
    /// No worktree belongs to this owner (any more).
    #[error("no worktree belongs to {owner}")]
    NoWorktree {
        /// The owner that was asked for.
        owner: OwnerId,
    },
    /// The folder of the worktree is gone.
    #[error("the worktree {} is gone", path.display())]
    CheckoutMissing {
        /// Where it was.
        path: PathBuf,
    },
    /// Somebody changed the files that tie the worktree to its repository.
    #[error("the worktree {} is no longer tied to its repository: {what}", path.display())]
    Tampered {
        /// The worktree's folder.
        path: PathBuf,
        /// What does not match.
        what: &'static str,
    },
    /// A `.gitignore` or `.gitattributes` that cannot be read safely.
    #[error("{path} is not a regular file of at most {limit} bytes")]
    UnsafeRules {
        /// The rule file.
        path: RelPath,
        /// The largest accepted size.
        limit: u64,
    },
    /// One of git's own rule files, `info/exclude` or `info/attributes`, that cannot be read safely.
    #[error("{} is not a regular file of at most {limit} bytes", path.display())]
    UnsafeInfo {
        /// The rule file.
        path: PathBuf,
        /// The largest accepted size.
        limit: u64,
    },
    /// Another process has held the lock for as long as the policy allows to wait.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// What is locked.
        path: PathBuf,
    },
    /// The cancel flag was raised; nothing was left behind.
    #[error("cancelled")]
    Cancelled,
    /// A commit that is needed is not in the repository.
    #[error("commit {commit} is not in the repository at {}", path.display())]
    NoCommit {
        /// The missing commit.
        commit: CommitId,
        /// The repository's common directory.
        path: PathBuf,
    },
    /// The ref does not lead to the checkpoint's commit, or the commit is not a checkpoint.
    #[error("there is no checkpoint {id}")]
    NoCheckpoint {
        /// What was asked for.
        id: CheckpointId,
    },
    /// No change was applied under this id.
    #[error("no change was applied as {id}")]
    NoApplied {
        /// What was asked for.
        id: AppliedId,
    },
    /// Files kept changing, or something stood in the way, so that the restored worktree is not the checkpoint.
    #[error("the worktree {} could not be brought to the checkpoint's state at {path}", worktree.display())]
    RestoreIncomplete {
        /// The worktree's folder.
        worktree: PathBuf,
        /// The first path that differs.
        path: RelPath,
    },
    /// The worktree was kept, because its content could not be saved before removing it.
    #[error("the worktree {} was kept, because its final checkpoint failed", path.display())]
    FinalCheckpoint {
        /// The worktree's folder.
        path: PathBuf,
        /// Why it failed.
        source: Box<Error>,
    },
    /// A record of our own that cannot be read.
    #[error("failed to read the record {}", path.display())]
    Record {
        /// The record's file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The system has no random numbers.
    #[error("failed to get random bytes")]
    Random(#[from] getrandom::Error),
    /// The file system refused something.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The repository could not be read or written.
    #[error("failed to {doing} in the repository at {}", path.display())]
    Git {
        /// What was tried.
        doing: &'static str,
        /// The repository's common directory.
        path: PathBuf,
        /// What git's formats, refs or objects said.
        source: Source,
    },
}

impl Error {
    /// What the user can do about it, where there is something.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::PathMissing { .. } => "correct the project's path",
            Self::NotARepository { .. } => "run `git init` there, or correct the project's path",
            Self::Reftable { .. } => "convert it with `git refs migrate --ref-format=files`",
            Self::ForeignOwner { .. } => {
                "change its owner, or allow foreign owners in the configuration if you trust them"
            }
            Self::Bare { .. } => "apply the patch in a clone of it",
            Self::Tampered { .. } => "nothing was deleted; save what you need from it and remove it by hand",
            Self::UnsafeRules { .. } | Self::UnsafeInfo { .. } => "replace it by a regular, smaller file",
            Self::Busy { .. } => "try again when the other process is done",
            Self::FinalCheckpoint { .. } => {
                "make its files readable and free some space, then remove it again"
            }
            Self::RestoreIncomplete { .. } => "stop what is writing to the worktree, then restore again",
            _ => return None,
        })
    }

    /// Whether the same call may succeed later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::RestoreIncomplete { .. } | Self::Random(_) => true,
            Self::FinalCheckpoint { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { doing, path: path.as_ref().to_owned(), source: source.into() }
    }
}
