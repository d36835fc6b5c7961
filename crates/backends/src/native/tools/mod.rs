//! What the model can do: look at files, change them, run commands; in the session's worktree and nowhere else.
//!
//! Files are reached through [`acp_proto::host::Files`], as those of ACP agents are: every path is resolved by the
//! kernel beneath the worktree's folder as it was opened, git's own files are out of reach, and a file is replaced as a
//! whole. Commands run under the supervisor; what they do is not confined, which is why each one asks for leave.

mod change;
mod command;
mod ignored;
mod look;
mod patience;
mod request;
mod search;
mod walk;
mod worker;

pub(super) use request::{definitions, is_tool};
pub(super) use worker::{Done, Prepared, Tools};
