//! Putting a new text in a file's place: a reader sees the old text or the new one.
//!
//! Who looks at the folder meanwhile, or after this process was killed on any line, should find nothing else in
//! it either: a checkpoint of a worktree would hold it. So the text is written to a file without a name. A new
//! file then gets its name. The kernel puts a file in another one's place by renaming only, for which it has a
//! name for a moment, outside of the folder where that is possible.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Before the umask.
const NEW: Mode = Mode::from_raw_mode(0o666);

/// A text on its way into a folder.
pub(super) struct Replacement<'a> {
    /// Where the file is, or is to be.
    pub(super) folder: &'a OwnedFd,
    /// The file's name in there.
    pub(super) name: &'a OsStr,
    /// A folder where a passing name harms nobody; it may be on another file system.
    pub(super) scratch: Option<&'a OwnedFd>,
    /// The mode of the file that is to be replaced.
    pub(super) mode: Option<Mode>,
    pub(super) content: &'a str,
}

impl Replacement<'_> {
    pub(super) fn put(&self) -> Result<(), Errno> {
        let unnamed = match self.unnamed() {
            Ok(file) => Some(self.fill(file)?),
            // Not every file system has files without names.
            Err(_) => None,
        };
        if let (Some(file), None) = (&unnamed, self.mode)
            && link(file, self.folder, self.name).is_ok()
        {
            return Ok(());
        }
        let in_scratch = self.scratch.is_some_and(|scratch| self.put_by(scratch, unnamed.as_ref()).is_ok());
        if in_scratch { Ok(()) } else { self.put_by(self.folder, unnamed.as_ref()) }
    }

    /// By way of a name in this folder.
    fn put_by(&self, place: &OwnedFd, unnamed: Option<&File>) -> Result<(), Errno> {
        let passing = passing_name();
        match unnamed {
            Some(file) => link(file, place, OsStr::new(&passing))?,
            None => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                self.fill(File::from(openat(place, &passing, flags, NEW)?))
                    .map(drop)
                    .inspect_err(|_| forget(place, &passing))?;
            }
        }
        renameat(place, &passing, self.folder, self.name).inspect_err(|_| forget(place, &passing))
    }

    fn unnamed(&self) -> Result<File, Errno> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(self.folder, ".", flags, NEW).map(File::from)
    }

    fn fill(&self, mut file: File) -> Result<File, Errno> {
        let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        file.write_all(self.content.as_bytes()).map_err(failed)?;
        if let Some(mode) = self.mode {
            fchmod(&file, mode)?;
        }
        Ok(file)
    }
}

/// Gives a file without a name one that nothing has.
fn link(file: &File, folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, opened, folder, name, AtFlags::SYMLINK_FOLLOW)
}

/// A name that no other write has: what has it is a file that an agent has put there, or that a killed process
/// left, whose number has come round.
fn passing_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(".acp-{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Best effort: what is reported is why the write failed.
fn forget(place: &OwnedFd, passing: &str) {
    let _ = unlinkat(place, passing, AtFlags::empty());
}
