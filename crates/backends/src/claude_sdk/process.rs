//! A running Claude Code, which the pool keeps between turns.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use acp_proto::Line;
use async_trait::async_trait;
use dispatch_core::agent::{AgentSettings, Failure};
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
use crate::pool::{Ending, Memory, Warm};
use crate::process::{Child, Control, Exit, Rung, Stdin, Stdout};
use crate::registry::AgentEntry;

/// How long it may leave what it is told unread, where its pipe is full of that.
const READS_WITHIN: Duration = Duration::from_secs(10);
/// How long one that closed its output may take to end.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to end when its standard input is closed, and after SIGTERM; recorded were 0.2 s.
const LET_GO: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(2)];
/// What it may say between two turns, in bytes.
const BETWEEN_TURNS: usize = 64 * 1024 * 1024;
/// What a pipe holds (pipe(7)), in bytes: all that can have been said before a moment and not been read yet.
const PIPE: usize = 64 * 1024;
/// Bytes of a name of its that are remembered.
const LONGEST_NAME: usize = 256;

/// A process. It belongs to the pool, which lends it to one turn at a time.
pub(super) struct ClaudeProcess {
    pub(super) entry: AgentEntry,
    pub(super) control: Control,
    pub(super) outbox: Outbox,
    /// For the turn that uses it; between turns, for who looks after it.
    pub(super) wire: Arc<Mutex<Wire>>,
    pid: u32,
    origin: Origin,
    pub(super) memory: Memory,
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
    /// The model that it was told to take, or has taken of its own accord since.
    pub(super) model: String,
    /// Its own name of that, once it has told.
    full_model: Option<String>,
    /// The mode that it is in, once that is known.
    pub(super) mode: Option<String>,
    /// The mode that it began in, if it told that before it was told another.
    pub(super) own_mode: Option<String>,
    /// Whether it is at a turn that nobody asked for, as when a command that it left running has ended. A prompt that
    /// comes meanwhile may become part of that.
    pub(super) has_own_turn: bool,
    /// Answers that wait for it to read.
    unsent: VecDeque<String>,
}

/// It asks, and does not read the answers.
pub(super) struct Deaf;

/// The conversation that a process is started in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Conversation {
    Begin(String),
    Resume(String),
}

/// Where lines to it are put; they are written in order, whole. It holds one: whoever has more to say waits for the agent
/// to read.
#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::Sender<String>);

impl Outbox {
    fn new(stdin: Stdin) -> Self {
        let (outbox, lines) = mpsc::channel(1);
        tokio::spawn(write(stdin, lines));
        Self(outbox)
    }

    /// Waits for room only. Cancel-safe: the line goes out whole, or not at all.
    pub(super) async fn send(&self, line: String) {
        // A process that is gone says so by the end of its output.
        let _ = self.0.send(line).await;
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
            full_model: None,
            mode: None,
            own_mode: None,
            has_own_turn: false,
            unsent: VecDeque::new(),
        };
        Ok(Self {
            entry,
            control,
            outbox: Outbox::new(stdin),
            wire: Arc::new(Mutex::new(wire)),
            pid,
            origin,
            memory: Memory::default(),
            effort,
            conversation: StdMutex::new(id),
        })
    }

    /// How it is to be ended, if it is not what would be started now for such a turn.
    pub(super) fn unfit(
        &self,
        command: &[OsString],
        spec: &SessionSpec,
        effort: Option<&str>,
    ) -> Option<Ending> {
        if !self.memory.is_whole(spec) {
            // What it might save at its end is not the whole conversation.
            return Some(Ending::Kill);
        }
        let is_wanted = spec.resume.as_ref().is_none_or(|wanted| *wanted == *self.conversation());
        let fits = is_wanted && self.effort.as_deref() == effort;
        let fits = fits && self.origin == Origin::of(command, &spec.cwd);
        (!fits).then_some(Ending::LetGo)
    }

    /// Its id of the conversation.
    pub(super) fn conversation(&self) -> MutexGuard<'_, String> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the id of another conversation than it is in.
    pub(super) fn is_elsewhere(&self, id: &str) -> bool {
        !id.is_empty() && *self.conversation() != id
    }

    /// It names the conversation that it is in by this id; whether that is another than was known.
    pub(super) fn moves_to(&self, id: &str) -> bool {
        let moves = id.len() <= LONGEST_NAME && self.is_elsewhere(id);
        if moves {
            id.clone_into(&mut self.conversation());
        }
        moves
    }

    /// Kills it and what it had running. When this returns, nothing of it is left.
    async fn kill(&self) {
        self.control.kill_until_gone(self.entry.name.as_str(), self.pid).await;
    }
}

