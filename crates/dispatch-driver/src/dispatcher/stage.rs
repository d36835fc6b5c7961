//! The stages of a shutdown (SPEC D7).

use std::time::Duration;

use tokio::time::Instant;

use super::config::DispatcherConfig;

/// How long a hurried turn may take for what cannot be hurried: computing its change, writing its end.
pub(super) const HURRIED: Duration = Duration::from_secs(5);

/// How far a dispatcher's shutdown is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Tasks are claimed.
    Open,
    /// Turns go on; a turn whose prompt is not out goes back to the queue.
    Grace,
    /// Turns are stopped like by a user, each as patiently as its backend wants it.
    Stopping,
    /// Turns are stopped without patience.
    Hurried,
    /// Turns end without writing anything: recovery settles them.
    Abandoned,
    /// Nothing is waited for any more.
    Over,
}

impl Stage {
    /// What follows by itself, and when.
    pub(super) fn next(self, config: &DispatcherConfig) -> Option<(Self, Instant)> {
        let (next, after) = match self {
            Self::Grace => (Self::Stopping, config.grace),
            Self::Hurried => (Self::Abandoned, HURRIED),
            Self::Abandoned => (Self::Over, HURRIED),
            Self::Open | Self::Stopping | Self::Over => return None,
        };
        // A grace period that no clock can name never ends.
        Instant::now().checked_add(after).map(|at| (next, at))
    }
}
