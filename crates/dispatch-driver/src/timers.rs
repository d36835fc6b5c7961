//! A turn's timers.

use std::time::Duration;

use dispatch_core::turn::Timer;
use tokio::time::Instant;

/// A turn's timers: at most one of each kind, the next one to run out is waited for.
#[derive(Debug)]
pub(crate) struct Timers {
    armed: [Option<Armed>; Timer::ALL.len()],
    last_news: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    at: Instant,
    after: Duration,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { armed: [None; Timer::ALL.len()], last_news: Instant::now() }
    }

    pub(crate) fn arm(&mut self, timer: Timer, after: Duration) {
        // A moment that no clock can name never comes.
        self.armed[timer.index()] = Instant::now().checked_add(after).map(|at| Armed { at, after });
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        self.armed[timer.index()] = None;
    }

    /// Notes that the agent was heard of. Silence is counted from here when its timer runs out, so that
    /// an update costs a clock reading instead of a timer.
    pub(crate) fn news(&mut self) {
        self.last_news = Instant::now();
    }

    /// Waits for the next timer to run out and disarms it. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Timer {
        loop {
            let soonest =
                Timer::ALL.into_iter().filter_map(|timer| Some((self.armed[timer.index()]?, timer)));
            let Some((armed, timer)) = soonest.min_by_key(|(armed, _)| armed.at) else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(armed.at).await;
            let due = self.last_news.checked_add(armed.after).unwrap_or(armed.at);
            if timer == Timer::Silence && due > armed.at {
                self.armed[timer.index()] = Some(Armed { at: due, ..armed });
                continue;
            }
            self.disarm(timer);
            return timer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_news() {
        let mut timers = Timers::new();
        let begun = Instant::now();
        timers.arm(Timer::Silence, Duration::from_secs(10));
        timers.arm(Timer::Start, Duration::from_secs(4));
        assert_eq!(timers.next().await, Timer::Start);
        timers.news();
        assert_eq!(timers.next().await, Timer::Silence);
        assert_eq!(begun.elapsed().as_secs(), 14);
    }

    #[tokio::test(start_paused = true)]
    async fn arming_replaces_and_disarming_forgets() {
        let mut timers = Timers::new();
        timers.arm(Timer::Stop, Duration::from_secs(1));
        timers.arm(Timer::Stop, Duration::from_secs(3));
        timers.arm(Timer::Collect, Duration::from_secs(2));
        timers.disarm(Timer::Collect);
        let begun = Instant::now();
        assert_eq!(timers.next().await, Timer::Stop);
        assert_eq!(begun.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_beyond_all_clocks_is_none() {
        let mut timers = Timers::new();
        timers.arm(Timer::Start, Duration::MAX);
        timers.arm(Timer::Stop, Duration::from_secs(1));
        assert_eq!(timers.next().await, Timer::Stop);
    }
}
