//! One attempt of one agent at one task: the lifecycle that all backends' turns share (SPEC 4 and 5).
//!
//! [`Turn::step`] is total and synchronous. Events are what happened, effects what must now be done;
//! every effect is safe to repeat, and every effect that is waited for answers with exactly one event.
//! Lateness is normal and has rows of its own; what no row expects is reported, never a panic.

mod effect;
mod event;
mod machine;
mod outcome;
mod phase;
mod running;
mod settlement;
mod timer;

pub use effect::{Anomaly, Effect, Effects};
pub use event::{Event, Why};
pub use machine::{Turn, TurnPlan};
pub use outcome::{Outcome, OutcomeChange};
pub use phase::Phase;
pub use settlement::{SettledWith, settlement};
pub use timer::Timer;
