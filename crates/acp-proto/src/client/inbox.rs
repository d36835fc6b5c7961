//! Events on their way from the reader to their consumer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::Event;

/// What an event weighs besides its line, in bytes: the size of the event and of what it points at.
const OVERHEAD: usize = 256;

/// A queue between one reader and one consumer. The reader never waits in it: it asks before it reads more.
pub(super) struct Inbox {
    state: Mutex<State>,
    filled: Notify,
    changed: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<(usize, Event)>,
    weight: usize,
    ended: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), changed: Notify::new() }
    }

    /// Moves events in, each with the length of its line in bytes.
    pub(super) fn append(&self, events: &mut Vec<(usize, Event)>) {
        if events.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (length, event) in events.drain(..) {
            state.weight += length + OVERHEAD;
            state.events.push_back((length + OVERHEAD, event));
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Says that no more events will come.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.filled.notify_one();
    }

    /// The events' weight in bytes.
    pub(super) fn weight(&self) -> usize {
        self.lock().weight
    }

    /// Returns when events were taken, or [`recheck`](Self::recheck) was called, since this last returned.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes the reader look again whether it may read.
    pub(super) fn recheck(&self) {
        self.changed.notify_one();
    }

    /// Waits for events and moves up to `max` of them; 0 when there will be none any more. Cancel-safe.
    pub(super) async fn take(&self, into: &mut Vec<Event>, max: usize) -> usize {
        loop {
            let (taken, ended) = self.try_take(into, max);
            if taken > 0 || ended || max == 0 {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    /// Moves up to `max` events without waiting; and whether they were the last.
    pub(super) fn try_take(&self, into: &mut Vec<Event>, max: usize) -> (usize, bool) {
        let mut state = self.lock();
        let count = state.events.len().min(max);
        let mut weight = 0;
        into.extend(state.events.drain(..count).map(|(of_one, event)| {
            weight += of_one;
            event
        }));
        state.weight -= weight;
        let ended = state.ended && state.events.is_empty();
        drop(state);
        if count > 0 {
            self.changed.notify_one();
        }
        (count, ended)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
