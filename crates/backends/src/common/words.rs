//! What a person reads about a process.

use std::time::Duration;

use crate::process::Exit;

/// What became of a kept process whose turn was stopped before its prompt, in words that follow the agent's name.
pub(crate) const STOPPED_EARLY: &str = "was stopped while it got ready";

/// `agent x ended with exit code 1`, or what else is known of an agent that is heard no more.
pub(crate) fn gone(agent: &str, exit: Option<Exit>) -> String {
    format!("agent {agent} {}", ending(exit))
}

/// The same without the agent's name.
pub(crate) fn ending(exit: Option<Exit>) -> String {
    match exit {
        Some(exit) if exit.fence_lapsed => "was killed because the dispatcher stood still".to_owned(),
        Some(exit) => format!("ended with {}", exit.status),
        None => "closed its output and goes on running".to_owned(),
    }
}

/// `agent x does not read the answers to what it asks`.
pub(crate) fn deaf(agent: &str) -> String {
    format!("agent {agent} does not read the answers to what it asks")
}

/// Appends what the agent printed, if anything.
pub(crate) fn with_output(mut text: String, stdout: &str, stderr: &str) -> String {
    for (stream, printed) in [("standard output", stdout), ("standard error", stderr)] {
        let printed = printed.trim_end();
        if !printed.is_empty() {
            text.push_str("\n\n");
            text.push_str(stream);
            text.push_str(":\n");
            text.push_str(printed);
        }
    }
    text
}

/// `10 s`, `1.5 s`, `300 ms`.
pub(crate) fn time(limit: Duration) -> String {
    if limit < Duration::from_secs(1) {
        format!("{} ms", limit.as_millis())
    } else {
        format!("{} s", limit.as_secs_f64())
    }
}
