//! Where things are in the state directory.
//!
//! ```text
//! id                                   random, made once: keeps two state directories apart in one repository
//! w/<project>/<worktree>/              a checkout
//! m/<project>/project.json             where the repository is
//! m/<project>/<worktree>/              record.json, index (what the last checkpoint saw), lock
//! m/<project>/applied/<applied>.json   journal of a change that was applied to the user's checkout
//! trash/                               being deleted
//! kept/                                checkouts removed with content that no checkpoint could hold
//! ```

use std::path::{Path, PathBuf};

use crate::ids::{AppliedId, WorktreeId};

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn id_file(&self) -> PathBuf {
        self.root.join("id")
    }
    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }
    pub(crate) fn kept(&self) -> PathBuf {
        self.root.join("kept")
    }
    pub(crate) fn projects(&self) -> PathBuf {
        self.root.join("m")
    }
    pub(crate) fn project(&self, project: &str) -> ProjectLayout {
        ProjectLayout { checkouts: self.root.join("w").join(project), records: self.projects().join(project) }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ProjectLayout {
    pub(crate) checkouts: PathBuf,
    pub(crate) records: PathBuf,
}

impl ProjectLayout {
    pub(crate) fn project_file(&self) -> PathBuf {
        self.records.join("project.json")
    }
    pub(crate) fn applied(&self) -> PathBuf {
        self.records.join("applied")
    }
    pub(crate) fn journal(&self, id: &AppliedId) -> PathBuf {
        self.applied().join(format!("{id}.json"))
    }
    pub(crate) fn worktree(&self, id: &WorktreeId) -> WorktreeLayout {
        WorktreeLayout { checkout: self.checkouts.join(id.as_str()), folder: self.records.join(id.as_str()) }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct WorktreeLayout {
    pub(crate) checkout: PathBuf,
    pub(crate) folder: PathBuf,
}

impl WorktreeLayout {
    pub(crate) fn record(&self) -> PathBuf {
        self.folder.join("record.json")
    }
    pub(crate) fn index(&self) -> PathBuf {
        self.folder.join("index")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }
}

/// Git's administrative folder of a linked worktree.
pub(crate) fn admin_dir(common_dir: &Path, id: &WorktreeId) -> PathBuf {
    common_dir.join("worktrees").join(id.as_str())
}
