//! Looking at every file of a checkout and turning what changed into a tree.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::State;
use gix::index::entry::{Flags, Mode, Stat};
use gix::objs::tree::EntryKind;
use rustix::fs::FileType;

use crate::checkpoint::{SkipReason, Skipped};
use crate::error::{Error, Result};
use crate::fsio;
use crate::index::{self, PrivateIndex, UNTRACKED};
use crate::lock;

/// Rule files are read whole and by every git command; larger ones are not written by people.
const MAX_RULE_BYTES: u64 = 1 << 20;
/// Deeper folders are reported, not captured: each level holds an open folder.
const MAX_DEPTH: usize = 200;
/// How often a file that changes while it is read is read again.
const READ_ATTEMPTS: usize = 3;

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

/// What became of an entry of the known index.
#[derive(Clone, Copy)]
enum Fate {
    Unseen,
    Kept,
    Found { id: ObjectId, mode: Mode, stat: Stat },
}

struct Found {
    path: BString,
    id: ObjectId,
    mode: Mode,
    stat: Stat,
}

enum Captured {
    Object(ObjectId, Mode, Stat),
    Skip(SkipReason),
    Gone,
}

struct Walk<'a> {
    scan: &'a Scan<'a>,
    known: &'a PrivateIndex,
    rules: gix::worktree::Stack,
    filter: gix::filter::Pipeline<'a>,
    seen: Vec<Fate>,
    added: Vec<Found>,
    skipped: Vec<Skipped>,
    written: Vec<ObjectId>,
}

