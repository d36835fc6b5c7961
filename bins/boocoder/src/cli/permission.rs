//! `boocoder permission`.

use clap::{Args, Subcommand};

/// Answer what agents ask leave for
#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub enum PermissionCommand {
    /// What waits for an answer, oldest first
    List {
        /// Only of this task: its id, or at least four of its first digits
        task: Option<String>,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Allow a request, this once
    Allow(PermissionAnswer),
    /// Refuse a request
    Deny(PermissionAnswer),
}

/// Which request is answered.
#[derive(Debug, Args)]
pub struct PermissionAnswer {
    /// The task that asks: its id, or at least four of its first digits
    pub task: String,
    /// The request's id, where the task waits for several answers
    pub request: Option<String>,
}

const HELP: &str = "\
A task asks when it was added with --ask, or when no rule of `permission_rules` fits under --auto. A request that nobody
answers is refused after a while (`permission_s` in [limits], an hour unless configured).

Examples:
  boocoder permission list
  boocoder permission allow 7c01";
