//! A running Claude Code, which the pool keeps between turns.

use std::ffi::OsString;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use acp_proto::Line;
use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::TerminalReason;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::hello::{DEFAULT_MODE, DEFAULT_MODEL, Hello};
use super::protocol;
use crate::common::json::{object, text};
use crate::common::lines::Lines;
use crate::common::origin::Origin;
use crate::common::{open, words};
use crate::launch::Launcher;
use crate::pool::{Ending, Warm};
use crate::process::{Child, Control, Exit, Rung, Stdin, Stdout};
use crate::registry::AgentEntry;

/// Lines that may wait to be written.
const OUTBOX: usize = 64;
/// How long one that closed its output may take to end.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to end when its standard input is closed, and after SIGTERM; recorded were 0.2 s.
const LET_GO: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(2)];
/// How often a process that cannot be killed is complained about.
const COMPLAINT: Duration = Duration::from_secs(30);
/// What it may say between two turns, in bytes.
const BETWEEN_TURNS: usize = 64 * 1024 * 1024;

/// A process. It belongs to the pool, which lends it to one turn at a time.
pub(super) struct ClaudeProcess {
    pub(super) entry: AgentEntry,
    pub(super) control: Control,
    pub(super) outbox: Outbox,
    /// For the turn that uses it; between turns, for who looks after it.
    pub(super) wire: Arc<Mutex<Wire>>,
    pid: u32,
    origin: Origin,
    /// The thinking option that it was started with.
    pub(super) effort: Option<String>,
    /// Its id of the conversation.
    conversation: StdMutex<String>,
}

/// What it says, and what is known of it by that.
pub(super) struct Wire {
    pub(super) child: Child,
    pub(super) lines: Lines<Stdout>,
    /// How it introduced itself, once it has.
    pub(super) hello: Option<Hello>,
    /// What it has cost so far, in dollars.
    pub(super) cost: f64,
    pub(super) model: String,
    pub(super) mode: String,
}

/// The conversation that a process is started in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Conversation {
    Begin(String),
    Resume(String),
}

/// Where lines to it are put; they are written in order, whole.
#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::Sender<String>);

impl Outbox {
    fn new(stdin: Stdin) -> Self {
        let (outbox, lines) = mpsc::channel(OUTBOX);
        tokio::spawn(write(stdin, lines));
        Self(outbox)
    }

    /// Waits for room only.
    pub(super) async fn send(&self, line: &Value) {
        // A process that is gone says so by the end of its output.
        let _ = self.0.send(line.to_string()).await;
    }

    /// For one that cannot wait: an agent that reads nothing makes it do so.
    pub(super) fn post(&self, line: Value) {
        let outbox = self.clone();
        tokio::spawn(async move { outbox.send(&line).await });
    }
}

async fn write(mut stdin: Stdin, mut lines: mpsc::Receiver<String>) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        if let Err(error) = stdin.write_all(line.as_bytes()).await {
            tracing::debug!(%error, "a line to the agent could not be written");
            return;
        }
    }
}

impl ClaudeProcess {
    /// Starts one in a turn's worktree.
    pub(super) async fn spawn(
        launcher: &Launcher,
        entry: AgentEntry,
        command: &[OsString],
        spec: &SessionSpec,
        conversation: Conversation,
        effort: Option<String>,
    ) -> Result<Self, Failure> {
        let mut full = command.to_vec();
        full.extend(effort.as_ref().map(|effort| format!("--effort={effort}").into()));
        let id = match conversation {
            Conversation::Begin(id) => {
                full.push(format!("--session-id={id}").into());
                id
            }
            Conversation::Resume(id) => {
                full.push(format!("--resume={id}").into());
                id
            }
        };
        let env = launcher.environment(&entry, open::worktree_env(&spec.cwd)).map_err(|error| {
            Failure::new(TerminalReason::CouldNotStart, format!("agent {}: {error}", entry.name))
        })?;
        // Before the start: a file that is replaced in between is another one.
        let origin = Origin::of(command, &spec.cwd);
        let spawned = launcher.spawn(&full, spec.cwd.clone(), env, open::warm_tag(spec)?).await;
        let mut child = spawned.map_err(|error| open::could_not_start(&entry, &error))?;
        let (Some(stdout), Some(stdin)) = (child.take_stdout(), child.take_stdin()) else {
            return Err(Failure::new(TerminalReason::Internal, "the agent has no standard streams"));
        };
        let (control, pid) = (child.control(), child.id());
        let wire = Wire {
            child,
            lines: Lines::new(stdout),
            hello: None,
            cost: 0.0,
            model: DEFAULT_MODEL.to_owned(),
            mode: DEFAULT_MODE.to_owned(),
        };
        Ok(Self {
            entry,
            control,
            outbox: Outbox::new(stdin),
            wire: Arc::new(Mutex::new(wire)),
            pid,
            origin,
            effort,
            conversation: StdMutex::new(id),
        })
    }

