//! Locks between processes and threads. They are `flock`s: they end with their holder, however it ends, where a
//! lock *file* would stay behind after a SIGKILL and block everything.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{Error, Result};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks a folder that others have reason to keep, like a repository's common directory: needs no file in it.
    pub(crate) fn folder(path: &Path, wait: Duration, cancel: &AtomicBool) -> Result<Self> {
        let folder = crate::fsio::open_folder(path).map_err(|e| Error::io("open", path, e))?;
        let file = File::from(folder);
        wait_for(&file, path, wait, cancel)?;
        Ok(Self { _file: file })
    }

    /// Locks a file of ours, creating it. It may be removed by whoever holds the lock.
    pub(crate) fn file(path: &Path, wait: Duration, cancel: &AtomicBool) -> Result<Self> {
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => File::from(file),
                Err(error) => return Err(Error::io("open", path, error)),
            };
            wait_for(&file, path, wait, cancel)?;
            // The holder before us may have removed the file: then this lock is on nothing that others see.
            let ours = file.metadata().map_err(|e| Error::io("examine", path, e))?;
            match std::fs::symlink_metadata(path) {
                Ok(now) if now.ino() == ours.ino() && now.dev() == ours.dev() => {
                    return Ok(Self { _file: file });
                }
                _ => continue,
            }
        }
    }
}

fn wait_for(file: &File, path: &Path, wait: Duration, cancel: &AtomicBool) -> Result<()> {
    let deadline = Instant::now() + wait;
    let mut pause = Duration::from_millis(1);
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::io("lock", path, error)),
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if Instant::now() >= deadline {
            return Err(Error::Busy { path: path.to_owned() });
        }
        // `flock` has no timeout; a short, growing pause keeps both the latency and the load small.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}

/// Fails if the flag is raised.
pub(crate) fn check(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
}
