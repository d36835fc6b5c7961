//! Who watches the frames.

use std::sync::{Arc, Mutex, PoisonError};

use dispatch_core::{frame::Frame, ids::SessionId, ports::Publisher};

use super::plan::Faults;

/// Keeps every frame that was published.
pub struct Watcher {
    faults: Arc<Faults>,
    seen: Mutex<Vec<Frame>>,
}

impl Watcher {
    pub(super) fn new(faults: Arc<Faults>) -> Self {
        Self { faults, seen: Mutex::default() }
    }

    /// The frames of a session that were published, in the order in which they were.
    pub fn seen(&self, session: SessionId) -> Vec<Frame> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|frame| frame.session_id == session).cloned().collect()
    }
}

impl Publisher for Watcher {
    fn publish(&self, frames: &Arc<[Frame]>) {
        self.faults.at_once("publish");
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(frames.iter().cloned());
    }
}
