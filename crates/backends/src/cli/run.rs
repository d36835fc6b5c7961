//! One process, from its prompt to its end.

use std::ffi::OsString;
use std::time::Duration;

use acp_proto::Line;
use dispatch_core::agent::{AgentUpdate, Failure};
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::TerminalReason;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::asked::Asked;
use super::control::Link;
use super::translate::Translator;
use crate::claude_sdk;
use crate::common::lines::Lines;
use crate::common::open;
use crate::launch::Launcher;
use crate::process::{Child, Exit, Stdin, Stdout, TerminalSize, typed};
use crate::registry::{AgentEntry, Cli};

/// How long a program that has said that it is done, or closed its output, may take to end.
const EXIT_PATIENCE: Duration = Duration::from_secs(5);
/// Wide, so that no program breaks the lines of an answer.
const TERMINAL: TerminalSize = TerminalSize { rows: 50, columns: 240 };

/// A program at work on a prompt.
pub(super) struct Run {
    child: Child,
    lines: Lines<Stdout>,
    /// Keeps its input open, where it would end with that.
    open: Option<oneshot::Sender<()>>,
    /// Whether its output is at its end.
    is_over: bool,
    /// Until when it is waited for, once it has said that it is done.
    until: Option<Instant>,
}

/// What a program is started with.
pub(super) struct Start<'a> {
    pub(super) launcher: &'a Launcher,
    pub(super) entry: &'a AgentEntry,
    pub(super) cli: &'a Cli,
    pub(super) spec: &'a SessionSpec,
    pub(super) asked: &'a Asked,
    /// What stands before the prompt where that is an argument.
    pub(super) prompt_flag: Option<&'static str>,
}

impl Run {
    /// Starts the program and gives it its prompt.
    pub(super) async fn start(start: Start<'_>, prompt: &str, link: &Link) -> Result<Self, Failure> {
        let Start { launcher, entry, cli, spec, asked, prompt_flag } = start;
        let mut args = asked.args.clone();
        let input = match prompt_flag {
            Some(flag) => {
                args.push(OsString::from(format!("{flag}{prompt}")));
                String::new()
            }
            None if cli.control_input => claude_sdk::prompt_line(prompt),
            None => prompt.to_owned(),
        };
        let command = launcher.command(entry, &args)?;
        let extra = open::worktree_env(&spec.cwd).into_iter().chain(asked.env.iter().cloned());
        let env = launcher.environment(entry, extra).map_err(|error| {
            Failure::new(TerminalReason::CouldNotStart, format!("agent {}: {error}", entry.name))
        })?;
        let terminal = cli.terminal.then_some(TERMINAL);
        let mut child = launcher
            .spawn_on(terminal, &command, spec.cwd.clone(), env, open::turn_tag(spec)?)
            .await
            .map_err(|error| open::could_not_start(entry, &error))?;
        link.started(child.control());
        let (Some(stdout), Some(stdin)) = (child.take_stdout(), child.take_stdin()) else {
            return Err(Failure::new(TerminalReason::Internal, "the agent has no standard streams"));
        };
        let input = if cli.terminal { typed(&input) } else { input.into_bytes() };
        let (open, closed) = oneshot::channel();
        let open = cli.control_input.then_some(open);
        // A task, since a program may print before it has read all. It ends with the program.
        tokio::spawn(give(stdin, input, closed));
        Ok(Self { child, lines: Lines::new(stdout), open, is_over: false, until: None })
    }

    /// Waits for output and translates it; returns how many bytes it was, `None` when nothing more is to come.
    /// Cancel-safe.
    pub(super) async fn listen(
        &mut self,
        translator: &mut Translator,
        into: &mut Vec<AgentUpdate>,
    ) -> Option<usize> {
        if self.is_over {
            return None;
        }
        if !translator.has_shape() {
            let bytes = self.lines.read_bytes().await;
            self.is_over = bytes.is_empty();
            translator.text(bytes, into);
            return Some(bytes.len());
        }
        let read = self.lines.read();
        let length = match self.until {
            Some(until) => timeout_at(until, read).await.unwrap_or(0),
            None => read.await,
        };
        self.is_over = length == 0;
        while let Some(line) = self.lines.next_line() {
            hear(line, translator, into);
        }
        if self.is_over
            && let Some(line) = self.lines.last_line()
        {
            hear(line, translator, into);
        }
        if self.until.is_none() && translator.ended().is_some() {
            self.until = Some(Instant::now() + EXIT_PATIENCE);
        }
        if self.is_over || self.until.is_some() {
            self.open = None;
        }
        Some(length)
    }

    /// How the process ended; `None` when it goes on.
    pub(super) async fn exit(&mut self) -> Option<Exit> {
        let until = self.until.unwrap_or_else(|| Instant::now() + EXIT_PATIENCE);
        timeout_at(until, self.child.wait()).await.ok()
    }

    /// The end of what it printed on standard error.
    pub(super) fn stderr(&self) -> String {
        self.child.stderr_tail()
    }

    /// Ends the whole tree; nothing of it runs when this returns.
    pub(super) async fn kill(&self, agent: &str) {
        self.child.control().kill_until_gone(agent, self.child.id()).await;
    }
}

/// Translates a line, unless the turn is over: what follows is of a turn of the program's own.
fn hear(line: Line, translator: &mut Translator, into: &mut Vec<AgentUpdate>) {
    if translator.ended().is_none() {
        translator.cut_line(line, into);
    }
}

/// Gives a program its input, and then, once that may be closed, the end of it.
async fn give(mut stdin: Stdin, input: Vec<u8>, closed: oneshot::Receiver<()>) {
    // A program that does not read it will say so by how it ends.
    if let Err(error) = stdin.write_all(&input).await {
        tracing::debug!(%error, "a program did not read all of its prompt");
    }
    // Nothing is ever sent: it ends when the other half is dropped.
    let _ = closed.await;
}
