//! Starts real processes for terminals; the crate itself starts none.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;

use acp_proto::host::{Command, ExitStatus, Spawned, TerminalSpawner};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Semaphore;

#[derive(Default)]
pub struct Processes {
    /// Starting a process waits for a permit of the first, having given one to the second.
    pub gate: Option<(Arc<Semaphore>, Arc<Semaphore>)>,
}

#[async_trait]
impl TerminalSpawner for Processes {
    async fn spawn(&self, command: Command) -> std::io::Result<Spawned> {
        let (reader, writer) = std::io::pipe()?;
        let mut process = tokio::process::Command::new(&command.program);
        process.args(&command.args).envs(command.env).current_dir(&command.cwd).process_group(0);
        process.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let mut child = process.spawn()?;
        drop(process);
        let group = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        if let Some((open, reached)) = &self.gate {
            reached.add_permits(1);
            open.acquire().await.unwrap().forget();
        }
        Ok(Spawned {
            output: Box::new(Receiver::from_owned_fd(reader.into())?),
            exit: Box::pin(async move {
                let status = child.wait().await.unwrap();
                let code = status.code().map(|code| u32::try_from(code).unwrap());
                ExitStatus { code, signal: status.signal().map(|signal| format!("signal {signal}")) }
            }),
            kill: Box::new(move || {
                let _ = kill_process_group(group, Signal::KILL);
            }),
        })
    }
}
