//! The one connection that writes, on a thread of its own.

use std::{
    cell::Cell,
    fs::File,
    ops::Deref,
    path::PathBuf,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::bell::Bell;
use crate::fault::Fault;

/// A transaction that holds the write lock.
pub(super) struct Write<'c> {
    transaction: Transaction<'c>,
    rings: Cell<bool>,
}

impl Write<'_> {
    /// Rings the bell once this is committed: dispatchers have something to look at.
    pub fn ring(&self) {
        self.rings.set(true);
    }

    /// Answers whether the bell is to be rung.
    fn commit(self) -> rusqlite::Result<bool> {
        self.transaction.commit()?;
        Ok(self.rings.get())
    }
}

impl<'c> Deref for Write<'c> {
    type Target = Transaction<'c>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

/// When a commit is on the disk. Either way it survives the death of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    /// Before the call returns.
    Now,
    /// Within [`SOON`], or with the next commit that is durable now.
    Soon,
}

/// The longest time that a commit stays only in the system's memory (SPEC T8: durable within a second).
const SOON: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce(&mut Disk) + Send>;

/// The writing connection, and whether the disk has everything that was committed on it.
struct Disk {
    connection: Connection,
    log: PathBuf,
    bell: Bell,
    syncing: Option<Durable>,
    /// Since when a commit is not on the disk yet.
    behind: Option<Instant>,
}

/// A handle to the writing thread. Dropping it waits for the write under way and closes the connection.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn start(connection: Connection, database: &std::path::Path, bell: Bell) -> std::io::Result<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let disk = Disk { connection, log: log.into(), bell, syncing: None, behind: None };
        // Unbounded, but every caller waits for its answer before it writes again.
        let (jobs, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(|| work(disk, waiting))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `job` in a transaction that holds the write lock: committed when it returns `Ok`, else undone.
    /// A caller that goes away does not undo what it asked for.
    pub async fn write<T: Send + 'static>(
        &self,
        durable: Durable,
        job: impl FnOnce(&Write<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |disk| {
            // Nobody may be waiting any more; the write counts all the same.
            let _ = answer.send(disk.transact(durable, job));
        });
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or(Fault::Closed)?;
        answered.await.unwrap_or(Err(Fault::Closed))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A job that panicked was reported by its own caller's `Closed`.
            let _ = thread.join();
        }
    }
}

fn work(mut disk: Disk, waiting: Receiver<Job>) {
    loop {
        let next = match disk.behind.map(|since| SOON.saturating_sub(since.elapsed())) {
            Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
            Some(patience) => waiting.recv_timeout(patience),
            None => waiting.recv().map_err(Into::into),
        };
        match next {
            Ok(job) => job(&mut disk),
            Err(RecvTimeoutError::Timeout) => disk.catch_up(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

impl Disk {
    fn transact<T>(
        &mut self,
        durable: Durable,
        job: impl FnOnce(&Write<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.sync(durable)?;
        let before = self.connection.total_changes();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let write = Write { transaction, rings: Cell::new(false) };
        let done = job(&write)?;
        if write.commit()? {
            self.bell.ring();
        }
        // A commit that changed nothing writes nothing, and so takes nothing earlier to the disk with it.
        if self.connection.total_changes() != before {
            self.behind = match durable {
                Durable::Now => None,
                Durable::Soon => self.behind.or_else(|| Some(Instant::now())),
            };
        }
        Ok(done)
    }

    /// A setting of the connection, not of the file: changing it costs microseconds.
    fn sync(&mut self, durable: Durable) -> rusqlite::Result<()> {
        if self.syncing == Some(durable) {
            return Ok(());
        }
        self.syncing = None;
        self.connection.execute_batch(match durable {
            Durable::Now => "PRAGMA synchronous = FULL",
            Durable::Soon => "PRAGMA synchronous = NORMAL",
        })?;
        self.syncing = Some(durable);
        Ok(())
    }

    /// Puts on the disk what was committed without waiting for it.
    fn catch_up(&mut self) {
        if let Err(error) = File::open(&self.log).and_then(|log| log.sync_data()) {
            tracing::warn!(log = %self.log.display(), %error, "recent frames are not on the disk yet");
        }
        self.behind = None;
    }
}
