//! Agents that speak the Agent Client Protocol, one process per turn.
//!
//! A session goes through these files in order: [`AcpOnce`] starts the process (`backend.rs`), the handshake opens a
//! conversation in the worktree (`start.rs`) and applies model, mode and thinking option (`options.rs`), the prompt's
//! updates are translated (`translate.rs`), and the process is let go (`session.rs`). `failure.rs` says what an error
//! means, `words.rs` what a person reads about it.

mod backend;
mod control;
mod failure;
mod oddities;
mod options;
mod printed;
mod profile;
mod session;
mod start;
mod terminals;
mod tool_call;
mod translate;
mod usage;
mod words;

pub use backend::{AcpOnce, AcpSettings};
pub use profile::ACP_ONCE;
pub use translate::Translator;