    /// Whether it is what would be started now for such a turn.
    pub(super) fn fits(&self, command: &[OsString], spec: &SessionSpec, effort: Option<&str>) -> bool {
        let is_wanted = spec.resume.as_ref().is_none_or(|wanted| *wanted == *self.conversation());
        is_wanted && self.effort.as_deref() == effort && self.origin == Origin::of(command, &spec.cwd)
    }

    /// Its id of the conversation.
    pub(super) fn conversation(&self) -> MutexGuard<'_, String> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills it and what it had running. When this returns, nothing of it is left.
    async fn kill(&self) {
        self.control.kill();
        while timeout(COMPLAINT, self.control.wait_tree_empty()).await.is_err() {
            tracing::error!(agent = %self.entry.name, pid = self.pid, "a process of the agent cannot be killed");
        }
    }

    /// What it says between turns belongs to none of them; what it asks for is refused.
    fn pass_over(&self, wire: &mut Wire, line: &Value) {
        match text(line, "type") {
            "control_request" => self.outbox.post(refusal(line)),
            "result" => wire.note_cost(line),
            _ => {}
        }
    }
}

impl Wire {
    /// How the process ended; `None` when it goes on.
    pub(super) async fn exit(&mut self) -> Option<Exit> {
        timeout(EXIT_PATIENCE, self.child.wait()).await.ok()
    }

    /// Remembers what the process has cost.
    pub(super) fn note_cost(&mut self, result: &Value) {
        let total = result.get("total_cost_usd").and_then(Value::as_f64).filter(|cost| cost.is_finite());
        self.cost = total.unwrap_or(self.cost).max(self.cost);
    }
}

/// The answer to a request that nobody is there to decide.
pub(super) fn refusal(line: &Value) -> Value {
    let subtype = line.get("request").map(|request| text(request, "subtype")).unwrap_or_default();
    match (text(line, "request_id"), subtype) {
        (id, "can_use_tool") => protocol::deny(id, "there is no turn that this could belong to"),
        (id, subtype) => protocol::unserved(id, subtype),
    }
}

#[async_trait]
impl Warm for ClaudeProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn idle(&self) -> String {
        let mut wire = self.wire.lock().await;
        let mut said = 0;
        loop {
            match wire.lines.read().await {
                0 => return words::ending(wire.exit().await),
                length => said += length,
            }
            while let Some(line) = wire.lines.next_line() {
                if let Line::Whole(line) = line
                    && let Some(line) = object(&line)
                {
                    self.pass_over(&mut wire, &line);
                }
            }
            if said > BETWEEN_TURNS {
                return "did not stop talking between two turns".to_owned();
            }
        }
    }

    async fn is_well(&self) -> bool {
        !self.control.has_ended()
    }

    async fn end(&self, how: Ending) {
        if how != Ending::Kill {
            // It is not listened to: what it says at its end fits into the pipe.
            let ladder = [(Rung::Ask, LET_GO[0]), (Rung::Terminate, LET_GO[1])];
            self.control.stop_ladder(&ladder).await;
        }
        self.kill().await;
    }
}
