//! `boocoder task`.

use clap::{Args, Subcommand};

use super::Request;

/// Queue tasks, look at them, stop and resume them
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Queue a task for `boocoder serve`; prints its id
    Add(TaskAdd),
    /// Tasks, newest first
    List(TaskList),
    /// One task with its conversation
    Show {
        /// The task's id, or at least four of its first digits
        task: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a task's agent does until the task ends
    Watch(TaskWatch),
    /// Stop tasks, wherever they run, or cancel them while they wait
    Stop(TaskStop),
    /// Try tasks again that were interrupted, or that a shutdown stopped
    #[command(after_help = RESUME_HELP)]
    Resume {
        /// Their ids, or at least four of their first digits
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Say why a task waits, or why it ended as it did
    Why {
        /// The task's id, or at least four of its first digits
        task: String,
    },
}

const RESUME_HELP: &str = "\
A new attempt is queued in the task's old place, with a new message; the agent goes on with its own conversation where
it can. Tasks that are queued or running already are left as they are.

Example:
  boocoder task resume 7c01";

/// Queue a task for `boocoder serve`; prints its id
#[derive(Debug, Args)]
#[command(after_help = ADD_HELP)]
pub struct TaskAdd {
    /// What is asked.
    #[command(flatten)]
    pub request: Request,
    /// Go on in this session: its id, or at least four of its first digits
    #[arg(long, value_name = "SESSION")]
    pub session: Option<String>,
    /// Go on in this chat: its id; the first digits do together with --session
    #[arg(long, value_name = "CHAT")]
    pub chat: Option<String>,
    /// Print the whole task as JSON
    #[arg(long)]
    pub json: bool,
}

const ADD_HELP: &str = "\
Tasks of one session run one after the other, in the order in which they were added; those of different sessions side
by side. What its agent asks leave for is refused, unless --allow, --auto or --ask is given or configured; `boocoder
permission` answers what is asked.

Examples:
  boocoder task add --agent goose \"fix the failing test\"
  boocoder task watch $(boocoder task add --file prompt.md)
  boocoder task add --ask \"clean up the build scripts\"; boocoder permission list
  boocoder task add --session 1f2e --allow \"now add a test for it\"";

/// Tasks, newest first
#[derive(Debug, Args)]
pub struct TaskList {
    /// Only in this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
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

/// Show what a task's agent does until the task ends
#[derive(Debug, Args)]
#[command(after_help = WATCH_HELP)]
pub struct TaskWatch {
    /// The task's id, or at least four of its first digits
    pub task: String,
    /// Only what came after this frame of its session
    #[arg(long, value_name = "SEQ", default_value_t = 0, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    pub since: i64,
    /// One JSON object a line: every frame of the task's session
    #[arg(long)]
    pub json: bool,
}

const WATCH_HELP: &str = "\
It begins with what was recorded before, follows from there, and ends when the task has ended. Ctrl-C ends the
watching, not the task.

Examples:
  boocoder task watch 7c01
  boocoder task watch 7c01 --json --since 120     after a break: nothing is missed, nothing comes twice

A frame that the session does not have is answered by one line of type `reset`, and by all that it has.

Exit codes are those of `boocoder run`: 0 when the task completed, 1 failed, 3 could not start, 130 cancelled.";

/// Stop tasks, wherever they run, or cancel them while they wait
#[derive(Debug, Args)]
#[command(after_help = STOP_HELP)]
pub struct TaskStop {
    /// Their ids, or at least four of their first digits
    #[arg(required = true, value_name = "TASK")]
    pub tasks: Vec<String>,
    /// Return when nothing of them runs any more
    #[arg(long)]
    pub wait: bool,
}

const STOP_HELP: &str = "\
Says for each task what became of it: `stopping`, `cancelled` (it was only waiting), `already ended: STATE` or
`not found`; with --wait `stopped` once nothing of it runs any more. Stopping again does no harm.

Example:
  boocoder task stop --wait 7c01 88ab

Exit codes: 0, or 2 when one of them was not found.";
