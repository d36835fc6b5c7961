//! Where stored frames go to be watched.

use std::sync::Arc;

use crate::frame::Frame;

/// Hands stored frames to whoever watches.
///
/// Frames of one session arrive in the order of their `seq`, after they were stored. Publishing never
/// fails, waits or delays a turn (SPEC 6): who cannot keep up is told to read the record again.
pub trait Publisher: Send + Sync {
    /// Takes frames that were just stored.
    fn publish(&self, frames: &Arc<[Frame]>);
}
