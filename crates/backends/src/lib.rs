//! Ways to reach a coding agent, and child processes done once for all of them.
//!
//! [`registry`] knows the agents, as data; [`launch`] starts their programs; [`acp`] drives those that speak the
//! Agent Client Protocol. [`RegisteredAgents`] puts them behind the dispatcher's `Agents` port.

pub mod acp;
pub mod claude_sdk;
pub mod cli;
pub mod launch;
pub mod native;
pub mod opencode_server;
pub mod pool;
pub mod process;
pub mod registry;
pub mod text_filter;

mod agents;
mod common;

pub use agents::RegisteredAgents;
