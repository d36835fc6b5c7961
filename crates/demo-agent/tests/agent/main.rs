//! The agent as a host sees it.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

mod hostile;
mod start_and_end;
mod support;
mod turns;
