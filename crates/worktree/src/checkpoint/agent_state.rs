//! What the agent's own git knows beyond the files: `HEAD`, an operation under way, staged content.
//!
//! The agent writes these files, so they are bounded, parsed by us and believed only where the repository has
//! the objects that they name.

use std::collections::BTreeMap;
use std::path::Path;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::index::State;
use gix::index::entry::{Flags, Mode, Stage, Stat};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::fsio;
use crate::ids::CommitId;
use crate::index::{self, PrivateIndex};
use crate::scan::edit_tree;

const MAX_INDEX_BYTES: u64 = 1 << 30;

/// What git was in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// `git merge`, with conflicts to resolve.
    Merge,
    /// `git rebase` or `git am`.
    Rebase,
    /// `git cherry-pick`.
    CherryPick,
    /// `git revert`.
    Revert,
    /// `git bisect`.
    Bisect,
}

/// The operation that `admin`, git's folder for the worktree, tells of.
pub(super) fn operation(admin: &Path) -> Option<Operation> {
    const MARKS: [(&str, Operation); 6] = [
        ("rebase-merge", Operation::Rebase),
        ("rebase-apply", Operation::Rebase),
        ("CHERRY_PICK_HEAD", Operation::CherryPick),
        ("REVERT_HEAD", Operation::Revert),
        ("MERGE_HEAD", Operation::Merge),
        ("BISECT_LOG", Operation::Bisect),
    ];
    MARKS
        .iter()
        .find(|(name, _)| admin.join(name).symlink_metadata().is_ok())
        .map(|&(_, operation)| operation)
}

/// Where the agent's `HEAD` leads: the branch that it names, and the commit.
pub(super) fn head(repo: &gix::Repository, admin: &Path) -> Result<(Option<String>, Option<CommitId>)> {
    let text = fsio::read_bounded(&admin.join("HEAD"), 4096)?.unwrap_or_default();
    let text = text.trim_end();
    let (name, id) = match text.strip_prefix(b"ref: ") {
        Some(name) => {
            let name = String::from_utf8_lossy(name).into_owned();
            let id = repo
                .try_find_reference(name.as_str())
                .ok()
                .flatten()
                .and_then(|r| r.into_fully_peeled_id().ok().map(gix::Id::detach));
            (Some(name), id)
        }
        None => (None, ObjectId::from_hex(text).ok()),
    };
    Ok((name, id.filter(|id| repo.find_commit(*id).is_ok()).map(CommitId)))
}

/// The agent's index, read because it changed.
pub(super) struct AgentIndex {
    /// The file's state before it was read.
    pub(super) stat: Stat,
    /// None if it cannot be read.
    pub(super) entries: Option<State>,
}

impl AgentIndex {
    /// Reads the index, unless it is as it was when `known` was made. An agent without an index gets `Some`, too.
    pub(super) fn load_if_changed(
        admin: &Path,
        hash: gix::hash::Kind,
        known: &PrivateIndex,
    ) -> Result<Option<Self>> {
        let path = admin.join("index");
        let stat = rustix::fs::lstat(&path).map(|s| index::stat_of(&s)).unwrap_or_default();
        if known.agent_index.is_some_and(|k| index::same_file(&k, &stat) && !index::is_racy(&k, known.as_of))
        {
            return Ok(None);
        }
        let options = gix::index::decode::Options {
            alloc_limit_bytes: Some(MAX_INDEX_BYTES as usize),
            ..Default::default()
        };
        let bytes = fsio::read_bounded(&path, MAX_INDEX_BYTES).unwrap_or_default();
        Ok(Some(Self { stat, entries: bytes.and_then(|bytes| index::decode(&bytes, hash, options)) }))
    }

    /// The paths that it has and `known` has not.
    pub(super) fn paths_unknown_to(&self, known: &State) -> impl Iterator<Item = BString> {
        self.entries.iter().flat_map(|staged| {
            let paths = staged.entries().iter().map(|entry| entry.path(staged));
            paths.filter(|path| known.entry_index_by_path(path).is_err()).map(ToOwned::to_owned)
        })
    }

    /// The tree that the agent has staged, if it differs from `tree`, the one of `entries`.
    pub(super) fn tree(&self, repo: &gix::Repository, entries: &State, tree: ObjectId) -> Option<ObjectId> {
        let staged = self.entries.as_ref()?;
        let mut edits: BTreeMap<BString, Option<(ObjectId, Mode)>> = BTreeMap::new();
        for entry in staged.entries() {
            let path = entry.path(staged);
            if entry.stage() != Stage::Unconflicted || entry.flags.contains(Flags::INTENT_TO_ADD) {
                continue;
            }
            let same = entries.entry_by_path(path).is_some_and(|e| e.id == entry.id && e.mode == entry.mode);
            if !same && (entry.mode == Mode::COMMIT || repo.has_object(entry.id)) {
                edits.insert(path.to_owned(), Some((entry.id, entry.mode)));
            }
        }
        for entry in entries.entries() {
            let path = entry.path(entries);
            if staged.entry_index_by_path(path).is_err() {
                edits.insert(path.to_owned(), None);
            }
        }
        let edits: Vec<_> = edits.iter().map(|(path, new)| (path.as_bstr(), *new)).collect();
        // An index that no tree can be made of is the agent's affair.
        edit_tree(repo, tree, &edits).ok().filter(|staged| *staged != tree)
    }
}
