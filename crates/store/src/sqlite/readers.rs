//! Connections that only read, opened when they are first needed.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, Transaction};
use tokio::sync::Semaphore;

use super::open::open_reader;
use crate::fault::Fault;

/// How many may read at once. Readers wait for nobody but each other, and only so that a crowd of them does
/// not take all of the process's file descriptors.
const MOST: usize = 8;

#[derive(Clone)]
pub(super) struct Readers {
    database: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
}

impl Readers {
    pub fn new(database: PathBuf) -> Self {
        Self { database: Arc::new(database), idle: Arc::default(), free: Arc::new(Semaphore::new(MOST)) }
    }

    /// Runs `job` on one consistent view of the record.
    pub async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let Ok(free) = self.free.clone().acquire_owned().await else { return Err(Fault::Closed) };
        let readers = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut connection = readers.take()?;
            let transaction = connection.transaction()?;
            let found = job(&transaction);
            transaction.finish()?;
            readers.put_back(connection);
            drop(free);
            found
        });
        work.await.unwrap_or(Err(Fault::Closed))
    }

    fn take(&self) -> Result<Connection, Fault> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(idle.map_or_else(|| open_reader(&self.database), Ok)?)
    }

    fn put_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}
