//! From what a turn asks for to a started program.

use std::ffi::OsString;
use std::path::Path;

use dispatch_core::agent::Failure;
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::TerminalReason;

use crate::process::{InvalidTag, RunTag, SpawnError};
use crate::registry::{AgentEntry, Registry};

/// The registry's entry of the agent that is asked for.
///
/// # Errors
/// A [`Failure`] that says what there is, when there is none of that name.
pub(crate) fn entry(registry: &Registry, spec: &SessionSpec) -> Result<AgentEntry, Failure> {
    let missing = |hint| Failure::new(TerminalReason::AgentNotInstalled, hint);
    let name = spec.agent.as_ref().ok_or_else(|| missing("no agent is named".to_owned()))?;
    registry
        .get(name.as_str())
        .cloned()
        .ok_or_else(|| missing(format!("agent {name} is not installed: {}", registry.unknown_hint())))
}

/// The tag of a process that is this task's alone.
///
/// # Errors
/// A [`Failure`] when the run's tag is none.
pub(crate) fn turn_tag(spec: &SessionSpec) -> Result<RunTag, Failure> {
    RunTag::new(format!("{}/{}", spec.run_tag, spec.task))
        .map_err(|error: InvalidTag| Failure::new(TerminalReason::Internal, error.to_string()))
}

/// The tag of a process that is started in this task's turn and kept after it.
///
/// # Errors
/// A [`Failure`] when the run's tag is none.
pub(crate) fn warm_tag(spec: &SessionSpec) -> Result<RunTag, Failure> {
    // Those of one tag share a fate, so each has one of its own.
    RunTag::new(format!("{}/warm/{}", spec.run_tag, spec.task))
        .map_err(|error: InvalidTag| Failure::new(TerminalReason::Internal, error.to_string()))
}

/// Keeps git, run in a worktree whose `.git` is gone, from taking a repository further up for its own.
pub(crate) fn worktree_env(cwd: &Path) -> Vec<(OsString, OsString)> {
    let ceiling = cwd.parent().map(|parent| ("GIT_CEILING_DIRECTORIES".into(), parent.into()));
    ceiling.into_iter().collect()
}

/// What a person reads of a program that could not be started: the error with its causes.
pub(crate) fn could_not_start(entry: &AgentEntry, error: &SpawnError) -> Failure {
    let mut text = format!("agent {} could not be started: {error}", entry.name);
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    Failure::new(TerminalReason::CouldNotStart, text)
}
