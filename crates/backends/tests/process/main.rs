//! Child processes, with real ones: an agent and its hostile descendants, dispatchers and supervisors that are
//! killed.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod common;
#[path = "../support/fresh_tag.rs"]
mod fresh_tag;
mod lost;
mod spawning;
mod stdio;
mod stopping;
#[path = "../support/waiting.rs"]
mod waiting;
