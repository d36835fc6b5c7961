//! What to run, and under which supervisor.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::env::Environment;

/// The variable that marks every process of a run, so that [`sweep`](super::sweep) finds it.
pub const TAG_VARIABLE: &str = "BOOCODER_RUN";

/// One program to run for an agent; [`spawn`](Command::spawn) starts it.
#[derive(Debug, Clone)]
pub struct Command {
    /// A path, or a name that is looked for in the `PATH` of `env`. A relative path is relative to `cwd`.
    pub program: OsString,
    /// Arguments, without the program's name.
    pub args: Vec<OsString>,
    /// The folder that the program starts in; absolute.
    pub cwd: PathBuf,
    /// The complete environment; see [`env::agent_environment`](super::env::agent_environment). The tag is added to it.
    pub env: Environment,
    /// Marks every process of this run. Children with one tag share a fate: when one of them loses its
    /// supervisor, or has none and ends, everything that carries the tag is killed.
    pub tag: RunTag,
    /// Runs the program on a terminal of its own, of this size, instead of three pipes: its standard error then comes
    /// with its standard output.
    pub terminal: Option<TerminalSize>,
    /// Bounds on time and memory.
    pub limits: Limits,
    /// Kills the tree when this process has shown no life for that long, as when it is stopped or its machine
    /// is frozen. Choose it shorter than the lease less the claim margin (SAFETY 0, finding 3); from 50 ms.
    /// A runtime whose workers are all blocked for that long counts as dead. Needs a supervisor.
    pub fence: Option<Duration>,
}

/// Who starts the agent and answers for its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// This program, executed again; its `main` calls [`supervise_if_asked`](super::supervise_if_asked).
    SelfExe,
    /// Another program whose `main` calls [`supervise_if_asked`](super::supervise_if_asked); of the same version.
    Program(PathBuf),
    /// Nobody: the agent is a child of this process in a process group of its own. Weaker: what leaves the
    /// group and clears its environment survives, and nothing is killed when this process dies.
    ProcessGroupOnly,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Bounds on one child's time and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many of the last bytes of standard error are kept.
    pub stderr_tail: usize,
    /// How long what the leader leaves behind may go on (writing its last words) before it is killed;
    /// at most a day.
    pub drain: Duration,
    /// How long starting may take, from the supervisor's start to the agent's `execve`; at most a day.
    pub start: Duration,
}

impl Default for Limits {
    /// 64 KiB of standard error, 250 ms of drain (SAFETY F34), 10 s to start.
    fn default() -> Self {
        Self { stderr_tail: 64 * 1024, drain: Duration::from_millis(250), start: Duration::from_secs(10) }
    }
}

/// The mark of a run: segments divided by `/`, of which the first names the node, as in `node-7/42/3`.
///
/// 1 to 200 characters of `A–Z a–z 0–9 . _ : - /`, no empty segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunTag(String);

/// The text is not a [`RunTag`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run tag {text:?} is not 1 to 200 letters, digits and `._:-` in segments divided by `/`")]
pub struct InvalidTag {
    /// What was given.
    pub text: String,
}

impl RunTag {
    /// Checks and wraps `text`.
    ///
    /// # Errors
    /// [`InvalidTag`] for any other form than the one that the type describes.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidTag> {
        let text = text.into();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        let valid = text.len() <= 200
            && text.split('/').all(|segment| !segment.is_empty() && segment.chars().all(is_plain));
        if valid { Ok(Self(text)) } else { Err(InvalidTag { text }) }
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `value` is this tag or lies below it: `node-7` covers `node-7/42`, not `node-70`.
    pub(super) fn covers(&self, value: &[u8]) -> bool {
        value
            .strip_prefix(self.0.as_bytes())
            .is_some_and(|rest| rest.first().is_none_or(|separator| *separator == b'/'))
    }
}

impl fmt::Display for RunTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_plain_segments() {
        for good in ["n", "node-7/42/3", "a.b_c:d"] {
            assert_eq!(RunTag::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "/", "a/", "/a", "a//b", "a b", "a\0", "ä", &"x".repeat(201)] {
            assert!(RunTag::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tag_covers_whole_segments_only() {
        let node = RunTag::new("node-7").unwrap();
        assert!(node.covers(b"node-7") && node.covers(b"node-7/42"));
        assert!(!node.covers(b"node-70") && !node.covers(b"node-") && !node.covers(b""));
    }
}
