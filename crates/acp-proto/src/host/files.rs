//! `fs/read_text_file` and `fs/write_text_file`, beneath one folder.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;

use super::replacement::Replacement;

/// What to do when an agent reads a file that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingFile {
    /// Say that it was not found.
    #[default]
    Refuse,
    /// Say that it is empty. gemini reads each file before it creates it, and takes any error for a failure.
    Empty,
}

/// How large a file may be.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// The longest text that is handed out, in bytes as JSON writes them: a line break counts as two. 8 MiB.
    pub read: usize,
    /// The longest text that is written, in bytes. 16 MiB.
    pub write: usize,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self { read: 8 * 1024 * 1024, write: 16 * 1024 * 1024 }
    }
}

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path leads out of the session's folder, by its name or by a symbolic link.
    #[error("{} is outside of the session's folder", path.display())]
    Outside {
        /// What was asked for.
        path: PathBuf,
    },
    /// Git's own files, which decide what git runs, are not served.
    #[error("{} belongs to git", path.display())]
    Git {
        /// What was asked for.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// A folder, a pipe, a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was asked for.
        path: PathBuf,
    },
    /// The file is not UTF-8, and would be damaged if it were written back.
    #[error("{} is not a text file", path.display())]
    NotText {
        /// What was asked for.
        path: PathBuf,
    },
    /// More than the limit.
    #[error("{} has more than {limit} bytes; ask for fewer lines", path.display())]
    TooLarge {
        /// What was asked for.
        path: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
    /// Anything else.
    #[error("failed to {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// What was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The files of one folder. Blocks; everything is resolved by the kernel beneath the folder as it was opened
/// (`openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_MAGICLINKS`), so that no link that an agent makes, at any
/// moment, leads outside.
#[derive(Debug)]
pub struct Files {
    root: OwnedFd,
    /// The folder's names: as it was given, and without links. Agents use either.
    names: [PathBuf; 2],
    /// Where a file has its name for a moment, before it takes another one's place.
    scratch: Option<OwnedFd>,
    limits: FileLimits,
    missing: MissingFile,
}

/// The largest file that is looked into for its lines, in bytes. An agent can make a sparse one that would take
/// hours to count through.
const SCANNED: usize = 1 << 30;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

impl Files {
    /// Opens a folder.
    ///
    /// # Errors
    /// It does not exist, or is no folder.
    pub fn open(root: &Path, limits: FileLimits, missing: MissingFile) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty())?;
        let names = [root.to_owned(), root.canonicalize()?];
        Ok(Self { root: fd, names, scratch: None, limits, missing })
    }

    /// With a folder of the caller's, outside of this one and on its file system, where a new text has its name
    /// for the moment before it takes an old one's place. Without it, or on another file system, that is
    /// beside the old one, and a process that is killed in this moment leaves it there.
    ///
    /// # Errors
    /// It does not exist, or is no folder.
    pub fn with_scratch(mut self, folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.scratch = Some(rustix::fs::open(folder, flags, Mode::empty())?);
        Ok(self)
    }

    /// The folder, without links.
    pub fn root(&self) -> &Path {
        &self.names[1]
    }

    /// Reads a file, or `limit` lines of it from line `line` (1-based) on.
    ///
    /// # Errors
    /// See [`FileError`]. Lines beyond the end are no error, but an empty text.
    pub fn read(&self, path: &Path, line: Option<u32>, limit: Option<u32>) -> Result<String, FileError> {
        let inside = self.inside(path)?;
        // Non-blocking, for an agent may have put a pipe there.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match openat2(&self.root, &inside, flags, Mode::empty(), BENEATH) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) if self.missing == MissingFile::Empty => return Ok(String::new()),
            Err(error) => return Err(refusal(error, "open", path)),
        };
        if !is_file(&file, path)? {
            return Err(FileError::NotAFile { path: path.to_owned() });
        }
        // A link may lead to git's files.
        self.real(&file, path)?;
        let size = fstat(&file).map_err(|error| refusal(error, "look at", path))?.st_size;
        if usize::try_from(size).is_ok_and(|size| size > SCANNED) {
            return Err(FileError::TooLarge { path: path.to_owned(), limit: SCANNED });
        }
        let skip = line.unwrap_or(1).saturating_sub(1);
        let text = match (skip, limit) {
            (0, None) => self.read_whole(file, path)?,
            (skip, limit) => self.read_lines(file, path, skip, limit.unwrap_or(u32::MAX))?,
        };
        String::from_utf8(text).map_err(|_| FileError::NotText { path: path.to_owned() })
    }

    /// Writes a file whole, with the folders that it needs. A reader sees the old text or the new one; an
    /// existing file keeps its mode, and a link inside the folder stays a link.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn write(&self, path: &Path, content: &str) -> Result<(), FileError> {
        if content.len() > self.limits.write {
            return Err(FileError::TooLarge { path: path.to_owned(), limit: self.limits.write });
        }
        let named = self.inside(path)?;
        let (inside, mode) = match self.existing(&named, path)? {
            Some((inside, mode)) => (inside, Some(mode)),
            None => (named, None),
        };
        let Some(name) = inside.file_name() else {
            return Err(FileError::NotAFile { path: path.to_owned() });
        };
        let folder = self.make_folders(inside.parent().unwrap_or(Path::new("")), path)?;
        let scratch = self.scratch.as_ref();
        let replacement = Replacement { folder: &folder, name, scratch, mode, content };
        replacement.put().map_err(|error| refusal(error, "write", path))
    }

    /// Opens a folder to list it; also tells its path relative to this one, without links.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn folder(&self, path: &Path) -> Result<(OwnedFd, PathBuf), FileError> {
        // With the dot, which names the folder itself.
        let inside = Path::new(".").join(self.inside(path)?);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let folder = openat2(&self.root, &inside, flags, Mode::empty(), BENEATH)
            .map_err(|error| refusal(error, "open", path))?;
        let real = self.real(&folder, path)?;
        Ok((folder, real))
    }

    /// The path relative to the folder.
    fn inside(&self, path: &Path) -> Result<PathBuf, FileError> {
        let relative = if path.is_absolute() {
            let found = self.names.iter().find_map(|name| path.strip_prefix(name).ok());
            found.ok_or_else(|| FileError::Outside { path: path.to_owned() })?
        } else {
            path
        };
        guard(relative, path)?;
        Ok(relative.to_owned())
    }

    /// Where a file that exists really is, and its mode.
    fn existing(&self, inside: &Path, path: &Path) -> Result<Option<(PathBuf, Mode)>, FileError> {
        let found = match openat2(&self.root, inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), BENEATH)
        {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return self.absent(inside, path).map(|()| None),
            Err(error) => return Err(refusal(error, "open", path)),
        };
        if !is_file(&found, path)? {
            return Err(FileError::NotAFile { path: path.to_owned() });
        }
        let mode = fstat(&found).map_err(|error| refusal(error, "look at", path))?.st_mode;
        let real = self.real(&found, path)?;
        Ok(Some((real, Mode::from_raw_mode(mode))))
    }

    /// Refuses a link to nothing: its target may be anywhere.
    fn absent(&self, inside: &Path, path: &Path) -> Result<(), FileError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat2(&self.root, inside, flags, Mode::empty(), BENEATH) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => Err(FileError::NotAFile { path: path.to_owned() }),
            Err(error) => Err(refusal(error, "open", path)),
        }
    }

    /// The path of an open file relative to the folder, without links.
    fn real(&self, file: &impl AsFd, path: &Path) -> Result<PathBuf, FileError> {
        let name = |fd: &dyn AsRawFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let failed = |source| FileError::Io { action: "resolve", path: path.to_owned(), source };
        let real = name(&file.as_fd()).map_err(failed)?;
        let root = name(&self.root).map_err(failed)?;
        let relative =
            real.strip_prefix(&root).map_err(|_| FileError::Outside { path: path.to_owned() })?.to_owned();
        guard(&relative, path)?;
        Ok(relative)
    }

    /// Opens a folder, making what is missing of it.
    fn make_folders(&self, inside: &Path, path: &Path) -> Result<OwnedFd, FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let here = Path::new(".");
        let mut folder = openat2(&self.root, here, flags, Mode::empty(), BENEATH)
            .map_err(|error| refusal(error, "open", path))?;
        let mut reached = PathBuf::new();
        for component in inside.components() {
            reached.push(component);
            // From the root each time: a link in the middle may lead up, but not out.
            folder = match openat2(&self.root, &reached, flags, Mode::empty(), BENEATH) {
                Err(Errno::NOENT) => {
                    match mkdirat(&folder, component.as_os_str(), Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(refusal(error, "make a folder for", path)),
                    }
                    openat2(&self.root, &reached, flags, Mode::empty(), BENEATH)
                }
                other => other,
            }
            .map_err(|error| refusal(error, "open the folder of", path))?;
            // A link may lead to git's files; nothing is made there either.
            self.real(&folder, path)?;
        }
        Ok(folder)
    }

    fn read_whole(&self, file: File, path: &Path) -> Result<Vec<u8>, FileError> {
        let mut text = Vec::new();
        file.take(self.limits.read as u64 + 1).read_to_end(&mut text).map_err(read_failed(path))?;
        self.check(text, path)
    }

    fn read_lines(&self, file: File, path: &Path, skip: u32, limit: u32) -> Result<Vec<u8>, FileError> {
        let mut file = BufReader::new(file);
        for _ in 0..skip {
            if file.skip_until(b'\n').map_err(read_failed(path))? == 0 {
                return Ok(Vec::new());
            }
        }
        let mut text = Vec::new();
        for _ in 0..limit {
            let room = (self.limits.read + 1).saturating_sub(text.len()) as u64;
            let read = file.by_ref().take(room).read_until(b'\n', &mut text).map_err(read_failed(path))?;
            if read == 0 || text.len() > self.limits.read {
                break;
            }
        }
        self.check(text, path)
    }

    fn check(&self, text: Vec<u8>, path: &Path) -> Result<Vec<u8>, FileError> {
        if text.iter().map(|byte| escaped_length(*byte)).sum::<usize>() > self.limits.read {
            return Err(FileError::TooLarge { path: path.to_owned(), limit: self.limits.read });
        }
        Ok(text)
    }
}

/// Refuses git's own files at any depth, in any spelling that a file system may fold.
fn guard(relative: &Path, path: &Path) -> Result<(), FileError> {
    let is_git = |component: Component<'_>| component.as_os_str().eq_ignore_ascii_case(".git");
    if relative.components().any(is_git) {
        return Err(FileError::Git { path: path.to_owned() });
    }
    Ok(())
}

fn is_file(file: &File, path: &Path) -> Result<bool, FileError> {
    let stat = fstat(file).map_err(|error| refusal(error, "look at", path))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// How many bytes of JSON a byte of text makes.
fn escaped_length(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

fn read_failed(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io { action: "read", path: path.to_owned(), source }
}

/// What the kernel's answer means for the agent.
fn refusal(error: Errno, action: &'static str, path: &Path) -> FileError {
    let path = path.to_owned();
    match error {
        // EXDEV is RESOLVE_BENEATH's "it leads outside", ELOOP RESOLVE_NO_MAGICLINKS' "no magic".
        Errno::XDEV | Errno::LOOP => FileError::Outside { path },
        Errno::NOENT => FileError::Missing { path },
        Errno::ISDIR | Errno::NXIO => FileError::NotAFile { path },
        other => FileError::Io { action, path, source: other.into() },
    }
}
