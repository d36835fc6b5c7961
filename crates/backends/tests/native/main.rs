//! Native inference against a scripted HTTP server on loopback, with real files and real commands.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod common;
mod dialects;
mod escapes;
mod hostile;
mod memory;
#[path = "../support/peak.rs"]
mod peak;
#[path = "../support/reasoning_and_tools.rs"]
mod reasoning_and_tools;
mod server;
mod starting;
mod stopping;
#[path = "../support/supervisor.rs"]
mod supervisor;
#[path = "../support/mod.rs"]
mod support;
mod tools;
mod trouble;
#[path = "../support/until.rs"]
mod until;
