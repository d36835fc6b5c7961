//! The walk over a checkout, folder by folder.

use std::os::fd::OwnedFd;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::entry::{Mode, Stat};
use rustix::fs::FileType;

use super::Scan;
use super::read::{ReadFile, is_storable, mode_of, nested_head, read_stable, to_git};
use crate::checkpoint::{SkipReason, Skipped};
use crate::error::{Error, Result};
use crate::fsio;
use crate::index::{self, PrivateIndex, UNTRACKED};
use crate::lock;
use crate::project::repository::MAX_RULE_BYTES;

/// Deeper folders are reported, not captured: each level holds an open folder.
const MAX_DEPTH: usize = 200;
/// How often a file that changes while it is read is read again.
const READ_ATTEMPTS: usize = 3;

/// What became of an entry of the known index.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Unseen,
    Kept,
    Found { id: ObjectId, mode: Mode, stat: Stat },
}

pub(super) struct Found {
    pub(super) path: BString,
    pub(super) id: ObjectId,
    pub(super) mode: Mode,
    pub(super) stat: Stat,
}

enum Captured {
    Object(ObjectId, Mode, Stat),
    Skip(SkipReason),
    Gone,
}

pub(super) struct Walk<'a> {
    pub(super) scan: &'a Scan<'a>,
    pub(super) known: &'a PrivateIndex,
    pub(super) rules: gix::worktree::Stack,
    pub(super) filter: gix::filter::Pipeline<'a>,
    pub(super) seen: Vec<Fate>,
    pub(super) added: Vec<Found>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) written: Vec<ObjectId>,
}

impl Walk<'_> {
    /// Visits everything in one folder; `path` is the folder's, empty for the root.
    pub(super) fn folder(
        &mut self,
        folder: &OwnedFd,
        path: &mut BString,
        ignored: bool,
        depth: usize,
    ) -> Result<()> {
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
    pub(super) fn check_rule_files(&self, folder: &OwnedFd, path: &BStr) -> Result<()> {
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
