//! What is known of one agent.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use acp_proto::host::MissingFile;
use dispatch_core::routing::Routes;
use dispatch_core::task::Name;
use serde::Deserialize;

/// One agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentEntry {
    /// What a task names it by.
    pub name: Name,
    /// What a person calls it.
    pub title: String,
    /// The program, a bare name to be found in `PATH` or an absolute path, and its arguments. Never empty.
    pub command: Vec<OsString>,
    /// How it is talked to.
    pub transport: Transport,
    /// Variables that are set for it.
    pub env: BTreeMap<String, String>,
    /// The user's variables that it may see besides those that all agents may: names, or beginnings of names
    /// followed by `*`.
    pub pass: Vec<String>,
    /// How to install it, in one line.
    pub install: String,
    /// Arguments that make the program print its version and end; empty when it has none.
    pub version_args: Vec<OsString>,
    /// The routes that it can be reached by.
    pub routes: Routes,
    /// How it differs from what the protocol says.
    pub quirks: Quirks,
}

/// How an agent is talked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// The Agent Client Protocol on standard input and output.
    #[default]
    Acp,
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
    pub error_text: Option<&'static str>,
    /// It does not end when its standard input is closed.
    pub ignores_eof: bool,
    /// What is put before a model's name that has no `/` (SPEC T8).
    pub model_prefix: Option<String>,
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

    /// The program.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        self.command.first().map_or(OsStr::new(""), OsString::as_os_str)
    }
}
