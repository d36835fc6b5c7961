//! Changes: two trees, compared. The trees are the truth; the list of files and the patch are renderings that
//! can be made again at any time, also after the worktree is gone and in another process.

mod base85;
pub(crate) mod diff;
mod hunks;
mod patch;
pub(crate) mod quote;

pub(crate) use hunks::is_binary;

use std::io::Write;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Skipped;
use crate::error::Result;
use crate::ids::{BlobId, CheckpointId, TreeId};
use crate::path::RelPath;
use crate::project::Project;

/// What turns one tree into another.
#[derive(Debug, Clone)]
pub struct ChangeSet {
    project: Project,
    base: TreeId,
    result: TreeId,
    checkpoint: Option<CheckpointId>,
    files: Vec<FileChange>,
    skipped: Vec<Skipped>,
}

/// One file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileChange {
    /// Where it is; where it was, if deleted.
    pub path: RelPath,
    /// How it differs.
    #[serde(flatten)]
    pub kind: ChangeKind,
    /// Its content is not text, by git's rule: a zero byte among the first 8,000.
    pub binary: bool,
    /// Lines that are new; 0 for binary content.
    pub additions: u64,
    /// Lines that are gone; 0 for binary content.
    pub deletions: u64,
    /// The file before; none if added.
    pub old: Option<Side>,
    /// The file after; none if deleted.
    pub new: Option<Side>,
    /// How alike a renamed file's two contents are, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<u8>,
}

/// How a file differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content differs; its mode may, too.
    Modified,
    /// It was elsewhere; its content and mode may differ, too.
    Renamed {
        /// Where it was.
        from: RelPath,
    },
    /// Only its execute permission differs.
    ModeChanged,
    /// A file became a symbolic link, or the like.
    TypeChanged,
}

/// A file on one side of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its content; for a submodule the id of its commit.
    pub id: BlobId,
    /// What it is.
    pub mode: FileMode,
}

/// What git takes a path for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileMode {
    /// A regular file, 100644.
    File,
    /// A regular file that can be executed, 100755.
    Executable,
    /// A symbolic link, 120000.
    Link,
    /// A submodule, 160000.
    Submodule,
}

impl FileMode {
    /// The six digits that git prints.
    pub fn octal(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Link => "120000",
            Self::Submodule => "160000",
        }
    }

    fn same_type(self, other: Self) -> bool {
        let regular = |mode| matches!(mode, Self::File | Self::Executable);
        self == other || regular(self) && regular(other)
    }
}

impl ChangeSet {
    /// The tree before.
    pub fn base(&self) -> TreeId {
        self.base
    }

    /// The tree after.
    pub fn result(&self) -> TreeId {
        self.result
    }

    /// The checkpoint that keeps the tree after.
    pub fn checkpoint(&self) -> Option<&CheckpointId> {
        self.checkpoint.as_ref()
    }

    /// The files that differ, in order of their paths.
    pub fn files(&self) -> &[FileChange] {
        &self.files
    }

    /// What the checkpoint could not hold.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.base == self.result
    }

    /// Lines that are new, over all files.
    pub fn additions(&self) -> u64 {
        self.files.iter().map(|f| f.additions).sum()
    }

    /// Lines that are gone, over all files.
    pub fn deletions(&self) -> u64 {
        self.files.iter().map(|f| f.deletions).sum()
    }

    /// Writes the change as a patch that `git apply --binary` takes. Bytes, not text: paths and contents are
    /// as they are.
    ///
    /// # Errors
    /// [`Error::Git`](crate::Error::Git) if the content cannot be read, [`Error::Io`](crate::Error::Io) if `out` fails.
    pub fn write_patch(&self, out: &mut dyn Write) -> Result<()> {
        patch::write(&self.project, &self.files, out)
    }
}

impl Project {
    /// The change from one tree to another, such as a recorded one whose worktree is long gone.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`](crate::Error::NoCheckpoint) if the checkpoint is gone,
    /// [`Error::Git`](crate::Error::Git) if a tree is, [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn change_set(
        &self,
        base: TreeId,
        result: TreeId,
        checkpoint: Option<CheckpointId>,
        cancel: &AtomicBool,
    ) -> Result<ChangeSet> {
        let skipped = match &checkpoint {
            Some(id) => self.checkpoint(id)?.skipped,
            None => Vec::new(),
        };
        let files = diff::files(self, base, result, cancel)?;
        Ok(ChangeSet { project: self.clone(), base, result, checkpoint, files, skipped })
    }
}
