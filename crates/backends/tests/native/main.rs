//! Native inference against a scripted HTTP server on loopback, with real files and real commands.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod common;
mod dialects;
mod escapes;
mod hostile;
mod server;
mod starting;
mod stopping;
mod tools;
mod trouble;
