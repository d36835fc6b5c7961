//! How long the model may look for something.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Ends when the turn is stopped, and after a time.
pub(super) struct Patience<'a> {
    is_stopped: &'a AtomicBool,
    until: Instant,
}

impl<'a> Patience<'a> {
    /// Begins now.
    pub(super) fn new(is_stopped: &'a AtomicBool) -> Self {
        Self { is_stopped, until: Instant::now() + LIMIT }
    }

    /// Whether it is time to tell what was found so far. To be asked often.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed) || Instant::now() >= self.until
    }
}

#[cfg(test)]
impl Patience<'static> {
    /// One that is over at once.
    pub(super) fn none() -> Self {
        static NOBODY: AtomicBool = AtomicBool::new(false);
        Self { is_stopped: &NOBODY, until: Instant::now() }
    }
}
