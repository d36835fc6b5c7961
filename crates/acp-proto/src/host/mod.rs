//! The host's side: files and terminals for the agent, inside a session's folder only.
//!
//! [`Files`] and [`Terminals`] can be used alone; [`Host`] puts them behind a connection. Everything that an
//! agent asks for is checked here, and refused with an error answer: a turn never ends for it.

mod files;
mod output_tail;
mod replacement;
mod service;
mod terminals;

pub use files::{FileError, FileLimits, Files, MissingFile};
pub use output_tail::OutputTail;
pub use service::Host;
pub use terminals::{
    Command, ExitStatus, Output, Spawned, TerminalError, TerminalLimits, TerminalSpawner, Terminals,
};
