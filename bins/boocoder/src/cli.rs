//! The command line.

mod agents;
mod permission;
mod run;
mod serve;
mod session;
mod task;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::secret::Secret;

pub use agents::AgentsCommand;
pub use permission::{PermissionAnswer, PermissionCommand};
pub use run::{Leave, Request, Run};
pub use serve::Serve;
pub use session::{SessionCommand, SessionList};
pub use task::{TaskAdd, TaskCommand, TaskList, TaskStop, TaskWatch};

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
  boocoder serve                                  run queued tasks, many at a time, until it is stopped
  boocoder task add \"add a changelog entry\"      queue one for it; `boocoder task watch ID` shows it
  boocoder change list                            what waits for a decision
  boocoder doctor                                 what is missing, and what is left over

Configuration: boocoder.toml in the user's configuration folder, or --config; each key but permission_rules and those of
[agents] is also an environment variable, for example BOOCODER_AGENT=goose or BOOCODER_LIMITS__SILENCE_S=60.";

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
    /// A PostgreSQL database to keep the record in, as postgres://USER@HOST/NAME [default: SQLite in the data
    /// directory]. Put a password into the variable or the configuration: others can see the command line
    #[arg(long, global = true, env = "BOOCODER_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<Secret>,
    /// The git repository to work in [default: the one around the current folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Globals {
    /// Whether the command line itself holds a password: agents can read it, as everybody on this machine.
    pub fn has_visible_password(&self) -> bool {
        let is_given =
            || std::env::args_os().any(|arg| arg.as_encoded_bytes().starts_with(b"--database-url"));
        self.database_url.as_ref().is_some_and(Secret::has_password) && is_given()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one task here and now, watch it, and decide about its change
    Run(Run),
    /// Run queued tasks until it is stopped
    Serve(Serve),
    /// Queue tasks, look at them, stop and resume them
    #[command(subcommand)]
    Task(TaskCommand),
    /// Look at lines of work, close and reopen them
    #[command(subcommand)]
    Session(SessionCommand),
    /// The repositories that tasks are for
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Look at changes, apply or reject them
    #[command(subcommand)]
    Change(ChangeCommand),
    /// Look at checkpoints, go back to one
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Answer what agents ask leave for
    #[command(subcommand)]
    Permission(PermissionCommand),
    /// Which agents there are: installed or not, version, route; which are kept warm
    Agents {
        /// What else to do.
        #[command(subcommand)]
        command: Option<AgentsCommand>,
    },
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

/// The repositories that tasks are for
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Make a repository known before its first task
    Add {
        /// A folder in it [default: --project, else the current folder]
        path: Option<PathBuf>,
        /// What to call it [default: the name of its top folder]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// All of them, by name
    List {
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
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
