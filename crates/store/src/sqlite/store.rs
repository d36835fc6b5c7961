//! The store's handle.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dispatch_core::ids::NodeId;

use super::{
    bell::Bell, folder::Folder, open::open_writer, open_error::OpenError, readers::Readers, writer::Writer,
};
use crate::node_lock::NodeLock;

/// The record in one folder on this machine. Several processes may have it open at once.
///
/// Its asynchronous methods need a tokio runtime with I/O and time.
pub struct SqliteStore {
    // In this order: the writer's connection is the last to close, and tidies the log away.
    pub(super) readers: Readers,
    pub(super) writer: Writer,
    pub(super) bell: Bell,
    pub(super) nodes: Nodes,
}

impl SqliteStore {
    /// Opens the record in `data_dir`, and makes both where there is nothing yet.
    ///
    /// # Errors
    /// [`OpenError`] when the folder is somebody else's or cannot be written, or when a newer build has
    /// written the record; its text says what to do.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let folder = Folder::prepare(data_dir)?;
        let bell = Bell::new(folder.bell.clone())?;
        let connection = open_writer(&folder)?;
        let writer = Writer::start(connection, &folder.database, bell.clone()).map_err(OpenError::Thread)?;
        let readers = Readers::new(folder.database);
        Ok(Self { readers, writer, bell, nodes: Nodes { folder: folder.nodes, held: Arc::default() } })
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("nodes", &self.nodes.folder).finish_non_exhaustive()
    }
}

/// The folder of the lock files, and the locks of the nodes that this handle is.
#[derive(Clone)]
pub(super) struct Nodes {
    pub folder: PathBuf,
    held: Arc<Mutex<HashMap<NodeId, NodeLock>>>,
}

impl Nodes {
    pub fn held(&self) -> MutexGuard<'_, HashMap<NodeId, NodeLock>> {
        // The map is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
