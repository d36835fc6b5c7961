//! `boocoder run`, and what it shares with `boocoder task add`.

use std::path::PathBuf;

use clap::Args;

/// What is asked of which agent.
#[derive(Debug, Args)]
pub struct Request {
    /// What the agent is to do; several words are joined by spaces
    #[arg(value_name = "PROMPT")]
    pub prompt: Vec<String>,
    /// Read the prompt from a file, or from stdin with `-`
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
    /// The agent, or `native` for the configured endpoint [default: the configured one, else the first one installed,
    /// else the demo agent]
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
    /// How the agent's requests for leave are answered.
    #[command(flatten)]
    pub leave: Leave,
}

/// How the agent's requests for leave are answered; at most one of these.
#[derive(Debug, Clone, Copy, Args)]
#[group(multiple = false)]
pub struct Leave {
    /// Allow what the agent asks leave for, each time once
    #[arg(long)]
    pub allow: bool,
    /// Refuse what the agent asks leave for
    #[arg(long)]
    pub deny: bool,
    /// Let what the agent asks leave for wait for an answer: here, or by `boocoder permission`
    #[arg(long)]
    pub ask: bool,
    /// Answer what the agent asks leave for by the configured `permission_rules`, and ask where none fits
    #[arg(long)]
    pub auto: bool,
}

/// Run one task here and now, watch it, and decide about its change
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Run {
    /// What is asked.
    #[command(flatten)]
    pub request: Request,
    /// Apply the change when the task completes, without asking
    #[arg(long)]
    pub apply: bool,
    /// One JSON object a line: the frames, then one `result`
    #[arg(long)]
    pub json: bool,
}

const HELP: &str = "\
The agent works in a git worktree of its own, made from HEAD; your checkout is not touched unless you
apply the change. Ctrl-C stops the agent; twice ends at once. Without a terminal nothing is asked:
permissions are refused unless --allow, --auto or --ask is given, and the change is kept for `boocoder change apply`.

Exit codes:
  0    completed (and applied, if asked)
  1    the task failed
  2    the command line or the configuration is wrong
  3    could not start
  4    completed but not applied: conflict, or the checkout moved meanwhile
  130  stopped (Ctrl-C)
  143  ended by SIGTERM or SIGHUP";
