//! The opencode server route, against recordings of the real server and against one that does what the real one does
//! not: hang, lie, flood and break off.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

#[path = "../acp/agent_process.rs"]
#[allow(dead_code, reason = "shared with the tests of `acp`; here it makes this program a supervisor")]
mod agent_process;
#[path = "../acp/common.rs"]
#[allow(dead_code, reason = "shared with the tests of `acp`")]
mod common;
mod desk;
mod fake;
mod hostile;
mod keeping;
mod lost;
#[path = "../support/shown.rs"]
mod shown;
mod starting;
mod stopping;
mod transcripts;
mod turns;
