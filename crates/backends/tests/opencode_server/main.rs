//! The opencode server route, against recordings of the real server and against one that does what the real one does
//! not: hang, lie, flood and break off.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod desk;
mod fake;
mod hostile;
mod keeping;
mod lost;
#[path = "../support/shown.rs"]
mod shown;
mod starting;
mod stopping;
#[path = "../support/supervisor.rs"]
mod supervisor;
#[path = "../support/mod.rs"]
mod support;
mod transcripts;
mod turns;
