//! The publisher's end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dispatch_core::{
    frame::Frame,
    ids::{Seq, SessionId},
    ports::{Publisher, Records},
};

use super::{
    frames::Frames,
    queue::{Bounds, Queue},
    subscription::Subscription,
};

/// How subscribers are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FanOutConfig {
    /// How many published frames may wait for one subscriber.
    pub frames: usize,
    /// How many bytes of them, about. Subscribers share the frames themselves.
    pub bytes: usize,
    /// How often a subscriber that waits looks at the record for what was not published here.
    pub poll: Duration,
}

impl Default for FanOutConfig {
    fn default() -> Self {
        Self { frames: 1024, bytes: 4 * 1024 * 1024, poll: Duration::from_millis(100) }
    }
}

/// Hands the frames that this process stores to its subscribers.
pub struct FanOut {
    records: Arc<dyn Records>,
    config: FanOutConfig,
    watched: Arc<Watched>,
}

impl FanOut {
    /// A publisher whose subscribers read what they miss from this record.
    #[must_use]
    pub fn new(records: Arc<dyn Records>, config: FanOutConfig) -> Self {
        Self { records, config, watched: Arc::default() }
    }

    /// Subscribes to a session: to what follows `after`, which is 0 for everything. A subscriber that has
    /// seen nothing and wants no more than it needs gives `None`: it is handed a snapshot first.
    #[must_use]
    pub fn subscribe(&self, session: SessionId, after: Option<Seq>) -> Subscription {
        let FanOutConfig { frames, bytes, poll } = self.config;
        let queue = Arc::new(Queue::new(Bounds { frames, bytes }));
        let watching = Watching::begin(&self.watched, session, &queue);
        Subscription::new(Arc::clone(&self.records), poll, after, queue, watching)
    }
}

impl Publisher for FanOut {
    fn publish(&self, frames: &Arc<[Frame]>) {
        // One call's frames are one turn's; whatever comes, nobody is shown another session's.
        let mut start = 0;
        for run in frames.chunk_by(|a, b| a.session_id == b.session_id) {
            let here = start..start + run.len();
            start = here.end;
            let queues = self.watched.queues(run[0].session_id);
            if let (false, Some(frames)) = (queues.is_empty(), Frames::of(Arc::clone(frames), here)) {
                let weight = frames.weight();
                queues.iter().for_each(|queue| queue.publish(&frames, weight));
            }
        }
    }
}

/// Who watches which session.
#[derive(Default)]
pub(super) struct Watched(Mutex<HashMap<SessionId, Vec<Arc<Queue>>>>);

impl Watched {
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Arc<Queue>>>> {
        // The map is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queues(&self, session: SessionId) -> Vec<Arc<Queue>> {
        self.sessions().get(&session).cloned().unwrap_or_default()
    }
}

/// A queue's place among those of its session, as long as this lives.
pub(super) struct Watching {
    watched: Arc<Watched>,
    pub(super) session: SessionId,
    queue: Arc<Queue>,
}

impl Watching {
    fn begin(watched: &Arc<Watched>, session: SessionId, queue: &Arc<Queue>) -> Self {
        watched.sessions().entry(session).or_default().push(Arc::clone(queue));
        Self { watched: Arc::clone(watched), session, queue: Arc::clone(queue) }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut sessions = self.watched.sessions();
        if let Some(queues) = sessions.get_mut(&self.session) {
            queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if queues.is_empty() {
                sessions.remove(&self.session);
            }
        }
    }
}
