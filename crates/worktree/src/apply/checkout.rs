//! The user's checkout as it is on disk: what a change is merged into, and compared with before it is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::State;
use gix::index::entry::{Flags, Mode, Stage};
use rustix::fs::FileType;

use super::{ApplyError, Conflict, ConflictKind};
use crate::error::{Error, Result};
use crate::fsio;
use crate::index;
use crate::lock;
use crate::project::Project;
use crate::scan::{self, ReadFile, edit_tree, mode_of, read_stable};

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDisk {
    /// Nothing, or something below a link or file.
    Nothing,
    /// A file or link with this content.
    Object(ObjectId, Mode),
    /// A folder.
    Folder,
    /// A pipe, an unreadable file, one that is too big or that keeps changing.
    Unknown,
}

/// Access to the checkout.
pub(super) struct Checkout<'a> {
    project: &'a Project,
    pub(super) repo: &'a gix::Repository,
    pub(super) path: PathBuf,
    pub(super) root: OwnedFd,
    /// The user's index; only read.
    entries: State,
    as_of: index::Time,
    filter: gix::filter::Pipeline<'a>,
    max_file_bytes: u64,
    /// Whether the execute permission means something here.
    has_modes: bool,
}

impl<'a> Checkout<'a> {
    pub(super) fn open(project: &'a Project, repo: &'a gix::Repository, path: &Path) -> Result<Self> {
        let root = fsio::open_folder(path).map_err(|e| Error::io("open", path, e))?;
        let index_path = project.git_dir().join("index");
        let as_of = rustix::fs::lstat(&index_path).map(|s| index::stat_of(&s).mtime).unwrap_or_default();
        let hash = repo.object_hash();
        let entries = match fsio::read_bounded(&index_path, 4 << 30)? {
            Some(bytes) => index::decode(&bytes, hash, Default::default()).ok_or_else(|| {
                Error::io("read", &index_path, std::io::Error::from(std::io::ErrorKind::InvalidData))
            })?,
            None => State::new(hash),
        };
        let git = |e: gix::Error| project.git_error("read attributes", e);
        let source = gix::worktree::stack::state::attributes::Source::WorktreeThenIdMapping;
        let attributes = repo.attributes_only(&entries, source).map_err(git)?.detach();
        let filter = gix::filter::Pipeline::new(repo, attributes).map_err(git)?;
        let has_modes = repo.config_snapshot().boolean("core.filemode").unwrap_or(true);
        let max_file_bytes = project.policy().max_file_bytes;
        Ok(Self {
            project,
            repo,
            path: path.to_owned(),
            root,
            entries,
            as_of,
            filter,
            max_file_bytes,
            has_modes,
        })
    }

    /// What is at `path` now. With `store`, its content is written to the repository.
    pub(super) fn look(&mut self, path: &BStr, store: bool) -> Result<OnDisk> {
        let failed = |e| Error::io("examine", self.path.join(fsio::os_path(path)), e);
        let Some(folder) = fsio::open_parent(&self.root, path).map_err(failed)? else {
            return Ok(OnDisk::Nothing);
        };
        self.look_in(&folder, fsio::split(path).1, path, store)
    }

    /// What is in `folder` under `name`, with the rules that hold for `path`.
    pub(super) fn look_in(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &BStr,
        store: bool,
    ) -> Result<OnDisk> {
        let failed = |e| Error::io("examine", self.path.join(fsio::os_path(path)), e);
        let Some(stat) = fsio::stat(folder, name).map_err(failed)? else { return Ok(OnDisk::Nothing) };
        match fsio::file_type(&stat) {
            FileType::Directory => Ok(OnDisk::Folder),
            FileType::Symlink => match rustix::fs::readlinkat(folder, name, Vec::new()) {
                Ok(target) => Ok(OnDisk::Object(self.object(target.as_bytes(), store)?, Mode::SYMLINK)),
                Err(_) => Ok(OnDisk::Unknown),
            },
            FileType::RegularFile => match read_stable(folder, name, self.max_file_bytes) {
                ReadFile::Bytes(bytes, stat) => {
                    let id = self.convert(&bytes, path, store)?;
                    Ok(OnDisk::Object(id, self.mode(path, mode_of(&stat))))
                }
                ReadFile::Gone => Ok(OnDisk::Nothing),
                ReadFile::Skip(_) | ReadFile::Changed => Ok(OnDisk::Unknown),
            },
            _ => Ok(OnDisk::Unknown),
        }
    }

    /// A file system without permissions shows the ones that the index knows.
    fn mode(&self, path: &BStr, found: Mode) -> Mode {
        match self.entries.entry_by_path(path) {
            Some(entry) if !self.has_modes && entry.mode == Mode::FILE_EXECUTABLE => Mode::FILE_EXECUTABLE,
            _ if !self.has_modes => Mode::FILE,
            _ => found,
        }
    }

    fn convert(&mut self, bytes: &[u8], path: &BStr, store: bool) -> Result<ObjectId> {
        let converted = scan::to_git(&mut self.filter, bytes, path, &self.entries);
        self.object(converted.as_deref().unwrap_or(bytes), store)
    }