impl Walk<'_> {
    /// Visits everything in one folder; `path` is the folder's, empty for the root.
    fn folder(&mut self, folder: &OwnedFd, path: &mut BString, ignored: bool, depth: usize) -> Result<()> {
        lock::check(self.scan.cancel)?;
        let Ok(names) = fsio::names(folder) else {
            self.unreadable_folder(path.as_bstr());
            return Ok(());
        };
        let length = path.len();
        for name in names {
            if name == b".git" {
                continue;
            }
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.visit(folder, &name, path, ignored, depth)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn visit(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &mut BString,
        ignored: bool,
        depth: usize,
    ) -> Result<()> {
        let stat = match fsio::stat(folder, name) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Ok(()),
            Err(_) => {
                self.skip(path.as_bstr(), SkipReason::Unreadable);
                return Ok(());
            }
        };
        match fsio::file_type(&stat) {
            FileType::Directory => self.subfolder(folder, name, path, ignored, depth),
            FileType::RegularFile | FileType::Symlink => {
                self.file(folder, name, path.as_bstr(), &stat, ignored)
            }
            _ => {
                if !self.is_ignored(path.as_bstr(), ignored, None)? {
                    self.skipped.push(Skipped { path: path.as_bstr().into(), reason: SkipReason::Special });
                }
                Ok(())
            }
        }
    }

    fn subfolder(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &mut BString,
        ignored: bool,
        depth: usize,
    ) -> Result<()> {
        if let Ok(at) = self.known.entries.entry_index_by_path(path.as_bstr())
            && self.known.entries.entries()[at].mode == Mode::COMMIT
        {
            self.seen[at] = Fate::Kept;
            if let Some(head) = fsio::open_subfolder(parent, name).ok().and_then(|f| nested_head(&f)) {
                self.skipped
                    .push(Skipped { path: path.as_bstr().into(), reason: SkipReason::NestedRepo { head } });
            }
            return Ok(());
        }
        let tracked = self.tracks_below(path.as_bstr());
        let ignored = self.is_ignored(path.as_bstr(), ignored, Some(Mode::DIR))?;
        if ignored && !tracked {
            return Ok(());
        }
        if !is_storable(name, Mode::DIR) {
            self.skip(path.as_bstr(), SkipReason::BadName);
            return Ok(());
        }
        let folder = match fsio::open_subfolder(parent, name) {
            Ok(folder) if depth < MAX_DEPTH => folder,
            Ok(_) => {
                self.skip_below(path.as_bstr(), SkipReason::TooDeep);
                return Ok(());
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return Ok(());
            }
            Err(_) => {
                self.unreadable_folder(path.as_bstr());
                return Ok(());
            }
        };
        if let Some(head) = nested_head(&folder) {
            self.skipped
                .push(Skipped { path: path.as_bstr().into(), reason: SkipReason::NestedRepo { head } });
            // Files that the outer repository already holds stay its own.
            if !tracked {
                return Ok(());
            }
        }
        self.check_rule_files(&folder, path.as_bstr())?;
        self.folder(&folder, path, ignored, depth + 1)
    }

    fn file(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &BStr,
        stat: &rustix::fs::Stat,
        ignored: bool,
    ) -> Result<()> {
        let known = self.known.entries.entry_index_by_path(path).ok();
        let tracked = match known {
            Some(at) => !self.known.entries.entries()[at].flags.contains(UNTRACKED),
            None => self.scan.tracked.contains(path),
        };
        if !tracked && self.is_ignored(path, ignored, None)? {
            return Ok(());
        }
        if let Some(at) = known {
            let entry = &self.known.entries.entries()[at];
            let now = index::stat_of(stat);
            if mode_of(stat) == entry.mode
                && index::same_file(&entry.stat, &now)
                && !index::is_racy(&entry.stat, self.known.as_of)
            {
                self.seen[at] = Fate::Kept;
                return Ok(());
            }
        } else if !is_storable(name, mode_of(stat)) {
            self.skip(path, SkipReason::BadName);
            return Ok(());
        }
        match self.capture(folder, name, path, stat)? {
            Captured::Object(id, mode, stat) => match known {
                Some(at) => self.seen[at] = Fate::Found { id, mode, stat },
                None => self.added.push(Found { path: path.to_owned(), id, mode, stat }),
            },
            Captured::Skip(reason) => self.skip(path, reason),
            Captured::Gone => {}
        }
        Ok(())
    }

    /// Stores the file's content as git would.
    fn capture(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &BStr,
        stat: &rustix::fs::Stat,
    ) -> Result<Captured> {
        lock::check(self.scan.cancel)?;
        if fsio::file_type(stat) == FileType::Symlink {
            let Ok(target) = rustix::fs::readlinkat(folder, name, Vec::new()) else {
                return Ok(Captured::Gone);
            };
            let id = self.write_blob(target.as_bytes())?;
            return Ok(Captured::Object(id, Mode::SYMLINK, index::stat_of(stat)));
        }
        for _ in 0..READ_ATTEMPTS {
            match read_stable(folder, name, self.scan.max_file_bytes) {
                ReadFile::Bytes(bytes, stat) => {
                    let id = self.store(&bytes, path)?;
                    return Ok(Captured::Object(id, mode_of(&stat), index::stat_of(&stat)));
                }
                ReadFile::Skip(reason) => return Ok(Captured::Skip(reason)),
                ReadFile::Gone => return Ok(Captured::Gone),
                ReadFile::Changed => {}
            }
        }
        Ok(Captured::Skip(SkipReason::Unstable))
    }

    fn store(&mut self, bytes: &[u8], path: &BStr) -> Result<ObjectId> {
        let converted = to_git(&mut self.filter, bytes, path, &self.known.entries);
        self.write_blob(converted.as_deref().unwrap_or(bytes))
    }

    fn write_blob(&mut self, bytes: &[u8]) -> Result<ObjectId> {
        let id = self
            .scan
            .repo
            .write_blob(bytes)
            .map_err(|e| self.scan.git("write a file's content", e))?
            .detach();
        self.written.push(id);
        Ok(id)
    }

    fn is_ignored(&mut self, path: &BStr, parent: bool, mode: Option<Mode>) -> Result<bool> {
        if parent {
            return Ok(true);
        }
        let platform = self.rules.at_path(fsio::os_path(path), mode, &self.scan.repo.objects);
        match platform {
            Ok(platform) => Ok(platform.is_excluded()),
            Err(e) => {
                Err(Error::io("read the ignore rules for", fsio::os_path(path), std::io::Error::other(e)))
            }
        }
    }

    /// Rule files are read by path, so anything that could hang or lead elsewhere is refused first.
    fn check_rule_files(&self, folder: &OwnedFd, path: &BStr) -> Result<()> {
        for name in [".gitignore", ".gitattributes"] {
            let Ok(Some(stat)) = fsio::stat(folder, name.as_bytes()) else { continue };
            let safe = match fsio::file_type(&stat) {
                FileType::RegularFile => stat.st_size as u64 <= MAX_RULE_BYTES,
                FileType::Directory => true,
                _ => false,
            };
            if !safe {
                let path =
                    if path.is_empty() { name.into() } else { BString::from(format!("{path}/{name}")) };
                return Err(Error::UnsafeRules { path: path.as_bstr().into(), limit: MAX_RULE_BYTES });
            }
        }
        Ok(())
    }

    fn tracks_below(&self, folder: &BStr) -> bool {
        let mut prefix = folder.to_owned();
        prefix.push(b'/');
        let known = self.known.entries.prefixed_entries(prefix.as_bstr()).unwrap_or_default();
        known.iter().any(|entry| !entry.flags.contains(UNTRACKED))
            || self.scan.tracked.iter().any(|p| p.starts_with(&prefix))
    }

    /// Reports a path; what was known of it stays, because "could not look" is not "deleted".
    fn skip(&mut self, path: &BStr, reason: SkipReason) {
        if let Ok(at) = self.known.entries.entry_index_by_path(path) {
            self.seen[at] = Fate::Kept;
        }
        self.skipped.push(Skipped { path: path.into(), reason });
    }

    fn unreadable_folder(&mut self, path: &BStr) {
        self.skip_below(path, SkipReason::Unreadable);
    }

    fn skip_below(&mut self, path: &BStr, reason: SkipReason) {
        let mut prefix = path.to_owned();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let range = if prefix.is_empty() {
            Some(0..self.seen.len())
        } else {
            self.known.entries.prefixed_entries_range(prefix.as_bstr())
        };
        for at in range.unwrap_or_default() {
            self.seen[at] = Fate::Kept;
        }
        self.skipped.push(Skipped { path: path.into(), reason });
    }
}

