//! The publisher's end.

use std::{sync::Arc, time::Duration};

use dispatch_core::{
    frame::Frame,
    ids::{Seq, SessionId},
    ports::{Publisher, Records},
};

use super::{
    frames::Frames,
    queue::{Bounds, Queue},
    subscription::Subscription,
    watched::{Watched, Watching},
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
