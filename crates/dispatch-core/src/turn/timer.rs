//! What a turn waits for no longer than it must.

/// A turn's timers. Arming one replaces it; an elapsed one is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The agent takes too long to get ready.
    Start,
    /// Nothing was heard of the agent. The driver counts from the last update or from the arming, whichever
    /// is later: a permission may have been open for long.
    Silence,
    /// A permission request was not answered.
    Permission,
    /// A rung of the stop ladder had no effect.
    Stop,
    /// The agent was not gone in time.
    Close,
    /// The change was not computed in time.
    Collect,
}

impl Timer {
    /// Every timer, in the order of [`Timer::index`].
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Silence, Self::Permission, Self::Stop, Self::Close, Self::Collect];

    /// The timer's place in a table of all timers.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
