//! The way of a frame into the record: one write at a time, everything that came meanwhile in the next.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dispatch_core::{
    conversation::Transcript,
    frame::{FrameBody, push_merged},
    ids::MessageId,
    ports::{Publisher, Store},
    task::TurnKey,
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::store_calls::persistently;

/// The least time between the beginnings of two writes, so that a fast agent makes few large writes
/// (SPEC 6 allows 50 ms; small enough that nobody sees it).
const WRITE_INTERVAL: Duration = Duration::from_millis(10);

/// How much may wait to be written before the agent is not read any more, in bytes. As much again may be in
/// the write under way, so that a store that is away costs a turn a few MiB and no frame; how long it may be
/// away is [`persistently`]'s to say.
const FULL: usize = 1024 * 1024;

/// The writer of one turn's frames. It keeps the transcript of what it has written, and ends with its last
/// handle, once what was pushed is written.
#[derive(Clone)]
pub(crate) struct Writer {
    shared: Arc<Handle>,
}

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.work.notify_one();
    }
}

impl Deref for Handle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

struct Shared {
    queue: Mutex<Queue>,
    /// What was written or is being written. Locked apart from the queue: folding takes longer than queueing, for which
    /// the turn waits.
    transcript: Mutex<Transcript>,
    /// Something is to be written, flushed, or the writer is dropped.
    work: Notify,
    /// A write was made, or the writer gave up.
    progress: Notify,
}

#[derive(Default)]
struct Queue {
    frames: Vec<FrameBody>,
    weight: usize,
    flushes: Vec<oneshot::Sender<()>>,
    message: Option<MessageId>,
    /// The store gave up or fenced the turn off: nothing is written any more.
    lost: Option<Lost>,
    closed: bool,
}

impl Queue {
    fn is_hurried(&self) -> bool {
        self.closed || !self.flushes.is_empty()
    }
}

/// Why nothing is written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The task has another epoch.
    Fenced,
    /// The store failed for good.
    Store,
}

impl Writer {
    pub(crate) fn spawn(store: Arc<dyn Store>, publisher: Arc<dyn Publisher>, turn: TurnKey) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            transcript: Mutex::default(),
            work: Notify::new(),
            progress: Notify::new(),
        });
        tokio::spawn(write(Arc::clone(&shared), store, publisher, turn));
        Self { shared: Arc::new(Handle(shared)) }
    }

    /// The message that frames belong to from now on.
    pub(crate) fn set_message(&self, message: MessageId) {
        self.queue().message = Some(message);
    }

    pub(crate) fn push(&self, frames: Vec<FrameBody>) {
        let mut queue = self.queue();
        for frame in frames {
            queue.weight += frame.weight();
            push_merged(&mut queue.frames, frame);
        }
        drop(queue);
        self.shared.work.notify_one();
    }

    /// Whether the agent should not be read now.
    pub(crate) fn is_full(&self) -> bool {
        let queue = self.queue();
        queue.weight > FULL && queue.lost.is_none()
    }

    /// Waits for a write to be made, or for the writer to give up.
    pub(crate) async fn progress(&self) {
        self.shared.progress.notified().await;
    }

    /// Why nothing is written any more, if that is so.
    pub(crate) fn lost(&self) -> Option<Lost> {
        self.queue().lost
    }

    /// Waits until everything pushed so far is in the record.
    ///
    /// # Errors
    /// Why it is not and never will be.
    pub(crate) async fn flush(&self) -> Result<(), Lost> {
        let (done, flushed) = oneshot::channel();
        {
            let mut queue = self.queue();
            if let Some(lost) = queue.lost {
                return Err(lost);
            }
            queue.flushes.push(done);
        }
        self.shared.work.notify_one();
        // A flush is dropped unanswered only by a writer that gives up, and says why.
        flushed.await.map_err(|_| self.lost().unwrap_or(Lost::Store))
    }

    /// Looks at what has been written.
    pub(crate) fn with_transcript<T>(&self, look: impl FnOnce(&Transcript) -> T) -> T {
        look(&self.shared.transcript())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transcript(&self) -> MutexGuard<'_, Transcript> {
        self.transcript.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(shared: Arc<Shared>, store: Arc<dyn Store>, publisher: Arc<dyn Publisher>, turn: TurnKey) {
    let mut last = None::<Instant>;
    for batch in 1.. {
        shared.work.notified().await;
        if let Some(last) = last {
            shared.pause_until(last + WRITE_INTERVAL).await;
        }
        last = Some(Instant::now());
        let Work { frames, flushes, message, closed } = shared.take();
        shared.fold(&frames);
        if let Err(lost) = append(&*store, &turn, batch, message, frames, &*publisher).await {
            return shared.give_up(lost);
        }
        // Whoever asked for a flush and did not wait for it has no more interest.
        for flush in flushes {
            let _ = flush.send(());
        }
        shared.progress.notify_one();
        if closed {
            return;
        }
    }
}

/// What one write takes.
struct Work {
    frames: Vec<FrameBody>,
    flushes: Vec<oneshot::Sender<()>>,
    message: Option<MessageId>,
    closed: bool,
}

impl Shared {
    /// Waits for a time, or until somebody waits for what is queued.
    async fn pause_until(&self, end: Instant) {
        let hurried = async {
            while !self.queue().is_hurried() {
                self.work.notified().await;
            }
        };
        // The wake-ups that this consumes are served by the write that follows.
        tokio::select! {
            () = tokio::time::sleep_until(end) => {}
            () = hurried => {}
        }
    }

    fn take(&self) -> Work {
        let mut queue = self.queue();
        let queue = &mut *queue;
        queue.weight = 0;
        let frames = std::mem::take(&mut queue.frames);
        let flushes = std::mem::take(&mut queue.flushes);
        Work { frames, flushes, message: queue.message, closed: queue.closed }
    }

    fn fold(&self, frames: &[FrameBody]) {
        let mut transcript = self.transcript();
        frames.iter().for_each(|frame| transcript.push(frame));
    }

    fn give_up(&self, lost: Lost) {
        let mut queue = self.queue();
        queue.lost = Some(lost);
        queue.frames.clear();
        queue.flushes.clear();
        drop(queue);
        self.progress.notify_one();
    }
}

async fn append(
    store: &dyn Store,
    turn: &TurnKey,
    batch: u64,
    message: Option<MessageId>,
    frames: Vec<FrameBody>,
    publisher: &dyn Publisher,
) -> Result<(), Lost> {
    if frames.is_empty() {
        return Ok(());
    }
    match persistently(|| store.append(turn, batch, message, &frames)).await {
        Ok(None) => Err(Lost::Fenced),
        Ok(Some(appended)) => {
            publisher.publish(&appended.frames(turn.session, turn.about(message), frames).collect());
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, task = %turn.task, "frames could not be recorded");
            Err(Lost::Store)
        }
    }
}
