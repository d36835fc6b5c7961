//! The store's handle.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use dispatch_core::ids::NodeId;
use tokio::{sync::watch, task::AbortHandle};

use super::{
    connect::{Address, ConnectError, PostgresConfig},
    db::{Db, Tx},
    host::Host,
    listener::{self, Listener},
    notifier::Notifier,
};
use crate::{fault::Fault, fresh::random, node_lock::NodeLock};

/// The record in a PostgreSQL database. Any number of processes, on any number of machines, may have it open.
///
/// It belongs to the tokio runtime that it was connected in, which needs I/O and time.
pub struct PostgresStore {
    pub(super) db: Db,
    pub(super) host: Host,
    pub(super) lease: Duration,
    pub(super) notifier: Notifier,
    address: Address,
    /// Tells this handle's notifications from others'.
    sender: String,
    wakes: watch::Sender<()>,
    listening: OnceLock<AbortHandle>,
    nodes: Mutex<HashMap<NodeId, HeldNode>>,
}

/// A node that this handle is.
pub(super) struct HeldNode {
    /// Its row.
    pub num: i64,
    pub lock: NodeLock,
}

impl PostgresStore {
    /// Connects, and brings the schema up to date; waits for another process that does.
    ///
    /// # Errors
    /// [`ConnectError`], whose text says what to do, and whose class whether trying again may help.
    pub async fn connect(config: PostgresConfig) -> Result<Self, ConnectError> {
        let folder = |source| ConnectError::Folder { path: config.data_dir.clone(), source };
        let address = Address::parse(&config.url)?;
        address.prepare().await?;
        let host = Host::of(&config.data_dir).map_err(folder)?;
        let sender = random().map_err(|fault| folder(std::io::Error::other(fault)))?;
        let sender = format!("{:032x}", u128::from_be_bytes(sender));
        let wakes = watch::Sender::new(());
        Ok(Self {
            db: Db::new(address.pool(config.connections)?),
            host,
            lease: config.lease,
            notifier: Notifier::new(address.clone(), sender.clone(), wakes.clone()),
            address,
            sender,
            wakes,
            listening: OnceLock::new(),
            nodes: Mutex::default(),
        })
    }

    /// The nodes that this handle is.
    pub(super) fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, HeldNode>> {
        // The map is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of a node that this handle is.
    pub(super) fn node(&self, node: NodeId) -> Option<i64> {
        self.nodes().get(&node).map(|held| held.num)
    }

    /// Commits, and wakes whoever may want to act on it.
    pub(super) async fn commit(&self, tx: Tx) -> Result<(), Fault> {
        let wakes = tx.wakes;
        tx.commit().await?;
        if wakes {
            self.notifier.ring().await;
        }
        Ok(())
    }

    /// Wake-ups from now on; the first call begins to listen.
    pub(super) fn listen(&self) -> Listener {
        let listener = Listener::new(&self.wakes);
        self.listening.get_or_init(|| {
            listener::listen(self.address.clone(), self.sender.clone(), self.wakes.clone()).abort_handle()
        });
        listener
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.get() {
            listening.abort();
        }
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("database", &self.address.shown).finish_non_exhaustive()
    }
}
