//! The sending half of wake-ups: `NOTIFY` on a connection of its own, after the commit.
//!
//! A transaction that notifies holds a lock of the whole server until its commit is on the disk, so
//! notifying ones never share a flush: enqueueing within it was measured 3 to 9 times slower. A transaction
//! that does nothing else holds the lock for microseconds.

use std::{sync::Arc, time::Duration};

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

/// How long one notification may take; a lost one costs at most a poll's interval.
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
        let shared = Arc::new(Shared { address, sender, within, line, put_off: Notify::new() });
        let later = tokio::spawn({
            let shared = shared.clone();
            async move { shared.send_what_was_put_off().await }
        });
        Self { shared, later }
    }

    /// Wakes everybody. When this returns, the notification has gone out, unless another one did less than
    /// 5 ms ago: then it goes out behind that, in a moment.
    ///
    /// So a process that records one task and ends has woken the others.
    pub async fn ring(&self) {
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
    fn drop(&mut self) {
        self.later.abort();
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
