//! What a kept process was started from.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of what and where a process was started: two are equal if neither the program's file nor the folder was replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    program: Option<(PathBuf, [i64; 5])>,
    folder: Option<(PathBuf, [u64; 2])>,
}

impl Origin {
    /// What would be started now, by this command in this folder.
    pub(crate) fn of(command: &[OsString], cwd: &Path) -> Self {
        let program = command.first().map(PathBuf::from).and_then(|path| {
            let file = std::fs::metadata(&path).ok()?;
            let [device, inode, size] = [file.dev(), file.ino(), file.size()].map(u64::cast_signed);
            Some((path, [device, inode, size, file.mtime(), file.mtime_nsec()]))
        });
        let folder = std::fs::metadata(cwd).ok();
        let folder = folder.map(|folder| (cwd.to_owned(), [folder.dev(), folder.ino()]));
        Self { program, folder }
    }
}