    fn object(&self, bytes: &[u8], store: bool) -> Result<ObjectId> {
        if store {
            let id = self
                .repo
                .write_blob(bytes)
                .map_err(|e| self.project.git_error("write a file's content", e))?;
            return Ok(id.detach());
        }
        gix::objs::compute_hash(self.repo.object_hash(), gix::objs::Kind::Blob, bytes)
            .map_err(|e| self.project.git_error("hash a file's content", e))
    }

    /// The tree of the tracked files as they are on disk, and of those untracked ones that are at the paths
    /// `concerned`. What else is untracked is in nobody's way and not read.
    pub(super) fn snapshot(
        &mut self,
        concerned: &BTreeSet<BString>,
        cancel: &AtomicBool,
    ) -> Result<ObjectId, ApplyError> {
        let mut now: BTreeMap<BString, (ObjectId, Mode)> = BTreeMap::new();
        let mut unreadable = Vec::new();
        let tracked: Vec<Tracked> =
            self.entries.entries().iter().map(|e| Tracked::new(e, &self.entries)).collect();
        for entry in tracked {
            lock::check(cancel)?;
            if let Some(found) = self.tracked_file(&entry, concerned, &mut unreadable)? {
                now.insert(entry.path, found);
            }
        }
        for path in concerned {
            if self.entries.entry_index_by_path(path.as_bstr()).is_err()
                && let OnDisk::Object(id, mode) = self.look(path.as_bstr(), true)?
            {
                now.insert(path.clone(), (id, mode));
            }
        }
        if !unreadable.is_empty() {
            return Err(ApplyError::Conflicts(unreadable));
        }
        Ok(self.write_tree(&now)?)
    }

    fn tracked_file(
        &mut self,
        entry: &Tracked,
        concerned: &BTreeSet<BString>,
        unreadable: &mut Vec<Conflict>,
    ) -> Result<Option<(ObjectId, Mode)>> {
        let path = entry.path.as_bstr();
        if entry.mode == Mode::COMMIT {
            return Ok(Some((entry.id, entry.mode)));
        }
        let failed = |e| Error::io("examine", self.path.join(fsio::os_path(path)), e);
        let folder = fsio::open_parent(&self.root, path).map_err(failed)?;
        let stat = match &folder {
            Some(folder) => fsio::stat(folder, fsio::split(path).1).map_err(failed)?,
            None => None,
        };
        let (Some(folder), Some(stat)) = (folder, stat) else {
            // A sparse checkout leaves it out; that is no deletion.
            return Ok(entry.left_out.then_some((entry.id, entry.mode)));
        };
        let now = index::stat_of(&stat);
        let same_mode = self.mode(path, mode_of(&stat)) == entry.mode;
        if entry.settled
            && same_mode
            && index::same_file(&entry.stat, &now)
            && !index::is_racy(&entry.stat, self.as_of)
        {
            return Ok(Some((entry.id, entry.mode)));
        }
        match self.look_in(&folder, fsio::split(path).1, path, true)? {
            OnDisk::Object(id, mode) => Ok(Some((id, mode))),
            OnDisk::Nothing | OnDisk::Folder => Ok(None),
            OnDisk::Unknown if concerned.contains(path) => {
                unreadable.push(Conflict {
                    path: path.into(),
                    kind: ConflictKind::Unreadable,
                    base: None,
                    ours: None,
                    theirs: None,
                });
                Ok(None)
            }
            OnDisk::Unknown => Ok(Some((entry.id, entry.mode))),
        }
    }

    fn write_tree(&self, now: &BTreeMap<BString, (ObjectId, Mode)>) -> Result<ObjectId> {
        let git = |e: gix::Error| self.project.git_error("write the tree of the checkout", e);
        let head = self.repo.head_tree_id_or_empty().map_err(git)?.detach();
        let known = self.repo.index_from_tree(&head).map_err(git)?;
        let mut edits = Vec::new();
        for entry in known.entries() {
            let path = entry.path(&known);
            if !now.contains_key(path) {
                edits.push((path, None));
            }
        }
        for (path, &(id, mode)) in now {
            let same = known.entry_by_path(path.as_bstr()).is_some_and(|e| (e.id, e.mode) == (id, mode));
            if !same {
                edits.push((path.as_bstr(), Some((id, mode))));
            }
        }
        edit_tree(self.repo, head, &edits).map_err(git)
    }
}

/// An entry of the user's index.
struct Tracked {
    path: BString,
    id: ObjectId,
    mode: Mode,
    stat: gix::index::entry::Stat,
    left_out: bool,
    /// Whether its id says what the file held when the entry was made.
    settled: bool,
}

impl Tracked {
    fn new(entry: &gix::index::Entry, entries: &State) -> Self {
        Self {
            path: entry.path(entries).to_owned(),
            id: entry.id,
            mode: entry.mode,
            stat: entry.stat,
            left_out: entry.flags.contains(Flags::SKIP_WORKTREE),
            settled: entry.stage() == Stage::Unconflicted && !entry.flags.contains(Flags::INTENT_TO_ADD),
        }
    }
}
