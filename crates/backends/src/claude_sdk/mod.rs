//! Claude Code by its control protocol: stream-json both ways, one process for the turns of one chat.
//!
//! [`ClaudeSdk`] (`backend.rs`) takes a process from the pool or starts one (`starter.rs`, `process.rs`), the handshake
//! (`start.rs`) makes the settings that were asked for, the prompt's lines are translated (`translate.rs`, which reads
//! one prompt for one process as well), and the process is given back (`session.rs`). `protocol.rs` holds what is said
//! to it.

mod backend;
mod control;
mod hello;
mod process;
mod profile;
mod protocol;
mod session;
mod start;
mod starter;
mod tasks;
mod translate;

pub use backend::{ClaudeSdk, ClaudeSettings};
pub use profile::CLAUDE_SDK;
pub(crate) use protocol::prompt_line;
pub(crate) use translate::Translator;
