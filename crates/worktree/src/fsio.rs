//! File access below a folder that others may be changing at the same moment: every component is opened from
//! the folder above it and never through a symbolic link.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::error::{Error, Result};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder by its own, trusted path.
pub(crate) fn open_folder(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, FOLDER, Mode::empty())
}

/// Opens a folder inside another one; refuses a symbolic link.
pub(crate) fn open_subfolder(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, FOLDER, Mode::empty())
}

/// Opens a regular file for reading, without following a link and without waiting for a pipe's other end.
pub(crate) fn open_file(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map(File::from)
}

/// What is there, links not followed; `None` if nothing is.
pub(crate) fn stat(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<Stat>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kind of file that `stat` describes.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The names in a folder, without `.` and `..`, sorted.
pub(crate) fn names(folder: impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads at most `limit` bytes of a file of ours; `None` if it is not there.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    Ok(Some(bytes))
}

/// Replaces a file of ours at once: a reader sees the old bytes or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    // A name of its own: two that replace one file at once must not take each other's new one away.
    let new = with_suffix(path, &format!(".{}.new", crate::ids::random_hex()?));
    std::fs::write(&new, bytes).map_err(|e| Error::io("write", &new, e))?;
    std::fs::rename(&new, path).map_err(|e| Error::io("replace", path, e))
}

/// `path` with something added to its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Creates a folder and those above it, readable by this user only.
pub(crate) fn create_private_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::io("create", path, e))
}

/// Removes a file; it not being there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Removes a folder with everything in it, also what an agent made unreadable. Does not follow links and does
/// not cross into another file system. It not being there is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let parent = path.parent().unwrap_or(Path::new("/"));
    let parent_fd = match open_folder(parent) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Error::io("open", parent, error)),
    };
    let failed = |error| Error::io("remove", path, error);
    let device = rustix::fs::fstat(&parent_fd).map_err(failed)?.st_dev;
    remove_at(&parent_fd, name.as_bytes(), device).map_err(failed)
}

fn remove_at(parent: &OwnedFd, name: &[u8], device: u64) -> rustix::io::Result<()> {
    use rustix::io::Errno;
    let Some(found) = stat(parent, name)? else { return Ok(()) };
    if file_type(&found) != FileType::Directory {
        return match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        };
    }
    if found.st_dev != device {
        return Err(Errno::XDEV);
    }
    if found.st_mode & 0o700 != 0o700 {
        rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
    }
    let folder = open_subfolder(parent, name)?;
    for child in names(&folder)? {
        remove_at(&folder, &child, device)?;
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Splits a repository path into its folder's components and its last name.
pub(crate) fn split(path: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let (folder, name) = match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    };
    (folder.split(|&b| b == b'/').filter(|c| !c.is_empty()), name)
}

/// Opens the folder that holds `path` below `root`; `None` if one of its folders is missing or is no folder.
pub(crate) fn open_parent(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<Option<OwnedFd>> {
    let mut folder = root.try_clone().map_err(|e| errno(&e))?;
    for component in split(path).0 {
        folder = match open_subfolder(&folder, component) {
            Ok(next) => next,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
    }
    Ok(Some(folder))
}

/// Like [`open_parent`], creating the folders that are missing. Something else in the way is an error.
pub(crate) fn create_parent(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let mut folder = root.try_clone().map_err(|e| errno(&e))?;
    for component in split(path).0 {
        match rustix::fs::mkdirat(&folder, component, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        folder = open_subfolder(&folder, component)?;
    }
    Ok(folder)
}

fn errno(error: &std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO)
}

/// Removes the folders of `path` that have become empty, innermost first.
pub(crate) fn remove_empty_parents(root: &OwnedFd, path: &[u8]) {
    let mut path = path;
    while let Some(at) = path.iter().rposition(|&b| b == b'/') {
        path = &path[..at];
        let Ok(Some(parent)) = open_parent(root, path) else { return };
        if rustix::fs::unlinkat(&parent, split(path).1, AtFlags::REMOVEDIR).is_err() {
            return;
        }
    }
}

/// A file as it shall be on disk.
pub(crate) enum Content<'a> {
    /// A regular file.
    File { bytes: &'a [u8], executable: bool },
    /// A symbolic link and its target.
    Link(&'a [u8]),
    /// An empty folder, where a submodule would be.
    Folder,
}

/// Writes `content` under a name that nothing has yet. Leaves nothing there if it fails.
pub(crate) fn write_new(folder: &OwnedFd, name: &[u8], content: &Content<'_>) -> std::io::Result<()> {
    match *content {
        Content::Link(target) => Ok(rustix::fs::symlinkat(target, folder, name)?),
        Content::Folder => Ok(rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o777))?),
        Content::File { bytes, executable } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
            let mut file = File::from(rustix::fs::openat(folder, name, flags, mode)?);
            file.write_all(bytes).inspect_err(|_| {
                let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
            })
        }
    }
}

/// A name for a temporary file beside the real one.
pub(crate) fn temporary_name(tag: &str, number: usize) -> Vec<u8> {
    format!(".boocoder-{tag}-{number}").into_bytes()
}

/// The path whose bytes are `bytes`.
pub(crate) fn os_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_may_replace_one_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|_| replace(&path, b"whole").unwrap()));
            }
        });
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
