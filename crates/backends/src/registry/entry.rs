//! What is known of one agent.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use acp_proto::host::MissingFile;
use dispatch_core::routing::{Route, Routes};
use dispatch_core::task::Name;
use serde::Deserialize;

/// One agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentEntry {
    /// What a task names it by.
    pub name: Name,
    /// What a person calls it.
    pub title: String,
    /// The program, a bare name to be found in `PATH` or an absolute path.
    pub program: OsString,
    /// The ways in which it can be talked to.
    pub ways: Ways,
    /// Variables that are set for it.
    pub env: BTreeMap<String, String>,
    /// The user's variables that it may see besides those that all agents may: names, or beginnings of names
    /// followed by `*`.
    pub pass: Vec<String>,
    /// How to install it, in one line.
    pub install: String,
    /// Arguments that make the program print its version and end; empty when it has none.
    pub version_args: Vec<OsString>,
    /// How it differs from what the protocol says.
    pub quirks: Quirks,
}

/// The ways in which an agent can be talked to: for each that it has, the arguments of its program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// The Agent Client Protocol on standard input and output.
    pub acp: Option<Vec<OsString>>,
    /// opencode's HTTP server.
    pub opencode_server: Option<Vec<OsString>>,
    /// Claude Code's control protocol: stream-json both ways on standard input and output.
    pub claude_control: Option<Vec<OsString>>,
    /// One prompt for one process.
    pub cli: Option<Cli>,
}

impl Ways {
    /// The routes that these ways serve.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let acp: &[Route] = if self.acp.is_some() { &[Route::WarmAcp, Route::OneShotAcp] } else { &[] };
        let others = [
            (self.opencode_server.is_some(), Route::OpencodeServer),
            (self.claude_control.is_some(), Route::ClaudeSdk),
            (self.cli.is_some(), Route::OneShotPty),
        ];
        let others = others.into_iter().filter_map(|(has, route)| has.then_some(route));
        Routes::of(&acp.iter().copied().chain(others).collect::<Vec<_>>())
    }
}

/// How a program is given one prompt, and what it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cli {
    /// Its arguments but for the prompt and what is asked for besides.
    pub args: Vec<OsString>,
    /// What it prints.
    pub output: Output,
    /// Whether its standard input is Claude's control protocol: its prompt is a line of that, and the input stays open
    /// until it has said that it is done. A program that ends by itself does not wait until its output is read: Claude
    /// Code 2.1.197 lost nearly all of an answer of 2 MiB, as qwen and gemini do.
    pub control_input: bool,
    /// Whether it insists on a terminal.
    pub terminal: bool,
}

/// What a one-shot program prints. Each but the last is JSON, one object a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// As `claude -p --output-format stream-json`.
    Claude,
    /// As `qwen --output-format stream-json`: the lines are Claude's, what it is told is not.
    Qwen,
    /// As `gemini -p --output-format stream-json`.
    Gemini,
    /// As `codex exec --json`.
    Codex,
    /// As `goose run --output-format stream-json`.
    Goose,
    /// As `opencode run --format json`.
    Opencode,
    /// As `vibe -p --output streaming`.
    Vibe,
    /// Text for people.
    #[default]
    Text,
}

/// How an agent of the user's own is talked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// The Agent Client Protocol on standard input and output.
    #[default]
    Acp,
    /// One prompt for one process, on its standard input.
    Cli,
}

/// How an agent differs from what the protocol says, as far as a turn must know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quirks {
    /// What it is answered when it reads a file that does not exist.
    pub missing_file: MissingFile,
    /// Its text carries `<dcp…>` context tags (SPEC T9).
    pub context_tags: bool,
    /// It reports model errors as text with this beginning, as the last message of a turn that ends like any other
    /// but without usage.
    pub error_text: Option<String>,
    /// It does not end when its standard input is closed.
    pub ignores_eof: bool,
    /// What is put before a model's name that has no `/` (SPEC T8).
    pub model_prefix: Option<String>,
    /// The mode that it is put into where a task names none, since it begins in one that asks too little.
    pub start_mode: Option<String>,
    /// Its answers tell the tokens of the whole conversation, not of the turn.
    pub usage_adds_up: bool,
    /// What it had running goes on when its turn is cancelled: it is not kept after that.
    pub cancel_leaves_commands: bool,
    /// However it is started, it listens on a port of this machine, which other users can reach: the variable that
    /// takes a password for it.
    pub port_password: Option<String>,
}

impl Quirks {
    /// The name under which the agent knows a model that a task names.
    pub(crate) fn full_model(&self, model: &Name) -> String {
        match &self.model_prefix {
            Some(prefix) if !model.as_str().contains('/') => format!("{prefix}{model}"),
            _ => model.as_str().to_owned(),
        }
    }
}

impl AgentEntry {
    /// Whether the entry lets this variable of the user's through. What no list can let through stays out.
    #[must_use]
    pub fn passes(&self, variable: &OsStr) -> bool {
        let is_passed = self.pass.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => variable.as_bytes().starts_with(beginning.as_bytes()),
            None => variable == pattern.as_str(),
        });
        is_passed && !crate::process::env::is_forbidden(variable)
    }
}
