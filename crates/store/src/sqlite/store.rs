//! The store's handle.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use dispatch_core::ids::NodeId;

use super::{
    folder::Folder,
    node::NodeLock,
    open::{OpenError, open_writer},
    readers::Readers,
    writer::Writer,
};

/// The record in one folder on this machine. Several processes may have it open at once.
///
/// Its asynchronous methods need a tokio runtime.
pub struct SqliteStore {
    // In this order: the writer's connection is the last to close, and tidies the log away.
    pub(super) readers: Readers,
    pub(super) writer: Writer,
    pub(super) nodes: PathBuf,
    locks: Mutex<HashMap<NodeId, NodeLock>>,
}

impl SqliteStore {
    /// Opens the record in `data_dir`, and makes both where there is nothing yet.
    ///
    /// # Errors
    /// [`OpenError`] when the folder is somebody else's or cannot be written, or when a newer build has
    /// written the record; its text says what to do.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let folder = Folder::prepare(data_dir)?;
        let writer = Writer::start(open_writer(&folder)?, &folder.database).map_err(OpenError::Thread)?;
        let readers = Readers::new(folder.database);
        Ok(Self { readers, writer, nodes: folder.nodes, locks: Mutex::default() })
    }

    /// The locks of the nodes that this handle is.
    pub(super) fn locks(&self) -> MutexGuard<'_, HashMap<NodeId, NodeLock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}
