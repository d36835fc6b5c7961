//! One prompt for one process, and Claude Code's control protocol: recorded output of real agents, and real processes
//! that misbehave, as shell scripts, under a real supervisor.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

#[path = "../acp/agent_process.rs"]
#[allow(dead_code, reason = "shared with the tests of `acp`; here it is the supervisor only")]
mod agent_process;
mod asking;
mod between;
mod claude;
mod common;
mod control_protocol;
mod floods;
mod keeping;
mod once;
#[path = "../support/shown.rs"]
mod shown;
mod transcripts;
