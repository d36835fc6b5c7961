//! One prompt for one process, and Claude Code's control protocol: recorded output of real agents, and real processes
//! that misbehave, as shell scripts, under a real supervisor.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod asking;
mod between;
mod claude;
mod common;
mod control_protocol;
mod floods;
mod keeping;
mod once;
#[path = "../support/peak.rs"]
mod peak;
#[path = "../support/shown.rs"]
mod shown;
#[path = "../support/supervisor.rs"]
mod supervisor;
#[path = "../support/mod.rs"]
mod support;
mod transcripts;
#[path = "../support/until.rs"]
mod until;
