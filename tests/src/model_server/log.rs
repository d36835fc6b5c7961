//! What happened at the server, and waiting for it.

use super::request::ModelRequest;
use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a test waits for the agent; a real one was seen to need 30 s on busy cores before its first request.
const PATIENCE: Duration = Duration::from_secs(120);

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It is here.
    Asked,
    /// All of the answer but its end was handed to the connection; a stalled answer stays here.
    Streamed,
    /// The answer was complete, or broken off as scripted.
    Ended,
    /// The agent closed the connection before the answer was complete.
    HungUp,
}

#[derive(Debug)]
struct Entry {
    request: ModelRequest,
    moments: Vec<Moment>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    attempts: HashMap<(usize, usize), usize>,
}

/// All requests in the order they came.
#[derive(Debug, Default)]
pub(super) struct Log {
    state: Mutex<State>,
    news: Condvar,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a request and returns its number.
    pub fn enter(&self, request: ModelRequest) -> usize {
        let mut state = self.state();
        state.entries.push(Entry { request, moments: vec![Moment::Asked] });
        self.news.notify_all();
        state.entries.len() - 1
    }

    pub fn mark(&self, number: usize, moment: Moment) {
        self.state().entries[number].moments.push(moment);
        self.news.notify_all();
    }

    /// Marks the request as given up by the agent when dropped, unless it is [kept](Waiting::kept).
    pub fn waiting(&self, number: usize) -> Waiting<'_> {
        Waiting { log: Some(self), number }
    }

    /// How often this step of this script was asked for before; counts this time.
    pub fn attempt(&self, script: usize, step: usize) -> usize {
        let mut state = self.state();
        let count = state.attempts.entry((script, step)).or_default();
        *count += 1;
        *count - 1
    }

    pub fn requests(&self) -> Vec<ModelRequest> {
        self.state().entries.iter().map(|entry| entry.request.clone()).collect()
    }

    /// Waits until `count` requests that answer a prompt with these words have come to `moment`; side requests do not count.
    pub fn wait_for(&self, moment: Moment, words: &str, count: usize) -> ModelRequest {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            let fits = |entry: &&Entry| {
                let request = &entry.request;
                entry.moments.contains(&moment)
                    && !request.is_side_request()
                    && request.is_prompted_with(words)
            };
            if let Some(entry) = state.entries.iter().filter(fits).nth(count.saturating_sub(1)) {
                return entry.request.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let seen: Vec<_> =
                state.entries.iter().map(|entry| (entry.request.is_side_request(), &entry.moments)).collect();
            assert!(
                !left.is_zero(),
                "no request with {words:?} came to {moment:?} (side request, moments): {seen:?}"
            );
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A request whose answer is held back. Its task is dropped when the agent closes the connection.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    log: Option<&'a Log>,
    number: usize,
}

impl Waiting<'_> {
    /// The agent was still there at the end of the waiting.
    pub fn kept(mut self) {
        self.log = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(log) = self.log {
            log.mark(self.number, Moment::HungUp);
        }
    }
}
