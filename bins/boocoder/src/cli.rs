//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run coding agents in git worktrees of their own; review, then apply or reject what they did.
#[derive(Debug, Parser)]
#[command(name = "boocoder", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What is the same for all commands.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  boocoder run \"add a test for the parser\"       watch an agent work, then decide about its change
  boocoder run --agent goose --apply \"fix typos\" with this agent, applied when it completes
  git diff | boocoder run --file - --json         the prompt from stdin, frames as JSON lines
  boocoder change list                            what waits for a decision
  boocoder doctor                                 what is missing, and what is left over

Configuration: boocoder.toml in the user's configuration folder, or --config; each key but those of [agents] is also an
environment variable, for example BOOCODER_AGENT=goose or BOOCODER_LIMITS__SILENCE_S=60.";

/// What is the same for all commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Globals {
    /// The configuration file, in place of the user's own
    #[arg(long, global = true, env = "BOOCODER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the record, the worktrees and the locks are kept
    #[arg(long, global = true, env = "BOOCODER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The git repository to work in [default: the one around the current folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one task here and now, watch it, and decide about its change
    Run(Run),
    /// Look at tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Look at changes, apply or reject them
    #[command(subcommand)]
    Change(ChangeCommand),
    /// Look at checkpoints, go back to one
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Which agents there are: installed or not, version, route
    Agents,
    /// What is missing and how to install it; what earlier runs left over
    Doctor,
    /// Let this repository's own boocoder.toml set everything, as it stands now
    Trust,
    /// The demo agent: speaks ACP on stdin and stdout (see its own --help)
    #[command(hide = true, disable_help_flag = true)]
    DemoAgent {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Run one task here and now, watch it, and decide about its change
#[derive(Debug, Args)]
#[command(after_help = RUN_HELP)]
pub struct Run {
    /// What the agent is to do; several words are joined by spaces
    #[arg(value_name = "PROMPT")]
    pub prompt: Vec<String>,
    /// Read the prompt from a file, or from stdin with `-`
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
    /// The agent [default: the configured one, else the first one installed, else the demo agent]
    #[arg(short, long, value_name = "NAME")]
    pub agent: Option<String>,
    /// The model
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// The agent's mode
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// The agent's thinking option
    #[arg(long, value_name = "OPTION")]
    pub thinking: Option<String>,
    /// Allow what the agent asks leave for, each time once
    #[arg(long, conflicts_with = "deny")]
    pub allow: bool,
    /// Refuse what the agent asks leave for
    #[arg(long)]
    pub deny: bool,
    /// Apply the change when the task completes, without asking
    #[arg(long)]
    pub apply: bool,
    /// One JSON object a line: the frames, then one `result`
    #[arg(long)]
    pub json: bool,
}

const RUN_HELP: &str = "\
The agent works in a git worktree of its own, made from HEAD; your checkout is not touched unless you
apply the change. Ctrl-C stops the agent; twice ends at once. Without a terminal nothing is asked:
permissions are refused unless --allow is given, and the change is kept for `boocoder change apply`.

Exit codes:
  0    completed (and applied, if asked)
  1    the task failed
  2    the command line or the configuration is wrong
  3    could not start
  4    completed but not applied: conflict, or the checkout moved meanwhile
  130  stopped (Ctrl-C)
  143  ended by SIGTERM or SIGHUP";

/// Look at tasks
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
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
}

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

/// Look at changes, apply or reject them
#[derive(Debug, Subcommand)]
pub enum ChangeCommand {
    /// Changes, newest first
    List(ChangeList),
    /// One change: its files and its patch
    Show {
        /// The change's id, or at least four of its first digits
        change: String,
        /// What to show
        #[arg(long, value_enum, default_value_t = ChangeFormat::Summary)]
        format: ChangeFormat,
    },
    /// Put a change into your checkout, all of it or nothing
    Apply {
        /// The change's id, or at least four of its first digits
        change: String,
    },
    /// Refuse a change; what it was made of stays in its checkpoint
    Reject {
        /// The change's id, or at least four of its first digits
        change: String,
    },
}

/// What to show of a change.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ChangeFormat {
    /// The files, then the patch as a person reads it.
    Summary,
    /// The patch's bytes as `git apply --binary` takes them.
    Patch,
    /// One JSON object.
    Json,
}

/// Changes, newest first
#[derive(Debug, Args)]
pub struct ChangeList {
    /// Only in this state (pending, applied, rejected, superseded, withdrawn); `all` for every one
    #[arg(long, default_value = "pending", value_name = "STATE")]
    pub state: String,
    /// Of all projects, not only this one
    #[arg(long)]
    pub all: bool,
    /// As JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// Look at checkpoints, go back to one
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// The checkpoints of a task, oldest first
    List {
        /// The task's id, or at least four of its first digits
        task: String,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Put a worktree back to a checkpoint; if it is gone, make a pending change of the checkpoint
    Restore {
        /// The checkpoint's id, or at least four of its first digits
        checkpoint: String,
    },
}
