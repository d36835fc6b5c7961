//! Time, as far as the machine gives any.

use std::time::{Duration, Instant};

/// What one look counts at most.
const STANDSTILL: Duration = Duration::from_millis(100);

/// How long something takes whose end is looked for again and again. While the whole machine stands still, as a busy
/// virtual one does for seconds at times, nobody looks; of that, one look counts at most a tenth of a second, so that a
/// limit can be as strict as the promise that it holds.
#[derive(Debug)]
pub struct Stopwatch {
    looked: Instant,
    spent: Duration,
}

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { looked: Instant::now(), spent: Duration::ZERO }
    }

    /// How long it has taken so far.
    pub fn look(&mut self) -> Duration {
        let now = Instant::now();
        self.spent += now.duration_since(self.looked).min(STANDSTILL);
        self.looked = now;
        self.spent
    }
}
