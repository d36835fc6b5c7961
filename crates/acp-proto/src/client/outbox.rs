//! Lines on their way to the agent.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::error::CloseReason;

/// A queue of lines, bounded in bytes, between everybody and the writer.
pub(super) struct Outbox {
    lines: Mutex<Option<mpsc::UnboundedSender<Line>>>,
    room: Arc<Semaphore>,
    capacity: u32,
    closed: watch::Sender<Option<CloseReason>>,
}

struct Line {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// The writer's end.
pub(super) struct Lines(mpsc::UnboundedReceiver<Line>);

impl Outbox {
    pub(super) fn new(capacity: usize) -> (Self, Lines) {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX).clamp(1, Semaphore::MAX_PERMITS as u32);
        let (sender, receiver) = mpsc::unbounded_channel();
        let outbox = Self {
            lines: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            closed: watch::Sender::new(None),
        };
        (outbox, Lines(receiver))
    }

    /// Waits for room and queues a line, unless `still` has become false while waiting; says whether it was
    /// queued. Dropping the future queues nothing.
    pub(super) async fn send_if(
        &self,
        bytes: Vec<u8>,
        still: impl FnOnce() -> bool,
    ) -> Result<bool, CloseReason> {
        let weight = u32::try_from(bytes.len()).unwrap_or(u32::MAX).clamp(1, self.capacity);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(weight).await else {
            return Err(self.reason());
        };
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = lines.as_ref() else { return Err(self.reason()) };
        if !still() {
            return Ok(false);
        }
        lines.send(Line { bytes, _room: room }).map_err(|_| self.reason())?;
        Ok(true)
    }

    /// Waits for room and queues a line.
    pub(super) async fn send(&self, bytes: Vec<u8>) -> Result<(), CloseReason> {
        self.send_if(bytes, || true).await.map(drop)
    }

    /// Takes no more lines. Those that are queued are still written, then the agent's stdin is closed.
    pub(super) fn close(&self, reason: CloseReason) {
        self.closed.send_modify(|closed| {
            closed.get_or_insert(reason);
        });
        self.room.close();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until writing has failed; a close by the host is no failure.
    pub(super) async fn failed(&self) -> CloseReason {
        let mut closed = self.closed.subscribe();
        let failed = |reason: &Option<CloseReason>| reason.as_ref().is_some_and(is_failure);
        match closed.wait_for(failed).await {
            Ok(reason) => reason.clone().unwrap_or(CloseReason::ByHost),
            Err(_) => CloseReason::ByHost,
        }
    }

    fn reason(&self) -> CloseReason {
        self.closed.borrow().clone().unwrap_or(CloseReason::ByHost)
    }
}

fn is_failure(reason: &CloseReason) -> bool {
    !matches!(reason, CloseReason::ByHost)
}

/// Writes lines until the outbox is closed and empty, or the agent does not read for `limit`.
pub(super) async fn write_lines<W: AsyncWrite + Unpin>(
    mut lines: Lines,
    mut agent: W,
    outbox: Arc<Outbox>,
    limit: Duration,
) {
    while let Some(line) = lines.0.recv().await {
        let mut written = write(&mut agent, &line.bytes, limit).await;
        if written.is_ok() && lines.0.is_empty() {
            written = flush(&mut agent, limit).await;
        }
        if let Err(reason) = written {
            tracing::debug!(%reason, "cannot write to the agent");
            outbox.close(reason);
            return;
        }
    }
    // Best effort: dropping the pipe closes it as well.
    drop(timeout(limit, agent.shutdown()).await);
}

/// Writes all bytes. The limit holds for each step, so that a slow reader of a long line is not cut off.
async fn write<W: AsyncWrite + Unpin>(
    agent: &mut W,
    bytes: &[u8],
    limit: Duration,
) -> Result<(), CloseReason> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let step = timeout(limit, agent.write(rest)).await.map_err(|_| CloseReason::WriteStalled(limit))?;
        let count = step.map_err(write_failed)?;
        if count == 0 {
            return Err(write_failed(io::ErrorKind::WriteZero.into()));
        }
        rest = &rest[count..];
    }
    Ok(())
}

async fn flush<W: AsyncWrite + Unpin>(agent: &mut W, limit: Duration) -> Result<(), CloseReason> {
    let flushed = timeout(limit, agent.flush()).await.map_err(|_| CloseReason::WriteStalled(limit))?;
    flushed.map_err(write_failed)
}

fn write_failed(error: io::Error) -> CloseReason {
    CloseReason::WriteFailed(Arc::new(error))
}
