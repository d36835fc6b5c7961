//! Lock files of nodes: held for as long as their process lives, whatever engine keeps the record.
//!
//! The system lets go of a lock when its process ends, however it ends, so a free lock means a dead node.
//! Processes may take, probe and remove these files at the same time: a lock counts only while its path
//! still leads to the locked file, and a file is removed only by whoever has it locked.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use dispatch_core::ids::NodeId;

use crate::fault::Fault;

/// How often a lock that somebody holds is tried again before its node counts as running: whoever only
/// looks whether it is free, or removes the file, has it for microseconds.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// A held lock file.
#[derive(Debug)]
pub(crate) struct NodeLock {
    path: PathBuf,
    _held: File,
}

impl NodeLock {
    /// Takes the node's lock. Blocks for up to 0.1 s where another process has it.
    ///
    /// # Errors
    /// [`Fault::NodeTaken`] when another holder lives.
    pub fn acquire(folder: &Path, node: NodeId) -> Result<Self, Fault> {
        let path = path(folder, &node.to_string());
        for _ in 0..TRIES {
            match lock(&path, Missing::Make).map_err(|source| Fault::Lock { path: path.clone(), source })? {
                Found::Locked(held) => return Ok(Self { path, _held: held }),
                Found::Held | Found::Missing => std::thread::sleep(PAUSE),
            }
        }
        Err(Fault::NodeTaken(node))
    }

    /// Removes the file, then lets go.
    pub fn release(self) {
        remove(&self.path);
    }
}

/// Whether a process of this machine is this node, whichever engine keeps its record: whether it holds the node's lock
/// below `data_dir`. That the lock's file is there says nothing: a process that was killed leaves it behind.
///
/// # Errors
/// When the file cannot be looked at.
pub fn is_node_running(data_dir: &Path, node: NodeId) -> io::Result<bool> {
    let path = path(&data_dir.join("nodes"), &node.to_string());
    Ok(matches!(lock(&path, Missing::Leave)?, Found::Held))
}

/// Whether no live process holds the node's lock; a node without a file has none.
pub(crate) fn is_free(folder: &Path, node: &str) -> Result<bool, Fault> {
    let path = path(folder, node);
    match lock(&path, Missing::Leave).map_err(|source| Fault::Lock { path, source })? {
        Found::Locked(_) | Found::Missing => Ok(true),
        Found::Held => Ok(false),
    }
}

/// Removes the lock file of a node that is gone; answers whether it is.
pub(crate) fn sweep(folder: &Path, node: &str) -> Result<bool, Fault> {
    let path = path(folder, node);
    match lock(&path, Missing::Leave).map_err(|source| Fault::Lock { path: path.clone(), source })? {
        Found::Locked(_held) => remove(&path),
        Found::Missing => {}
        Found::Held => return Ok(false),
    }
    Ok(true)
}

/// Removes the lock files of nodes that are gone and that `is_known` does not know: their process died
/// while it joined.
pub(crate) fn sweep_strays(folder: &Path, is_known: impl Fn(&str) -> bool) -> Result<(), Fault> {
    let failed = |source| Fault::Lock { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else { continue };
        if id.parse::<NodeId>().is_ok() && !is_known(id) {
            sweep(folder, id)?;
        }
    }
    Ok(())
}

fn path(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}.lock"))
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a node's lock file stays");
        }
        _ => {}
    }
}

/// What to do where there is no lock file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

/// What became of one try.
enum Found {
    Locked(File),
    Held,
    Missing,
}

/// Tries to lock the file that `path` leads to.
fn lock(path: &Path, missing: Missing) -> io::Result<Found> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(missing == Missing::Make)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound && missing == Missing::Leave => {
            return Ok(Found::Missing);
        }
        Err(e) => return Err(e),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Found::Held),
        Err(TryLockError::Error(source)) => return Err(source),
    }
    // Between opening and locking, the file may have been removed and another one made in its place.
    match fs::symlink_metadata(path) {
        Ok(there) if there.ino() == file.metadata()?.ino() => Ok(Found::Locked(file)),
        Ok(_) => Ok(Found::Held),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_random([byte; 16])
    }

    #[test]
    fn one_holder_at_a_time_whoever_looks_and_sweeps() {
        const ROUNDS: usize = 200;
        let folder = tempfile::tempdir().unwrap();
        let (folder, id) = (folder.path(), node(1).to_string());
        std::thread::scope(|scope| {
            let holders: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut held = 0;
                        for _ in 0..ROUNDS {
                            let Ok(lock) = NodeLock::acquire(folder, node(1)) else { continue };
                            assert!(!is_free(folder, &id).unwrap() && !sweep(folder, &id).unwrap());
                            held += 1;
                            lock.release();
                        }
                        held
                    })
                })
                .collect();
            while holders.iter().any(|holder| !holder.is_finished()) {
                is_free(folder, &id).unwrap();
                sweep(folder, &id).unwrap();
            }
            let held: usize = holders.into_iter().map(|holder| holder.join().unwrap()).sum();
            assert!(held > 0);
        });
        assert!(is_free(folder, &id).unwrap());
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    }

    #[test]
    fn a_second_holder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let held = NodeLock::acquire(folder.path(), node(1)).unwrap();
        let refused = NodeLock::acquire(folder.path(), node(1)).unwrap_err();
        assert!(matches!(refused, Fault::NodeTaken(taken) if taken == node(1)), "{refused}");
        drop(held);
        NodeLock::acquire(folder.path(), node(1)).unwrap();
    }

    #[test]
    fn strays_are_swept_and_what_is_known_or_foreign_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in [format!("{}.lock", node(1)), format!("{}.lock", node(2)), "notes.lock".into()] {
            fs::write(file(&name), "").unwrap();
        }
        sweep_strays(folder.path(), |id| id == node(2).to_string()).unwrap();
        assert!(!file(&format!("{}.lock", node(1))).exists());
        assert!(file(&format!("{}.lock", node(2))).exists() && file("notes.lock").exists());
    }
}
