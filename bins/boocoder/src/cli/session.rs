//! `boocoder session`.

use clap::{Args, Subcommand};

/// Look at lines of work, close and reopen them
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Sessions, newest first
    List(SessionList),
    /// Take no more tasks, cancel those that wait, stop the one that runs, and remove the worktrees
    #[command(after_help = CLOSE_HELP)]
    Close {
        /// The session's id, or at least four of its first digits
        session: String,
    },
    /// Let a closed session take tasks again; its worktree comes back with what its last checkpoint holds
    Reopen {
        /// The session's id, or at least four of its first digits
        session: String,
    },
}

const CLOSE_HELP: &str = "\
It returns when nothing of the session runs any more. Its worktrees are saved in a last checkpoint before they are
removed; its pending changes can still be applied, and its tasks looked at.

Example:
  boocoder session close 1f2e";

/// Sessions, newest first
#[derive(Debug, Args)]
pub struct SessionList {
    /// Closed ones, too
    #[arg(long)]
    pub closed: bool,
    /// Of all projects, not only this one
    #[arg(long)]
    pub all: bool,
    /// At most so many; 0 for all
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// As JSON, one object a line
    #[arg(long)]
    pub json: bool,
}
