//! Watching a session: woken by the publisher where its turns run in this process, else by the clock, and read
//! from the record, so that a slow reader holds nothing in memory and misses nothing.

use std::sync::Arc;

use dispatch_core::{
    frame::Frame,
    ids::{Seq, SessionId},
    ports::{Publisher, Records, RecordsError},
};
use tokio::sync::watch;

/// How many frames are read at once. A frame holds at most 64 KiB of text.
const BATCH: usize = 256;

/// The publisher's end: tells how far the record has come.
pub struct Wake(watch::Sender<Seq>);

impl Publisher for Wake {
    fn publish(&self, frames: &Arc<[Frame]>) {
        if let Some(last) = frames.last() {
            self.0.send_replace(last.seq);
        }
    }
}

/// The publisher of a process whose turns are watched from other ones, by the record.
pub struct Unwatched;

impl Publisher for Unwatched {
    fn publish(&self, _frames: &Arc<[Frame]>) {}
}

/// A publisher for the frames of one session, and the end that waits for it.
pub fn wake() -> (Arc<Wake>, watch::Receiver<Seq>) {
    let (sender, receiver) = watch::channel(Seq(0));
    (Arc::new(Wake(sender)), receiver)
}

/// A reader of one session's frames, in order, each once.
pub struct Cursor {
    records: Arc<dyn Records>,
    session: SessionId,
    after: Seq,
}

impl Cursor {
    /// Reads what comes after this frame.
    pub fn new(records: Arc<dyn Records>, session: SessionId, after: Seq) -> Self {
        Self { records, session, after }
    }

    /// What is there and was not read yet; empty at the end.
    pub async fn read(&mut self) -> Result<Vec<Frame>, RecordsError> {
        let frames = self.records.frames(self.session, self.after, BATCH).await?;
        if let Some(last) = frames.last() {
            self.after = last.seq;
        }
        Ok(frames)
    }
}

/// A cursor that is told when there is more.
pub struct Follow {
    cursor: Cursor,
    wake: watch::Receiver<Seq>,
}

impl Follow {
    /// Reads on when woken.
    pub fn new(cursor: Cursor, wake: watch::Receiver<Seq>) -> Self {
        Self { cursor, wake }
    }

    /// Waits for frames. Cancel-safe: what was not returned comes again.
    pub async fn next(&mut self) -> Result<Vec<Frame>, RecordsError> {
        loop {
            let frames = self.read().await?;
            if !frames.is_empty() {
                return Ok(frames);
            }
            // The publisher lives as long as the node, and the node is left only after the last frame.
            if self.wake.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is there and was not read yet; empty at the end.
    pub async fn read(&mut self) -> Result<Vec<Frame>, RecordsError> {
        self.wake.mark_unchanged();
        self.cursor.read().await
    }
}
