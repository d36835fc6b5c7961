//! Applying a change to the user's checkout: a three-way merge, all or nothing, and never through git's index.

mod checkout;
mod hands;
mod journal;
mod merge;
mod plan;
mod run;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::change::{ChangeSet, FileChange};
use crate::error::{Error, Result};
use crate::ids::{AppliedId, BlobId, TreeId};
use crate::path::RelPath;
use crate::project::Project;

pub(crate) use journal::{Journal, State as JournalState, list as journals};
pub(crate) use run::recover;

/// Why a change was not applied. The checkout is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The change and what the user has done since cannot be combined.
    #[error("{} in conflict, the first is {}", count(.0.len()), .0.first().map(ToString::to_string).unwrap_or_default())]
    Conflicts(Vec<Conflict>),
    /// A file was changed while the change was being applied; what was written was taken back, and the user's
    /// file kept.
    #[error("{path} was changed while the change was being applied")]
    Moved {
        /// The file.
        path: RelPath,
    },
    /// Something else failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

fn count(conflicts: usize) -> String {
    if conflicts == 1 { "one path is".to_owned() } else { format!("{conflicts} paths are") }
}

/// A path where the change and the user's checkout cannot be combined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Conflict {
    /// Where, in the user's checkout.
    pub path: RelPath,
    /// How.
    pub kind: ConflictKind,
    /// The content that both started from.
    pub base: Option<BlobId>,
    /// What the user has.
    pub ours: Option<BlobId>,
    /// What the change would make of it.
    pub theirs: Option<BlobId>,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.path, self.kind)
    }
}

/// How two changes of a path exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConflictKind {
    /// Both changed the same lines.
    Content,
    /// Both changed content that is not text.
    Binary,
    /// The user deleted what the change modifies.
    DeletedByUser,
    /// The user modified what the change deletes.
    DeletedByChange,
    /// Both added different content.
    BothAdded,
    /// Both renamed it, or one renamed what the other moved or replaced.
    Rename,
    /// A file on one side is a folder, link or submodule on the other.
    Type,
    /// It concerns a submodule, which a checkout cannot show.
    Submodule,
    /// An untracked file is in the way.
    Untracked,
    /// The user's file cannot be read, or is too big to be compared.
    Unreadable,
}

impl std::fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Content => "both changed the same lines",
            Self::Binary => "both changed it, and it is not text",
            Self::DeletedByUser => "deleted by you, modified by the change",
            Self::DeletedByChange => "modified by you, deleted by the change",
            Self::BothAdded => "added by both",
            Self::Rename => "renamed in two ways",
            Self::Type => "of different types",
            Self::Submodule => "a submodule",
            Self::Untracked => "an untracked file is in the way",
            Self::Unreadable => "cannot be read",
        })
    }
}

/// What applying a change would do now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergePreview {
    /// How the checkout would change; empty if there are conflicts or if the change is already present.
    pub files: Vec<FileChange>,
    /// What stands against it.
    pub conflicts: Vec<Conflict>,
}

/// A change that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// To undo it.
    pub id: AppliedId,
    /// What the checkout's tracked files and those that the change concerns were.
    pub before: TreeId,
    /// What they are now; the same if the change was already present.
    pub after: TreeId,
    /// How the checkout changed.
    pub files: Vec<FileChange>,
}

/// How an application that a crash had interrupted was completed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Which one.
    pub id: AppliedId,
    /// The checkout.
    pub checkout: PathBuf,
    /// Files that the user had changed meanwhile: left as they are.
    pub left: Vec<RelPath>,
}

impl Project {
    /// What [`apply`](Self::apply) would do now. Writes nothing to the checkout.
    ///
    /// # Errors
    /// [`Error::Bare`], [`Error::Cancelled`], and [`Error::Git`] or [`Error::Io`] if something cannot be read.
    pub fn preview(&self, change: &ChangeSet, cancel: &AtomicBool) -> Result<MergePreview> {
        run::preview(self, change.base(), change.result(), cancel)
    }

    /// Applies a change to the user's checkout as it is now, with whatever the user has changed since. All of it
    /// or nothing, also if we are killed: then the next [`sweep`](crate::Worktrees::sweep) completes it. The
    /// changes appear unstaged; index, `HEAD`, branches and stash stay as they are. A change that is already
    /// present is a success that does nothing.
    ///
    /// # Errors
    /// [`ApplyError::Conflicts`] and [`ApplyError::Moved`]; [`Error::Busy`] while a git command holds the user's
    /// index or another application is under way; [`Error::Bare`], [`Error::Cancelled`], [`Error::Git`], [`Error::Io`].
    pub fn apply(&self, change: &ChangeSet, cancel: &AtomicBool) -> Result<Applied, ApplyError> {
        run::apply(self, change.base(), change.result(), cancel)
    }

    /// Takes an applied change back, by applying its reverse: later edits of the user stay.
    ///
    /// # Errors
    /// As [`apply`](Self::apply); [`Error::NoApplied`] if there is no such application.
    pub fn undo(&self, id: &AppliedId, cancel: &AtomicBool) -> Result<Applied, ApplyError> {
        let journal = Journal::load(self, id)?.ok_or_else(|| Error::NoApplied { id: id.clone() })?;
        run::apply(self, journal.after, journal.before, cancel)
    }
}
