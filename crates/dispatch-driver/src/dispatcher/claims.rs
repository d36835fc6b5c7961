//! When to make the next pass.

use std::time::Duration;

use tokio::time::Instant;

use crate::random::random_bytes;

/// The least time between the beginnings of two passes, so that a steady stream of wake-ups makes few of
/// them. Nobody sees it.
const PASS_INTERVAL: Duration = Duration::from_millis(10);

/// When the next pass is made. Passes never overlap, and however often one was asked for meanwhile, one more
/// is made (SPEC D1).
pub(super) struct Passes {
    poll: Duration,
    next_poll: Instant,
    is_due: bool,
    is_under_way: bool,
    not_before: Instant,
}

impl Passes {
    pub(super) fn new(poll: Duration) -> Self {
        let now = Instant::now();
        Self { poll, next_poll: now + jittered(poll), is_due: true, is_under_way: false, not_before: now }
    }

    /// Asks for a pass.
    pub(super) fn ask(&mut self) {
        self.is_due = true;
    }

    /// Begins a pass, if it is time for one.
    pub(super) fn begin(&mut self) -> bool {
        let now = Instant::now();
        if self.next_poll <= now {
            self.is_due = true;
            self.next_poll = now + jittered(self.poll);
        }
        let begins = self.is_due && !self.is_under_way && self.not_before <= now;
        if begins {
            self.is_due = false;
            self.is_under_way = true;
            self.not_before = now + PASS_INTERVAL;
        }
        begins
    }

    pub(super) fn end(&mut self) {
        self.is_under_way = false;
    }

    /// When to look again, unless something is asked for before.
    pub(super) fn next(&self) -> Instant {
        if self.is_due && !self.is_under_way { self.not_before.min(self.next_poll) } else { self.next_poll }
    }
}

/// The duration ± 10 %, so that nodes which began together do not poll together.
fn jittered(duration: Duration) -> Duration {
    let [low, high, ..] = random_bytes();
    let part = f64::from(u16::from_le_bytes([low, high])) / f64::from(u16::MAX);
    duration.mul_f64(0.9 + 0.2 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_more_pass_and_passes_never_overlap() {
        let mut passes = Passes::new(POLL);
        assert!(passes.begin(), "the first one catches up");
        for _ in 0..1000 {
            passes.ask();
            assert!(!passes.begin(), "one is under way");
        }
        passes.end();
        assert!(!passes.begin(), "the one before has only just begun");
        tokio::time::sleep_until(passes.next()).await;
        assert!(passes.begin());
        passes.end();
        tokio::time::advance(PASS_INTERVAL).await;
        assert!(!passes.begin(), "nothing was asked for since");
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_comes_every_interval_give_or_take_a_tenth() {
        let mut passes = Passes::new(POLL);
        assert!(passes.begin());
        let mut last = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..50 {
            passes.end();
            tokio::time::sleep_until(passes.next()).await;
            assert!(passes.begin());
            seen.push(last.elapsed());
            last = Instant::now();
        }
        let ms = Duration::from_millis;
        assert!(seen.iter().all(|gap| (ms(1800)..=ms(2201)).contains(gap)), "{seen:?}");
        assert!(seen.iter().any(|gap| *gap != seen[0]), "they differ");
    }
}
