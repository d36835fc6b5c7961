//! Nodes: a lock file that a live process holds, and a row that its tasks name.
//!
//! Every step here runs inside a write transaction. That makes all processes on the data folder take turns,
//! so nobody locks a file that another one is about to remove, or tries a lock between the making of a file
//! and the locking of it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use dispatch_core::{ids::NodeId, ports::NodeInfo};
use rusqlite::{OptionalExtension, Transaction};

use crate::{fault::Fault, fresh::now};

/// A held lock file. The system lets go of it when the process ends, however it ends.
pub(super) struct NodeLock {
    path: PathBuf,
    _held: File,
}

impl NodeLock {
    fn path(folder: &Path, node: &str) -> PathBuf {
        folder.join(format!("{node}.lock"))
    }

    fn acquire(folder: &Path, node: NodeId) -> Result<Self, Fault> {
        let path = Self::path(folder, &node.to_string());
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow)
            .open(&path);
        let file = file.map_err(|source| Fault::Lock { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _held: file }),
            Err(TryLockError::WouldBlock) => Err(Fault::NodeTaken(node)),
            Err(TryLockError::Error(source)) => Err(Fault::Lock { path, source }),
        }
    }

    /// Whether no live process holds the node's lock; a node without a file has none.
    pub fn is_free(folder: &Path, node: &str) -> Result<bool, Fault> {
        let path = Self::path(folder, node);
        let probe = match File::open(&path) {
            Ok(file) => file.try_lock(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(source) => return Err(Fault::Lock { path, source }),
        };
        match probe {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => Err(Fault::Lock { path, source }),
        }
    }

    /// Removes the file of a node that is gone.
    pub fn sweep(folder: &Path, node: &str) {
        let path = Self::path(folder, node);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a dead node's lock file stays");
            }
            _ => {}
        }
    }

    /// Removes the file, then lets go.
    pub fn release(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "this node's lock file stays");
        }
    }
}

/// Makes this process a node. Turns of a dead one with the same id stay that one's.
pub(super) fn join(tx: &Transaction<'_>, folder: &Path, node: &NodeInfo) -> Result<NodeLock, Fault> {
    let lock = NodeLock::acquire(folder, node.id)?;
    tx.prepare_cached("UPDATE node SET left = 1 WHERE id = ?1")?.execute([node.id.to_string()])?;
    tx.prepare_cached("INSERT INTO node (id, label, joined_at) VALUES (?1, ?2, ?3)")?.execute((
        node.id.to_string(),
        &node.label,
        now().0,
    ))?;
    Ok(lock)
}

/// The row of a node that has not left.
pub(super) fn number(tx: &Transaction<'_>, node: NodeId) -> rusqlite::Result<Option<i64>> {
    tx.prepare_cached("SELECT num FROM node WHERE id = ?1 AND left = 0")?
        .query_row([node.to_string()], |row| row.get(0))
        .optional()
}

/// Gives the node up; its turns are any recovery's from now on.
pub(super) fn leave(tx: &Transaction<'_>, node: NodeId, lock: Option<NodeLock>) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE node SET left = 1 WHERE id = ?1")?.execute([node.to_string()])?;
    if let Some(lock) = lock {
        lock.release();
    }
    Ok(())
}

/// Nodes whose process is gone, by row and id; their lock files are removed.
pub(super) fn dead(tx: &Transaction<'_>, folder: &Path) -> Result<Vec<i64>, Fault> {
    let mut known = tx.prepare_cached("SELECT num, id, left FROM node ORDER BY num")?;
    let nodes = known
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<(i64, String, bool)>, _>>()?;
    let mut dead = Vec::new();
    for (num, id, left) in &nodes {
        let free = NodeLock::is_free(folder, id)?;
        if free {
            NodeLock::sweep(folder, id);
        }
        if *left || free {
            dead.push(*num);
        }
    }
    sweep_strays(folder, &nodes)?;
    Ok(dead)
}

/// Removes free lock files without a row: their process died while it joined.
fn sweep_strays(folder: &Path, known: &[(i64, String, bool)]) -> Result<(), Fault> {
    let failed = |source| Fault::Lock { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else { continue };
        let is_known = known.iter().any(|(_, node, _)| node == id);
        if !is_known && id.parse::<NodeId>().is_ok() && NodeLock::is_free(folder, id)? {
            NodeLock::sweep(folder, id);
        }
    }
    Ok(())
}
