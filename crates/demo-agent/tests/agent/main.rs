//! The agent as a host sees it.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

mod hostile;
mod opencode;
mod start_and_end;
mod stream_json;
mod support;
mod turns;
