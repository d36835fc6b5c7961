//! `terminal/*`: commands that the host runs for an agent.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::output_tail::OutputTail;

/// How long the output of an ended command is waited for. Longer, and whoever holds its pipe is a process that
/// the command left running.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// Starts processes. Implemented where processes are supervised.
#[async_trait]
pub trait TerminalSpawner: Send + Sync + 'static {
    /// Starts a command, with stdout and stderr in one stream and nothing to read on stdin.
    ///
    /// # Errors
    /// It could not be started, for instance because there is no such program.
    async fn spawn(&self, command: Command) -> io::Result<Spawned>;
}

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program, to be found in `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What the agent wants in its environment, besides what the host puts there.
    pub env: Vec<(String, String)>,
    /// The folder, inside the session's.
    pub cwd: PathBuf,
}

impl Command {
    /// What an agent means: without arguments the whole shell line is in `command` (goose).
    pub fn new(command: String, args: Vec<String>, env: Vec<(String, String)>, cwd: PathBuf) -> Self {
        if args.is_empty() {
            Self { program: "/bin/sh".to_owned(), args: vec!["-c".to_owned(), command], env, cwd }
        } else {
            Self { program: command, args, env, cwd }
        }
    }
}

/// A started command.
pub struct Spawned {
    /// What it prints, until nobody holds its end of the pipe any more.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// Its end.
    pub exit: Pin<Box<dyn Future<Output = ExitStatus> + Send>>,
    /// Kills it with everything that it started. Called at any time, also twice and after its end.
    pub kill: Box<dyn Fn() + Send + Sync>,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitStatus {
    /// Its exit code, if it ended by itself.
    pub code: Option<u32>,
    /// The signal's name, for instance `SIGKILL`, if that ended it.
    pub signal: Option<String>,
}

/// What a command has printed so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The end of it.
    pub text: String,
    /// Whether its start is missing.
    pub truncated: bool,
    /// How the command ended, once it has.
    pub exit: Option<ExitStatus>,
}

/// How many terminals, and how much of their output is kept.
#[derive(Clone, Copy, Debug)]
pub struct TerminalLimits {
    /// Terminals of a session that are not released. 32.
    pub count: usize,
    /// Output kept of each, in bytes, unless the agent asks for less. 1 MiB.
    pub output: usize,
}

impl Default for TerminalLimits {
    fn default() -> Self {
        Self { count: 32, output: 1024 * 1024 }
    }
}

/// Why a terminal's request is refused.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// No terminal has this id, or it was released, or its turn has ended.
    #[error("no terminal has the id {id}")]
    Unknown {
        /// The id.
        id: String,
    },
    /// The limit is reached.
    #[error("{limit} terminals are open; release one first")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The working folder is not inside the session's, or does not exist.
    #[error("{} is not a folder of the session", cwd.display())]
    Outside {
        /// What was asked for.
        cwd: PathBuf,
    },
    /// The command could not be started.
    #[error("failed to start {program}: {source}")]
    Spawn {
        /// What was to be started.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The turn was stopped while the command was being started.
    #[error("the turn was stopped")]
    Stopped,
}

/// The terminals of one session. Dropping it kills them.
pub struct Terminals {
    root: PathBuf,
    spawner: Arc<dyn TerminalSpawner>,
    limits: TerminalLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// Those that are not released; `None` while one is being started.
    open: HashMap<String, Option<Arc<Terminal>>>,
    /// How often all were killed.
    stops: u64,
}

struct Terminal {
    tail: Arc<Mutex<OutputTail>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    kill: Box<dyn Fn() + Send + Sync>,
    watcher: JoinHandle<()>,
}

impl Terminals {
    /// Terminals in a folder, which must be without links.
    pub fn new(root: PathBuf, spawner: Arc<dyn TerminalSpawner>, limits: TerminalLimits) -> Self {
        Self { root, spawner, limits, state: Mutex::default() }
    }

    /// The folder for a command: inside the session's, which is also the default.
    ///
    /// # Errors
    /// [`TerminalError::Outside`].
    pub fn folder(&self, cwd: Option<&Path>) -> Result<PathBuf, TerminalError> {
        let Some(cwd) = cwd else { return Ok(self.root.clone()) };
        let real = self.root.join(cwd).canonicalize().ok().filter(|real| real.starts_with(&self.root));
        real.filter(|real| real.is_dir()).ok_or_else(|| TerminalError::Outside { cwd: cwd.to_owned() })
    }

    /// Starts a command and keeps the last `limit` bytes of its output; returns its id.
    ///
    /// # Errors
    /// See [`TerminalError`].
    pub async fn create(&self, command: Command, limit: Option<u64>) -> Result<String, TerminalError> {
        let slot = self.reserve()?;
        let program = command.program.clone();
        let spawned = self.spawner.spawn(command).await;
        let spawned = spawned.map_err(|source| TerminalError::Spawn { program, source })?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        slot.fill(Terminal::watch(spawned, limit.min(self.limits.output)))
    }

    /// What a command has printed, and how it ended if it has.
    ///
    /// # Errors
    /// [`TerminalError::Unknown`].
    pub fn output(&self, id: &str) -> Result<Output, TerminalError> {
        let terminal = self.find(id)?;
        // Looked at first: what was printed before the end must not be missing when the end is known.
        let exit = terminal.exit.borrow().clone();
        let (text, truncated) = lock(&terminal.tail).text();
        Ok(Output { text, truncated, exit })
    }

    /// Waits for a command's end. A terminal that is released meanwhile is killed, which is an end, too.
    ///
    /// # Errors
    /// [`TerminalError::Unknown`].
    pub async fn wait(&self, id: &str) -> Result<ExitStatus, TerminalError> {
        let mut exit = self.find(id)?.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        Ok(ended.unwrap_or_else(killed))
    }

    /// Kills a command; its output can still be asked for.
    ///
    /// # Errors
    /// [`TerminalError::Unknown`].
    pub fn kill(&self, id: &str) -> Result<(), TerminalError> {
        (self.find(id)?.kill)();
        Ok(())
    }

    /// Kills a command and forgets it.
    ///
    /// # Errors
    /// [`TerminalError::Unknown`].
    pub fn release(&self, id: &str) -> Result<(), TerminalError> {
        self.find(id)?;
        drop(lock(&self.state).open.remove(id));
        Ok(())
    }

    /// Kills and forgets everything, also what is being started: goose kills nothing when it is cancelled.
    pub fn stop_all(&self) {
        let mut state = lock(&self.state);
        state.stops += 1;
        let open = std::mem::take(&mut state.open);
        drop(state);
        drop(open);
    }

    fn reserve(&self) -> Result<Slot<'_>, TerminalError> {
        let mut state = lock(&self.state);
        if state.open.len() >= self.limits.count {
            return Err(TerminalError::TooMany { limit: self.limits.count });
        }
        state.last += 1;
        let id = format!("term_{}", state.last);
        state.open.insert(id.clone(), None);
        Ok(Slot { terminals: self, id, stops: state.stops })
    }

    fn find(&self, id: &str) -> Result<Arc<Terminal>, TerminalError> {
        let found = lock(&self.state).open.get(id).cloned().flatten();
        found.ok_or_else(|| TerminalError::Unknown { id: id.to_owned() })
    }
}

/// A place that is kept for a command that is being started; given back when that fails or is given up.
struct Slot<'a> {
    terminals: &'a Terminals,
    id: String,
    stops: u64,
}

impl Slot<'_> {
    fn fill(self, terminal: Terminal) -> Result<String, TerminalError> {
        let mut state = lock(&self.terminals.state);
        if state.stops != self.stops {
            return Err(TerminalError::Stopped);
        }
        state.open.insert(self.id.clone(), Some(Arc::new(terminal)));
        Ok(self.id.clone())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.terminals.state);
        if matches!(state.open.get(&self.id), Some(None)) {
            state.open.remove(&self.id);
        }
    }
}

impl Terminal {
    fn watch(spawned: Spawned, limit: usize) -> Self {
        let tail = Arc::new(Mutex::new(OutputTail::new(limit)));
        let (ended, exit) = watch::channel(None);
        let watcher = tokio::spawn(watch_command(spawned.output, spawned.exit, Arc::clone(&tail), ended));
        Self { tail, exit, kill: spawned.kill, watcher }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        (self.kill)();
        self.watcher.abort();
    }
}

/// Drains the output, for a full pipe would block the command, and reports the end once the output is complete.
async fn watch_command(
    mut output: Box<dyn AsyncRead + Send + Unpin>,
    exit: Pin<Box<dyn Future<Output = ExitStatus> + Send>>,
    tail: Arc<Mutex<OutputTail>>,
    ended: watch::Sender<Option<ExitStatus>>,
) {
    let mut drain = std::pin::pin!(drain(&mut output, &tail));
    let mut exit = exit;
    let (status, drained) = tokio::select! {
        status = &mut exit => (status, timeout(LAST_OUTPUT, &mut drain).await.is_ok()),
        () = &mut drain => (exit.await, true),
    };
    ended.send_replace(Some(status));
    if !drained {
        drain.await;
    }
}

async fn drain(output: &mut (dyn AsyncRead + Send + Unpin), tail: &Mutex<OutputTail>) {
    let mut buffer = vec![0; 16 * 1024];
    // A failed read ends the output as its end does.
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        lock(tail).push(&buffer[..count]);
    }
}

/// The end of a command whose watcher was stopped.
fn killed() -> ExitStatus {
    ExitStatus { code: None, signal: Some("SIGKILL".to_owned()) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
