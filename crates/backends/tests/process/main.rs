//! Child processes, with real ones: an agent and its hostile descendants, dispatchers and supervisors that are
//! killed.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod common;
mod lost;
mod spawning;
mod stdio;
mod stopping;
