//! What tests and benchmarks say of how long things took.

use std::time::Duration;

/// How long something took, many times.
#[derive(Debug, Clone)]
pub struct Times(Vec<Duration>);

impl Times {
    /// These times, in any order.
    #[must_use]
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// What so large a part of them is not longer than.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn at(&self, part: f64) -> Duration {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is an index")]
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }

    /// p50 (p99) in milliseconds.
    #[must_use]
    pub fn spread(&self) -> String {
        format!("{:.2} ({:.2})", ms(self.at(0.5)), ms(self.at(0.99)))
    }
}

/// Milliseconds.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
