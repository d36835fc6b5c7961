//! Looking at every file of a checkout and turning what changed into a tree.

mod read;
mod walk;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::State;
use gix::index::entry::{Flags, Mode};
use gix::objs::tree::EntryKind;

use crate::checkpoint::Skipped;
use crate::error::{Error, Result};
use crate::fsio;
use crate::index::{self, PrivateIndex, UNTRACKED};

pub(crate) use read::{ReadFile, mode_of, read_stable, to_git};
use walk::{Fate, Found, Walk};

/// What to look at, and how.
pub(crate) struct Scan<'a> {
    /// The repository, with the checkout as its working directory.
    pub(crate) repo: &'a gix::Repository,
    pub(crate) checkout: &'a Path,
    /// A folder of ours on the checkout's file system, to read its clock.
    pub(crate) private: &'a Path,
    pub(crate) max_file_bytes: u64,
    /// Captured even where rules ignore them.
    pub(crate) tracked: &'a HashSet<BString>,
    pub(crate) cancel: &'a AtomicBool,
}

/// What was found.
pub(crate) struct Scanned {
    pub(crate) index: PrivateIndex,
    pub(crate) skipped: Vec<Skipped>,
    /// Whether `index` differs from what the scan began with.
    pub(crate) news: bool,
    /// Objects that this scan relies on and that no ref holds yet.
    pub(crate) written: Vec<ObjectId>,
}

impl Scan<'_> {
    /// Scans the checkout, starting from what is known of it.
    pub(crate) fn run(&self, known: PrivateIndex) -> Result<Scanned> {
        let as_of = index::clock_of(self.private)?;
        let git = |e: gix::Error| self.git("read the rules of the worktree", e);
        let rules = self
            .repo
            .excludes(
                &known.entries,
                None,
                gix::worktree::stack::state::ignore::Source::WorktreeThenIdMappingIfNotSkipped,
            )
            .map_err(git)?
            .detach();
        let attributes = self
            .repo
            .attributes_only(
                &known.entries,
                gix::worktree::stack::state::attributes::Source::WorktreeThenIdMapping,
            )
            .map_err(git)?
            .detach();
        let filter = gix::filter::Pipeline::new(self.repo, attributes).map_err(git)?;
        let seen = vec![Fate::Unseen; known.entries.entries().len()];
        let mut walk = Walk {
            scan: self,
            known: &known,
            rules,
            filter,
            seen,
            added: Vec::new(),
            skipped: Vec::new(),
            written: Vec::new(),
        };
        let root = fsio::open_folder(self.checkout).map_err(|e| match e {
            rustix::io::Errno::NOENT => Error::CheckoutMissing { path: self.checkout.to_owned() },
            e => Error::io("open", self.checkout, e),
        })?;
        walk.check_rule_files(&root, BStr::new(""))?;
        walk.folder(&root, &mut BString::default(), false, 0)?;
        let Walk { seen, added, skipped, mut written, .. } = walk;
        let (index, news) = self.conclude(known, &seen, &added, as_of, &mut written)?;
        Ok(Scanned { index, skipped, news, written })
    }

    fn git(&self, doing: &'static str, source: gix::Error) -> Error {
        Error::Git { doing, path: self.repo.common_dir().to_owned(), source: source.into() }
    }

    /// Builds the new index and tree from what became of the known entries and what is new.
    fn conclude(
        &self,
        known: PrivateIndex,
        seen: &[Fate],
        added: &[Found],
        as_of: gix::index::entry::stat::Time,
        written: &mut Vec<ObjectId>,
    ) -> Result<(PrivateIndex, bool)> {
        let mut entries = State::new(self.repo.object_hash());
        let mut edits = Vec::new();
        let mut news = !added.is_empty();
        for (entry, fate) in known.entries.entries().iter().zip(seen) {
            let path = entry.path(&known.entries);
            match fate {
                Fate::Unseen => {
                    news = true;
                    edits.push((path, None));
                }
                Fate::Kept => {
                    index::push(&mut entries, path, entry.id, entry.mode, entry.stat, entry.flags & UNTRACKED)
                }
                Fate::Found { id, mode, stat } => {
                    news = true;
                    index::push(&mut entries, path, *id, *mode, *stat, entry.flags & UNTRACKED);
                    if (*id, *mode) != (entry.id, entry.mode) {
                        edits.push((path, Some((*id, *mode))));
                    }
                }
            }
        }
        for found in added {
            let flags = if self.tracked.contains(&found.path) { Flags::empty() } else { UNTRACKED };
            index::push(&mut entries, found.path.as_bstr(), found.id, found.mode, found.stat, flags);
            edits.push((found.path.as_bstr(), Some((found.id, found.mode))));
        }
        if !added.is_empty() {
            entries.sort_entries();
        }
        let tree = edit_tree(self.repo, known.tree, &edits).map_err(|e| self.git("write a tree", e))?;
        if tree != known.tree {
            written.push(tree);
        }
        Ok((PrivateIndex { tree, as_of, agent_index: known.agent_index, entries }, news))
    }
}

/// Writes `tree` with some paths replaced or, with `None`, removed.
pub(crate) fn edit_tree(
    repo: &gix::Repository,
    tree: ObjectId,
    edits: &[(&BStr, Option<(ObjectId, Mode)>)],
) -> gix::Result<ObjectId> {
    if edits.is_empty() {
        return Ok(tree);
    }
    let mut editor = repo.edit_tree(tree)?;
    // Removals first: a file may have taken the place of a folder, or the other way round.
    for (path, _) in edits.iter().filter(|(_, new)| new.is_none()) {
        editor.remove(*path)?;
    }
    for (path, new) in edits {
        if let Some((id, mode)) = new {
            editor.upsert(*path, kind_of(*mode), *id)?;
        }
    }
    Ok(editor.write()?.detach())
}

/// The tree entry kind for an index mode.
pub(crate) fn kind_of(mode: Mode) -> EntryKind {
    match mode {
        Mode::FILE_EXECUTABLE => EntryKind::BlobExecutable,
        Mode::SYMLINK => EntryKind::Link,
        Mode::COMMIT => EntryKind::Commit,
        _ => EntryKind::Blob,
    }
}