impl Wire {
    /// How the process ended; `None` when it goes on.
    pub(super) async fn exit(&mut self) -> Option<Exit> {
        timeout(EXIT_PATIENCE, self.child.wait()).await.ok()
    }

    /// Waits until it has said more, and returns how many bytes that is: none at the end. Before that it is given the
    /// answers that it waits for, so that one that reads none is not heard either. Cancel-safe.
    pub(super) async fn read(&mut self, outbox: &Outbox) -> Result<usize, Deaf> {
        while let Some(answer) = self.unsent.front() {
            timeout(READS_WITHIN, outbox.send(answer.clone())).await.map_err(|_| Deaf)?;
            self.unsent.pop_front();
        }
        Ok(self.lines.read().await)
    }

    /// Answers with the next [`read`](Self::read).
    pub(super) fn answer(&mut self, answer: &Value) {
        self.unsent.push_back(answer.to_string());
    }

    /// Passes over what it has said until now; whether it goes on.
    pub(super) async fn catch_up(&mut self) -> bool {
        self.pass_over_all();
        let mut said = 0;
        while said < PIPE {
            let length = tokio::select! {
                biased;
                length = self.lines.read() => length,
                // What is in the pipe may not have been noticed yet.
                () = tokio::task::yield_now() => return true,
            };
            self.pass_over_all();
            if length == 0 {
                return false;
            }
            said += length;
        }
        true
    }

    fn pass_over_all(&mut self) {
        while let Some(line) = self.lines.next_line() {
            if let Line::Whole(line) = line
                && let Some(line) = object(&line)
            {
                self.pass_over(&line);
            }
        }
    }

    /// What it says outside of a turn of ours belongs to none. What lasts is remembered; what it asks for is refused.
    pub(super) fn pass_over(&mut self, line: &Value) {
        match text(line, "type") {
            "control_request" => self.answer(&refusal(line)),
            "result" => {
                self.has_own_turn = false;
                self.note_cost(line);
            }
            "system" => {
                self.has_own_turn |= text(line, "subtype") == "init";
                self.learn(line);
            }
            _ => {}
        }
    }

    /// Takes over what it says of itself. It changes its mode by itself, as when a plan was accepted.
    pub(super) fn learn(&mut self, line: &Value) {
        let told = |key| Some(text(line, key)).filter(|name| (1..=LONGEST_NAME).contains(&name.len()));
        if !matches!(text(line, "subtype"), "init" | "status") {
            return;
        }
        if let Some(mode) = told("permissionMode") {
            if self.mode.is_none() {
                self.own_mode = Some(mode.to_owned());
            }
            self.mode = Some(mode.to_owned());
        }
        if let Some(model) = told("model") {
            let is_another = self.full_model.as_ref().is_some_and(|known| known != model);
            self.full_model = Some(model.to_owned());
            if is_another {
                self.model = model.to_owned();
            }
        }
    }

    /// It was told to take this model.
    pub(super) fn model_is(&mut self, model: String) {
        self.model = model;
        self.full_model = None;
    }

    /// What may be chosen, and what is.
    pub(super) fn settings(&self, effort: Option<&str>) -> AgentSettings {
        let mode = self.mode.as_deref().unwrap_or(DEFAULT_MODE);
        self.hello.as_ref().map(|hello| hello.settings(&self.model, mode, effort)).unwrap_or_default()
    }

    /// Remembers what the process has cost.
    fn note_cost(&mut self, result: &Value) {
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
        // What came with the end of the turn.
        wire.pass_over_all();
        let mut said = 0;
        loop {
            match wire.read(&self.outbox).await {
                Ok(0) => return words::ending(wire.exit().await),
                Ok(length) => said += length,
                Err(Deaf) => return "did not read the answers to what it asked".to_owned(),
            }
            wire.pass_over_all();
            if said > BETWEEN_TURNS {
                return "did not stop talking between two turns".to_owned();
            }
        }
    }

    async fn is_well(&self) -> bool {
        self.wire.lock().await.catch_up().await && !self.control.has_ended()
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
