//! What happens next: the pure dispatch state machine, its vocabulary and its ports.
//!
//! There is no runtime, clock, randomness or input and output in this crate: time arrives as events, ids
//! are given, and `async fn` stands only in the signatures of [`ports`]. A *turn* is one attempt of one
//! agent at one task; every backend's turns share the machine in [`turn`], and how backends differ is the
//! data in [`profile`] and [`routing`].

pub mod agent;
pub mod change;
pub mod conversation;
pub mod frame;
pub mod ids;
pub mod permission;
pub mod ports;
pub mod profile;
pub mod replay;
pub mod routing;
pub mod task;
pub mod trace;
pub mod turn;
mod words;
