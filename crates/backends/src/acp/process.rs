//! A running agent and the connection to it, whoever keeps them.

use std::ffi::OsString;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use acp_proto::client::{Client, Event, Events, connect};
use acp_proto::host::Host;
use acp_proto::schema::ClientCapabilities;
use acp_proto::types::Initialized;
use dispatch_core::agent::Failure;
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::TerminalReason;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::conversation::Conversation;
use super::settings::AcpSettings;
use super::terminals::CommandSpawner;
use crate::common::open;
use crate::common::origin::Origin;
use crate::pool::{Ending, Memory};
use crate::process::{Child, Control, Exit, RunTag, Rung, Stdout};
use crate::registry::AgentEntry;

/// How many events are taken at once.
pub(super) const BATCH: usize = 256;
/// How often it is looked at how much an agent has said, which one endless line does not tell.
const LOOK: Duration = Duration::from_secs(1);
/// How long an agent that closed its output may take to end.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);
/// How long an agent may take to end when its turn is over and its standard input closed, and after SIGTERM.
const LET_GO: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// An agent's process. It belongs to one turn, or to the pool, which lends it to one turn at a time.
pub(super) struct AcpProcess {
    pub(super) entry: AgentEntry,
    pub(super) client: Client,
    pub(super) process: Control,
    pub(super) terminals: Arc<CommandSpawner>,
    pub(super) capabilities: ClientCapabilities,
    pub(super) read: Read,
    pub(super) pid: u32,
    pub(super) memory: Memory,
    origin: Origin,
    /// For the turn that uses it; between turns, for who looks after it.
    pub(super) wire: Arc<Mutex<Wire>>,
}

/// What the agent says, and what is known of it by that.
pub(super) struct Wire {
    pub(super) child: Child,
    pub(super) events: Events,
    /// Events taken and not yet looked at.
    pub(super) taken: Vec<Event>,
    /// How it introduced itself, once it has.
    pub(super) hello: Option<Initialized>,
    /// The conversation that it is in, between turns.
    pub(super) conversation: Option<Conversation>,
}

impl AcpProcess {
    /// Starts an agent in a turn's worktree.
    pub(super) async fn spawn(
        settings: &AcpSettings,
        entry: AgentEntry,
        command: &[OsString],
        spec: &SessionSpec,
        tag: RunTag,
    ) -> Result<Self, Failure> {
        let failed = |text: String| Failure::new(TerminalReason::CouldNotStart, text);
        if spec.cwd.to_str().is_none() {
            let path = spec.cwd.display();
            return Err(failed(format!(
                "the worktree's path is not UTF-8, which ACP cannot carry: {path}; choose another data folder"
            )));
        }
        let (launcher, extra) = (&settings.launcher, open::worktree_env(&spec.cwd));
        let env = launcher
            .environment(&entry, extra.iter().cloned())
            .map_err(|error| failed(format!("agent {}: {error}", entry.name)))?;
        // Before the start: a file that is replaced in between is another one.
        let origin = Origin::of(command, &spec.cwd);
        let spawned = launcher.spawn(command, spec.cwd.clone(), env, tag.clone()).await;
        let mut child = spawned.map_err(|error| open::could_not_start(&entry, &error))?;
        let terminals = Arc::new(CommandSpawner::new(launcher.clone(), entry.clone(), extra, tag));
        let mut host = Host::new(entry.quirks.missing_file).with_terminals(Arc::clone(&terminals) as _);
        if let Some(beside) = spec.cwd.parent() {
            // Ours, as the worktree is, and no part of any checkpoint.
            host = host.with_scratch(beside.to_owned());
        }
        let capabilities = host.capabilities();
        let (Some(stdout), Some(stdin)) = (child.take_stdout(), child.take_stdin()) else {
            return Err(Failure::new(TerminalReason::Internal, "the agent has no standard streams"));
        };
        let read = Read::default();
        let output = Counted { stdout, read: read.clone() };
        let (client, events) = connect(output, stdin, Arc::new(host), settings.connection.clone());
        let (process, pid) = (child.control(), child.id());
        let wire = Wire { child, events, taken: Vec::new(), hello: None, conversation: None };
        let wire = Arc::new(Mutex::new(wire));
        let memory = Memory::default();
        Ok(Self { entry, client, process, terminals, capabilities, read, pid, memory, origin, wire })
    }

    /// How it is to be ended, if it is not what would be started now by this command for such a turn.
    pub(super) fn unfit(&self, command: &[OsString], spec: &SessionSpec) -> Option<Ending> {
        if !self.memory.is_whole(spec) {
            // What it might save at its end is not the whole conversation.
            return Some(Ending::Kill);
        }
        // Program or folder was replaced.
        (self.origin != Origin::of(command, &spec.cwd)).then_some(Ending::LetGo)
    }

    /// Lets it end by itself, then ends it. Dropped output and a lock on the wire are the caller's.
    pub(super) async fn let_go(&self, wire: &mut Wire) {
        let eof = if self.entry.quirks.ignores_eof { Duration::ZERO } else { LET_GO[0] };
        let ladder = [(Rung::Ask, eof), (Rung::Terminate, LET_GO[1])];
        // It is listened to, since one that is not heard cannot end.
        wire.deaf_until(self.process.stop_ladder(&ladder)).await;
    }

    /// Kills it and what it had running. When this returns, nothing of it is left.
    pub(super) async fn kill(&self) {
        self.process.kill_until_gone(self.entry.name.as_str(), self.pid).await;
        self.terminals.close().await;
    }
}

impl Wire {
    /// How the process ended; `None` when it goes on.
    pub(super) async fn exit(&mut self) -> Option<Exit> {
        timeout(EXIT_PATIENCE, self.child.wait()).await.ok()
    }

    /// Takes what the agent says next, if it says it soon; `false` when it says nothing any more. Cancel-safe.
    pub(super) async fn listen(&mut self) -> bool {
        timeout(LOOK, self.events.recv_many(&mut self.taken, BATCH)).await != Ok(0)
    }

    /// Awaits something while what the agent says is dropped.
    pub(super) async fn deaf_until<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                taken = self.events.recv_many(&mut self.taken, BATCH), if is_open => {
                    is_open = taken > 0;
                    self.taken.clear();
                }
            }
        }
    }
}

/// How many bytes an agent has said.
#[derive(Debug, Clone, Default)]
pub(super) struct Read(Arc<AtomicU64>);

impl Read {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Standard output, counted.
struct Counted {
    stdout: Stdout,
    read: Read,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stdout).poll_read(cx, into);
        self.read.0.fetch_add((into.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}