/// Applies line end and encoding rules; `None` if the content stays as it is, also because they refuse it.
pub(crate) fn to_git(
    filter: &mut gix::filter::Pipeline<'_>,
    bytes: &[u8],
    path: &BStr,
    entries: &State,
) -> Option<Vec<u8>> {
    use gix::filter::plumbing::pipeline::convert::ToGitOutcome;
    match filter.convert_to_git(bytes, fsio::os_path(path), entries) {
        Ok(ToGitOutcome::Buffer(converted)) => Some(converted.to_vec()),
        Ok(ToGitOutcome::Unchanged(_) | ToGitOutcome::Process(_)) | Err(_) => None,
    }
}

/// The outcome of reading a file once.
pub(crate) enum ReadFile {
    Bytes(Vec<u8>, rustix::fs::Stat),
    Skip(SkipReason),
    Changed,
    Gone,
}

/// Reads a regular file whose state is the same before and after.
pub(crate) fn read_stable(folder: &OwnedFd, name: &[u8], limit: u64) -> ReadFile {
    use rustix::io::Errno;
    let file = match fsio::open_file(folder, name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return ReadFile::Gone,
        Err(Errno::LOOP | Errno::NXIO) => return ReadFile::Changed,
        Err(_) => return ReadFile::Skip(SkipReason::Unreadable),
    };
    let Ok(before) = rustix::fs::fstat(&file) else { return ReadFile::Skip(SkipReason::Unreadable) };
    if fsio::file_type(&before) != FileType::RegularFile {
        return ReadFile::Changed;
    }
    let size = before.st_size as u64;
    if size > limit {
        return ReadFile::Skip(SkipReason::TooBig { bytes: size });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    if (&file).take(limit + 1).read_to_end(&mut bytes).is_err() {
        return ReadFile::Skip(SkipReason::Unreadable);
    }
    let Ok(after) = rustix::fs::fstat(&file) else { return ReadFile::Skip(SkipReason::Unreadable) };
    let same = index::same_file(&index::stat_of(&before), &index::stat_of(&after));
    if same && bytes.len() as u64 == size { ReadFile::Bytes(bytes, after) } else { ReadFile::Changed }
}

/// How git sees the file; only the owner's execute bit counts.
pub(crate) fn mode_of(stat: &rustix::fs::Stat) -> Mode {
    match fsio::file_type(stat) {
        FileType::Symlink => Mode::SYMLINK,
        _ if stat.st_mode & 0o100 != 0 => Mode::FILE_EXECUTABLE,
        _ => Mode::FILE,
    }
}

/// Names that git refuses to hold, because some file system takes them for `.git`.
fn is_storable(name: &[u8], mode: Mode) -> bool {
    let options = gix::validate::path::component::Options {
        protect_windows: false,
        protect_hfs: false,
        protect_ntfs: true,
    };
    let mode = (mode == Mode::SYMLINK).then_some(gix::validate::path::component::Mode::Symlink);
    gix::validate::path::component(name.as_bstr(), mode, options).is_ok()
}

/// If the folder is a repository of its own: what its `HEAD` says, empty if that cannot be read.
fn nested_head(folder: &OwnedFd) -> Option<String> {
    let dot_git = fsio::stat(folder, b".git").ok()??;
    match fsio::file_type(&dot_git) {
        FileType::RegularFile => {
            let text = read_small(folder, b".git")?;
            text.starts_with("gitdir:").then(|| text.trim_end().to_owned())
        }
        FileType::Directory => {
            let git = fsio::open_subfolder(folder, b".git").ok()?;
            fsio::stat(&git, b"HEAD").ok()??;
            Some(read_small(&git, b"HEAD").unwrap_or_default().trim_end().to_owned())
        }
        _ => None,
    }
}

fn read_small(folder: &OwnedFd, name: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    fsio::open_file(folder, name).ok()?.take(4096).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
