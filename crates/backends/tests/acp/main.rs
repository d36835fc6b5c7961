//! One-shot and warm ACP with a real agent program: the demo agent, in a process of its own, under a real supervisor.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod agent_process;
mod between;
mod common;
mod hostile;
mod keeping;
mod memory;
#[path = "../support/peak.rs"]
mod peak;
mod permissions;
#[path = "../support/reasoning_and_tools.rs"]
mod reasoning_and_tools;
mod resuming;
#[path = "../support/shown.rs"]
mod shown;
mod starting;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod transcripts;
mod turns;
#[path = "../support/until.rs"]
mod until;
mod warm;
