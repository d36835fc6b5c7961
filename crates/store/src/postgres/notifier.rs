//! The sending half of wake-ups: `NOTIFY` on a connection of its own, after the commit.
//!
//! A transaction that notifies holds a lock of the whole server until its commit is on the disk, so
//! notifying ones never share a flush: enqueueing within it was measured 3 to 9 times slower. A transaction
//! that does nothing else holds the lock for microseconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_postgres::{Client, NoTls};

use super::{
    connect::{Address, CONNECT},
    db::said,
};

/// The least time between two notifications: what comes sooner is put together.
const PAUSE: Duration = Duration::from_millis(5);

/// How long one notification may take; a lost one costs at most a poll's interval (SPEC D1).
const PATIENCE: Duration = Duration::from_secs(3);

/// Wakes whoever listens, in this process and others.
pub(super) struct Notifier {
    shared: Arc<Shared>,
    later: JoinHandle<()>,
}

struct Shared {
    address: Address,
    /// Sent along, so that the listener of this process knows what it was told already.
    sender: String,
    /// For whoever waits in this process.
    within: watch::Sender<()>,
    line: Mutex<Line>,
    put_off: Notify,
    /// How often it was rung, and up to which of these a notification was tried.
    rung: AtomicU64,
    told: AtomicU64,
}

/// The connection, and when it was last used.
#[derive(Default)]
struct Line {
    client: Option<Client>,
    last: Option<Instant>,
}

impl Notifier {
    /// A notifier that connects when it is first needed. `sender` tells it from all others.
    pub fn new(address: Address, sender: String, within: watch::Sender<()>) -> Self {
        let line = Mutex::default();
        let shared = Arc::new(Shared {
            address,
            sender,
            within,
            line,
            put_off: Notify::new(),
            rung: AtomicU64::new(0),
            told: AtomicU64::new(0),
        });
        let later = tokio::spawn({
            let shared = shared.clone();
            async move { shared.send_what_was_put_off().await }
        });
        Self { shared, later }
    }

    /// Wakes everybody. When this returns, the notification has gone out, unless another one did less than
    /// 5 ms ago: then it goes out behind that, in a moment, and before the notifier is gone.
    ///
    /// So a process that records some tasks and ends has woken the others.
    pub async fn ring(&self) {
        self.shared.rung.fetch_add(1, Ordering::SeqCst);
        self.shared.within.send_replace(());
        let Ok(mut line) = self.shared.line.try_lock() else {
            self.shared.put_off.notify_one();
            return;
        };
        if line.last.is_some_and(|last| last.elapsed() < PAUSE) {
            self.shared.put_off.notify_one();
            return;
        }
        self.shared.send(&mut line).await;
    }
}

impl Drop for Notifier {
    /// Sends what was put off, or broken off. The runtime may be on its way out, and takes the connection with it:
    /// this is done without either.
    fn drop(&mut self) {
        self.later.abort();
        if self.shared.told.load(Ordering::SeqCst) == self.shared.rung.load(Ordering::SeqCst) {
            return;
        }
        let shared = self.shared.clone();
        let last = std::thread::Builder::new().name("store-notifier".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(shared.send(&mut Line::default()));
            std::io::Result::Ok(())
        });
        match last.map(std::thread::JoinHandle::join) {
            // A panic was reported where it happened.
            Ok(Ok(Ok(())) | Err(_)) => {}
            Ok(Ok(Err(error))) | Err(error) => tracing::debug!("other processes are not woken: {error}"),
        }
    }
}

impl Shared {
    async fn send_what_was_put_off(&self) {
        loop {
            self.put_off.notified().await;
            let mut line = self.line.lock().await;
            if let Some(last) = line.last {
                tokio::time::sleep_until(last + PAUSE).await;
            }
            self.send(&mut line).await;
        }
    }

    /// Sends one notification; a broken connection is replaced once.
    async fn send(&self, line: &mut Line) {
        let rung = self.rung.load(Ordering::SeqCst);
        let sent = tokio::time::timeout(PATIENCE, async {
            let had_one = line.client.is_some();
            match self.try_send(line).await {
                Err(_) if had_one => self.try_send(line).await,
                sent => sent,
            }
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("other processes are not woken: {}", said(&error)),
            Err(_) => {
                line.client = None;
                tracing::debug!("other processes are not woken: the database does not answer");
            }
        }
        line.last = Some(Instant::now());
        self.told.fetch_max(rung, Ordering::SeqCst);
    }

    async fn try_send(&self, line: &mut Line) -> Result<(), tokio_postgres::Error> {
        let client = match line.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => {
                let mut config = self.address.config.clone();
                let (client, connection) = config.connect_timeout(CONNECT).connect(NoTls).await?;
                // Its errors are those of the client's calls.
                tokio::spawn(connection);
                client
            }
        };
        // The sender is hexadecimal.
        client.batch_execute(&format!("NOTIFY tasks_new, '{}'", self.sender)).await?;
        line.client = Some(client);
        Ok(())
    }
}
