//! A model of worktrees: a tree is a number that grows with every edit.

use std::collections::BTreeMap;

use dispatch_core::{
    change::{ChangeDraft, FileChange, FileChangeKind, Snapshot},
    ports::{Collected, WorkspaceOwner},
};

#[derive(Debug, Default)]
pub(super) struct ModelWorkspace {
    /// By the owner's name, so that the order is the same in every run.
    trees: BTreeMap<String, Tree>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) now: u64,
    /// The last tree that a checkpoint holds.
    saved: u64,
}

impl ModelWorkspace {
    pub(super) fn prepare(&mut self, owner: WorkspaceOwner) {
        self.trees.entry(owner.to_string()).or_insert(Tree { now: 0, saved: 0 });
    }

    pub(super) fn tree(&self, owner: WorkspaceOwner) -> Option<u64> {
        self.trees.get(&owner.to_string()).map(|tree| tree.now)
    }

    /// An agent edits a file; `false` when there is no worktree to edit.
    pub(super) fn edit(&mut self, owner: WorkspaceOwner) -> bool {
        self.trees.get_mut(&owner.to_string()).map(|tree| tree.now += 1).is_some()
    }

    pub(super) fn checkpoint(&mut self, owner: WorkspaceOwner) -> Option<Snapshot> {
        let tree = self.trees.get_mut(&owner.to_string())?;
        tree.saved = tree.now;
        Some(snapshot(tree.now))
    }

    pub(super) fn collect(&mut self, owner: WorkspaceOwner) -> Option<Collected> {
        let after = self.checkpoint(owner)?;
        let result_tree = after.tree.clone();
        let file = FileChange {
            path: "file".into(),
            kind: FileChangeKind::Modified,
            from: None,
            additions: 1,
            deletions: 0,
            binary: false,
        };
        let draft = (result_tree != "0").then(|| ChangeDraft {
            base_tree: "0".into(),
            result_tree,
            snapshot: after.clone(),
            files: vec![file],
            warnings: vec![],
        });
        Some(Collected { after, draft })
    }

    /// Removes a worktree; `false` when that would lose what no checkpoint holds.
    pub(super) fn remove(&mut self, owner: WorkspaceOwner, with_checkpoint: bool) -> bool {
        let lost = self.trees.get(&owner.to_string()).is_some_and(|tree| tree.saved != tree.now);
        if lost && !with_checkpoint {
            return false;
        }
        self.trees.remove(&owner.to_string());
        true
    }
}

fn snapshot(tree: u64) -> Snapshot {
    let tree = tree.to_string();
    Snapshot { commit: tree.clone(), reference: tree.clone(), tree, skipped: vec![] }
}
