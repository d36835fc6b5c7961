//! Reading one file, as git would see it.

use std::io::Read;
use std::os::fd::OwnedFd;

use gix::bstr::{BStr, ByteSlice};
use gix::index::State;
use gix::index::entry::Mode;
use rustix::fs::FileType;

use crate::checkpoint::SkipReason;
use crate::fsio;
use crate::index;

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
pub(super) fn is_storable(name: &[u8], mode: Mode) -> bool {
    let options = gix::validate::path::component::Options {
        protect_windows: false,
        protect_hfs: false,
        protect_ntfs: true,
    };
    let mode = (mode == Mode::SYMLINK).then_some(gix::validate::path::component::Mode::Symlink);
    gix::validate::path::component(name.as_bstr(), mode, options).is_ok()
}

/// If the folder is a repository of its own: what its `HEAD` says, empty if that cannot be read.
pub(super) fn nested_head(folder: &OwnedFd) -> Option<String> {
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
