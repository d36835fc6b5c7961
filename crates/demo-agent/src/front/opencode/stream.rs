//! The stream of events, to everybody who listens.

use serde_json::{Value, json};
use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

/// How long it is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Events that may wait for one listener; whoever tells more waits with them.
const WAITING: usize = 256;

/// Everybody who listens.
#[derive(Debug, Default)]
pub(super) struct Streams {
    listeners: Mutex<Vec<Listener>>,
    events: AtomicU64,
}

/// One who listens.
#[derive(Debug, Clone)]
struct Listener {
    number: u64,
    to: SyncSender<Arc<str>>,
}

impl Streams {
    /// Tells of something in a folder.
    pub fn tell(&self, directory: &str, kind: &str, properties: &Value) {
        let line: Arc<str> = self.line(Some(directory), kind, properties).into();
        // Not under the lock: a listener that is slow holds up whoever tells, and nobody else.
        let listeners = self.lock().clone();
        for Listener { number, to } in listeners {
            if to.send(Arc::clone(&line)).is_err() {
                self.lock().retain(|listener| listener.number != number);
            }
        }
    }

    /// Tells one listener of everything, until it is gone.
    pub fn serve(&self, to: &mut impl Write) -> io::Result<()> {
        let (listener, events) = sync_channel(WAITING);
        // Told through the queue of a listener who is in the list: whoever has read it misses nothing from there on.
        let _ = listener.send(self.line(None, "server.connected", &json!({})).into());
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        self.lock().push(Listener { number, to: listener });
        self.pass_on(&events, to)
    }

    fn pass_on(&self, events: &Receiver<Arc<str>>, to: &mut impl Write) -> io::Result<()> {
        loop {
            match events.recv_timeout(HEARTBEAT) {
                Ok(line) => to.write_all(line.as_bytes())?,
                Err(RecvTimeoutError::Timeout) => {
                    to.write_all(self.line(None, "server.heartbeat", &json!({})).as_bytes())?;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn line(&self, directory: Option<&str>, kind: &str, properties: &Value) -> String {
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        let payload = json!({"id": format!("evt_{number}"), "type": kind, "properties": properties});
        let event = match directory {
            Some(directory) => json!({"directory": directory, "payload": payload}),
            None => json!({"payload": payload}),
        };
        format!("data: {event}\n\n")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
