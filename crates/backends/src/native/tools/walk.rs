//! Walking through a folder: no link is followed, and git's own files are not seen.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use acp_proto::host::{FileError, Files};
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};

use super::ignored::Ignored;
use super::patience::Patience;

/// How deep folders are gone into; each level holds a descriptor.
const DEEPEST: usize = 64;
/// The most entries that are looked at.
const MOST: usize = 200_000;
/// The most of one folder.
const MOST_OF_ONE: usize = 20_000;

/// An entry on the way.
pub(super) struct Found<'a> {
    /// Relative to the worktree.
    pub(super) path: &'a Path,
    pub(super) kind: FileType,
    /// The folder that it is in, and its name there.
    pub(super) folder: &'a OwnedFd,
    pub(super) name: &'a OsStr,
}

/// A walk.
pub(super) struct Walk<'a> {
    pub(super) files: &'a Files,
    /// Whether folders in the folder are gone into.
    pub(super) recursive: bool,
    /// Ends the walk from outside.
    pub(super) patience: &'a Patience<'a>,
}

/// What is known on the way.
struct Way<'v> {
    ignored: Ignored,
    left: usize,
    visit: &'v mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    is_whole: bool,
}

impl Walk<'_> {
    /// Shows what is below `folder` in the order of names; tells whether all of it was shown.
    pub(super) fn go(
        &self,
        folder: &Path,
        visit: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<bool, FileError> {
        let (fd, path) = self.files.folder(folder)?;
        let ignored = if self.recursive { Ignored::above(self.files, &path) } else { Ignored::default() };
        let mut way = Way { ignored, left: MOST, visit, is_whole: true };
        let _ = self.enter(&fd, &path, 0, &mut way);
        Ok(way.is_whole)
    }

    fn enter(&self, fd: &OwnedFd, path: &Path, depth: usize, way: &mut Way<'_>) -> ControlFlow<()> {
        let Ok((entries, is_whole)) = entries(fd) else { return ControlFlow::Continue(()) };
        way.is_whole &= is_whole;
        if self.recursive {
            way.ignored.enter(self.files, path);
        }
        let gone = entries.iter().try_for_each(|(name, kind)| self.step(fd, path, (name, *kind), depth, way));
        if self.recursive {
            way.ignored.leave();
        }
        gone
    }

    fn step(
        &self,
        fd: &OwnedFd,
        path: &Path,
        (name, kind): (&OsStr, FileType),
        depth: usize,
        way: &mut Way<'_>,
    ) -> ControlFlow<()> {
        if way.left == 0 || self.patience.is_over() {
            way.is_whole = false;
            return ControlFlow::Break(());
        }
        way.left -= 1;
        let path = path.join(name);
        let is_folder = kind == FileType::Directory;
        if self.recursive && way.ignored.names(&path, is_folder) {
            return ControlFlow::Continue(());
        }
        if (way.visit)(Found { path: &path, kind, folder: fd, name }).is_break() {
            way.is_whole = false;
            return ControlFlow::Break(());
        }
        if !is_folder || !self.recursive {
            return ControlFlow::Continue(());
        }
        if depth == DEEPEST {
            way.is_whole = false;
            return ControlFlow::Continue(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(fd, name, flags, Mode::empty()) {
            Ok(folder) => self.enter(&folder, &path, depth + 1, way),
            // Gone, or not for us.
            Err(_) => ControlFlow::Continue(()),
        }
    }
}

/// What is in a folder, by name, and whether that is all.
fn entries(fd: &OwnedFd) -> io::Result<(Vec<(OsString, FileType)>, bool)> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." || name.eq_ignore_ascii_case(".git") {
            continue;
        }
        if entries.len() == MOST_OF_ONE {
            return Ok((sorted(entries), false));
        }
        entries.push((name.to_owned(), entry.file_type()));
    }
    Ok((sorted(entries), true))
}

fn sorted(mut entries: Vec<(OsString, FileType)>) -> Vec<(OsString, FileType)> {
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries
}
