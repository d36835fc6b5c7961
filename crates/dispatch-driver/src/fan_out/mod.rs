//! Watching sessions (SPEC 6).
//!
//! [`FanOut`] is the publisher of a process. A [`Subscription`] is handed a session's frames in order, each
//! once and none left out: first what the record holds, then what is published as it comes. What it waits
//! for in memory is bounded; one that is too slow is told so and reads on from the record. It also looks at
//! the record now and then, as a session's turns may run in another process, whose frames are not published
//! here.

mod frames;
mod publisher;
mod queue;
mod snapshot;
mod subscription;
mod watched;

pub use frames::Frames;
pub use publisher::{FanOut, FanOutConfig};
pub use snapshot::SessionSnapshot;
pub use subscription::{Delivery, Subscription};
