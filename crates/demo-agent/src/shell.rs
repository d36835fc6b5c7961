//! Directives that run commands.

use crate::{
    agent::Woken,
    turn::{Turn, text_content},
    wire::Halt,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::json;
use std::{
    io::{self, PipeReader, Read as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Output of a command that is kept and shown.
const LONGEST_OUTPUT: usize = 64 << 10;

/// How often a command that says nothing is looked at: its pipe may be held open by others.
const GLANCE: Duration = Duration::from_millis(20);

impl Turn<'_> {
    /// Runs a command itself, its output streamed into the tool call.
    pub fn shell(&mut self, command: &str) -> Result<(), Halt> {
        let id = self.begin_tool(command, "execute", json!({"command": command}))?;
        let cwd = self.here().cwd.clone();
        match Running::start(command, &cwd) {
            Ok(running) => self.watch(&id, running),
            Err(err) => self.end_tool(&id, "failed", text_content(&err.to_string())),
        }
    }

    fn watch(&mut self, id: &str, mut running: Running) -> Result<(), Halt> {
        let mut shown = String::new();
        let status = loop {
            // Of one that was over before the wait, a pipe in which nothing comes has all been read.
            let before = running.child.try_wait();
            let woken = self.agent.wait(Some(Instant::now() + GLANCE), Some(running.output.as_fd()))?.0;
            if self.is_cancelled() {
                running.kill();
                return self.end_tool(id, "failed", text_content(&format!("{shown}[cancelled]")));
            }
            let ended = match woken {
                Woken::Other => !running.take_output(&mut shown),
                Woken::Message => false,
                Woken::Deadline => true,
            };
            let exited = if woken == Woken::Deadline { before } else { running.child.try_wait() };
            match exited {
                Ok(Some(status)) if ended => break status,
                Ok(_) if woken == Woken::Other && !ended => {
                    self.update(json!({"sessionUpdate": "tool_call_update", "toolCallId": id,
                                       "content": text_content(&shown)}))?;
                }
                // The pipe is at its end while the command goes on: wait for it without spinning.
                Ok(None) if woken == Woken::Other => {
                    self.pause(GLANCE)?;
                }
                Ok(_) => {}
                Err(err) => return self.end_tool(id, "failed", text_content(&err.to_string())),
            }
        };
        self.end_command(id, status, &shown)
    }

    fn end_command(&mut self, id: &str, status: ExitStatus, output: &str) -> Result<(), Halt> {
        let word = if status.success() { "completed" } else { "failed" };
        let raw = json!({"exitCode": status.code(), "output": output});
        self.update(json!({"sessionUpdate": "tool_call_update", "toolCallId": id, "status": word,
                           "content": text_content(output), "rawOutput": raw}))
    }

    /// Runs a command in a terminal of the host.
    pub fn terminal(&mut self, command: &str) -> Result<(), Halt> {
        if !self.agent.offers.terminal {
            return self.shell(command);
        }
        let id = self.begin_tool(command, "execute", json!({"command": command}))?;
        let cwd = self.here().cwd.to_string_lossy().into_owned();
        let made = self.call(
            "terminal/create",
            json!({"sessionId": self.session, "command": "sh", "args": ["-c", command], "cwd": cwd,
                   "outputByteLimit": LONGEST_OUTPUT}),
        )?;
        let terminal = match made {
            Ok(made) => made["terminalId"].clone(),
            Err(error) => return self.end_tool(&id, "failed", text_content(&error.to_string())),
        };
        let content = json!([{"type": "terminal", "terminalId": terminal}]);
        self.update(json!({"sessionUpdate": "tool_call_update", "toolCallId": id, "content": content}))?;
        let at = json!({"sessionId": self.session, "terminalId": terminal});
        let exited = self.wait_for_terminal(&at)?;
        let output = self.call("terminal/output", at.clone())?;
        let _ = self.call("terminal/release", at)?;
        let failed = exited.as_ref().map_or(true, |exit| exit["exitCode"] != 0);
        let status = if failed { "failed" } else { "completed" };
        let raw = json!({"exit": exited.unwrap_or_else(|error| error), "output": output.unwrap_or_else(|error| error)});
        self.update(json!({"sessionUpdate": "tool_call_update", "toolCallId": id, "status": status,
                           "rawOutput": raw}))
    }

    /// Waits for a terminal's command; kills it when the turn is cancelled.
    fn wait_for_terminal(
        &mut self,
        at: &serde_json::Value,
    ) -> Result<Result<serde_json::Value, serde_json::Value>, Halt> {
        let id = self.agent.wire.request("terminal/wait_for_exit", at.clone())?.to_string();
        let mut killed = false;
        loop {
            if let Some(answer) = self.agent.answers.remove(&id) {
                return Ok(answer);
            }
            self.agent.wait(None, None)?;
            if self.is_cancelled() && !killed {
                killed = true;
                let _ = self.call("terminal/kill", at.clone())?;
            }
        }
    }
}

/// A command that runs; killed with its process group when dropped.
struct Running {
    child: Child,
    output: PipeReader,
}

impl Running {
    fn start(command: &str, cwd: &Path) -> io::Result<Self> {
        let (output, input) = io::pipe()?;
        let child = Command::new("sh")
            .args(["-c", command])
            .current_dir(cwd)
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input)
            .process_group(0)
            .spawn()?;
        Ok(Self { child, output })
    }

    /// Takes what can be read without waiting; false at the end.
    fn take_output(&mut self, shown: &mut String) -> bool {
        let mut chunk = [0; 8192];
        match self.output.read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => {
                let room = LONGEST_OUTPUT.saturating_sub(shown.len());
                shown.extend(String::from_utf8_lossy(&chunk[..n]).chars().take(room));
                true
            }
            Err(err) => err.kind() == io::ErrorKind::Interrupted,
        }
    }

    fn kill(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        // Until it is waited for, the child's id cannot belong to anybody else.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
