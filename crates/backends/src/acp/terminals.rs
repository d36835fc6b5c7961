//! Commands that we run for an agent: supervised as the agent is, with its environment, gone with its session.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use acp_proto::host::{Command, ExitStatus, Spawned, TerminalSpawner};
use async_trait::async_trait;
use nix::sys::signal::Signal;
use tokio::sync::watch;

use crate::launch::Launcher;
use crate::process::env::is_forbidden;
use crate::process::{Child, Control, RunTag, SpawnError, Status};
use crate::registry::AgentEntry;

/// Runs `"$@"` with both outputs in one stream, in order, as a terminal has them.
const MERGE_OUTPUTS: &str = r#"exec "$@" 2>&1"#;

/// Starts an agent's commands, and remembers them until they are gone.
pub(crate) struct CommandSpawner {
    launcher: Launcher,
    entry: AgentEntry,
    extra_env: Vec<(OsString, OsString)>,
    tag: RunTag,
    running: Arc<watch::Sender<Running>>,
}

/// What runs. Locked for moments only: a Stop waits for no start.
#[derive(Default)]
struct Running {
    controls: Vec<Control>,
    /// How many commands are being started.
    starting: usize,
    /// How often everything was killed. A command that was being started meanwhile dies as it comes.
    kills: u64,
    is_closed: bool,
}

impl CommandSpawner {
    /// A spawner for one process.
    pub(crate) fn new(
        launcher: Launcher,
        entry: AgentEntry,
        extra_env: Vec<(OsString, OsString)>,
        tag: RunTag,
    ) -> Self {
        Self { launcher, entry, extra_env, tag, running: Arc::default() }
    }

    /// Kills what runs and what is being started. Returns at once; what is started later runs.
    pub(crate) fn kill(&self) {
        self.running.send_modify(Running::kill);
    }

    /// Lets commands be started again, for another turn.
    pub(crate) fn reopen(&self) {
        self.running.send_modify(|running| running.is_closed = false);
    }

    /// Kills what runs, lets nothing more be started, and returns when all of it is gone.
    pub(crate) async fn close(&self) {
        self.running.send_modify(|running| {
            running.is_closed = true;
            running.kill();
        });
        // The sender is ours, so that this does not fail.
        let _ = self.running.subscribe().wait_for(|running| running.starting == 0).await;
        let mut controls = Vec::new();
        self.running.send_modify(|running| controls = std::mem::take(&mut running.controls));
        for control in controls {
            control.wait_tree_empty().await;
        }
    }
}

#[async_trait]
impl TerminalSpawner for CommandSpawner {
    async fn spawn(&self, command: Command) -> io::Result<Spawned> {
        let wanted = command.env.into_iter().map(|(name, value)| (OsString::from(name), value.into()));
        // The command is worth more than the variable: goose sets GIT_PAGER for each.
        let wanted = wanted.filter(|(name, _)| {
            let is_dropped = is_forbidden(name);
            if is_dropped {
                tracing::debug!(agent = %self.entry.name, ?name, "dropped a variable of the agent's command");
            }
            !is_dropped
        });
        let extra = self.extra_env.iter().cloned();
        // Our own come last: they win.
        let env = self.launcher.environment(&self.entry, wanted.chain(extra)).map_err(io::Error::other)?;
        let argv: Vec<OsString> = ["/bin/sh", "-c", MERGE_OUTPUTS, "sh", &command.program]
            .into_iter()
            .chain(command.args.iter().map(String::as_str))
            .map(OsString::from)
            .collect();
        let (launcher, tag) = (self.launcher.clone(), self.tag.clone());
        let start = Start::begin(&self.running)?;
        // In a task of its own: when the agent's request is given up halfway, the child is known all the same.
        let started = tokio::spawn(async move {
            let child = launcher.spawn(&argv, command.cwd, env, tag).await.map_err(spawn_error)?;
            start.end(child.control());
            Ok(child)
        });
        started.await.map_err(io::Error::other)?.and_then(spawned)
    }
}

impl Running {
    fn kill(&mut self) {
        self.kills += 1;
        self.controls.iter().for_each(Control::kill);
    }
}

/// A command that is being started; dropped, it is so no more.
struct Start {
    running: Arc<watch::Sender<Running>>,
    /// How often everything had been killed when it began.
    kills: u64,
}

impl Start {
    fn begin(running: &Arc<watch::Sender<Running>>) -> io::Result<Self> {
        let mut kills = None;
        running.send_modify(|running| {
            if !running.is_closed {
                running.controls.retain(|control| !control.is_over());
                running.starting += 1;
                kills = Some(running.kills);
            }
        });
        let kills = kills.ok_or_else(|| io::Error::other("no turn is running"))?;
        Ok(Self { running: Arc::clone(running), kills })
    }

    /// It runs now, unless everything was killed meanwhile.
    fn end(self, control: Control) {
        self.running.send_modify(|running| {
            if running.kills != self.kills {
                control.kill();
            }
            running.controls.push(control);
        });
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.running.send_modify(|running| running.starting -= 1);
    }
}

fn spawned(mut child: Child) -> io::Result<Spawned> {
    drop(child.take_stdin());
    let output = child.take_stdout().ok_or_else(|| io::Error::other("no output"))?;
    let control = child.control();
    Ok(Spawned {
        output: Box::new(output),
        exit: Box::pin(async move { exit_status(child.wait().await.status) }),
        kill: Box::new(move || control.kill()),
    })
}

fn exit_status(status: Status) -> ExitStatus {
    match status {
        Status::Code(code) => ExitStatus { code: u32::try_from(code).ok(), signal: None },
        Status::Signal(number) => {
            let name =
                Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| signal.to_string());
            ExitStatus { code: None, signal: Some(name) }
        }
        Status::SupervisorLost => ExitStatus::default(),
    }
}

fn spawn_error(error: SpawnError) -> io::Error {
    io::Error::other(error)
}
