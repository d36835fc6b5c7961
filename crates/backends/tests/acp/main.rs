//! One-shot and warm ACP with a real agent program: the demo agent, in a process of its own, under a real supervisor.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod agent_process;
mod between;
mod common;
mod hostile;
mod keeping;
mod permissions;
mod resuming;
#[path = "../support/shown.rs"]
mod shown;
mod starting;
mod stopping;
mod transcripts;
mod turns;
mod warm;
