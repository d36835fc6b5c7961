//! A started child.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::control::{Control, Wish, Wishes};
use super::exit::{Exit, Status};
use super::stderr::StderrTail;
use super::stdio::{Stdin, Stdout};

/// How long the last of standard error is waited for when a process that could not be found holds it open.
const STDERR_PATIENCE: Duration = Duration::from_millis(250);

/// A running agent and its tree. Dropping it before [`wait`](Child::wait) has returned kills the tree, without
/// blocking; a [`Control`] can still be used to see it gone.
#[derive(Debug)]
pub struct Child {
    pub(super) pid: i32,
    pub(super) stdin: Option<Stdin>,
    pub(super) stdout: Option<Stdout>,
    pub(super) stderr: StderrTail,
    pub(super) stderr_task: JoinHandle<()>,
    pub(super) control: Control,
    /// Dropped with the child.
    pub(super) _kill_on_drop: KillOnDrop,
}

impl Child {
    /// The process id of the leader. It is the leader's own until [`wait`](Child::wait) returns at the latest;
    /// for messages only.
    pub fn id(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// The agent's standard input; `None` when it was taken before.
    pub fn take_stdin(&mut self) -> Option<Stdin> {
        self.stdin.take()
    }

    /// The agent's standard output; `None` when it was taken before.
    pub fn take_stdout(&mut self) -> Option<Stdout> {
        self.stdout.take()
    }

    /// The end of what the agent has written to standard error: at most 8 KiB, invalid bytes replaced.
    pub fn stderr_tail(&self) -> String {
        self.stderr.text()
    }

    /// How many bytes the agent has written to standard error.
    pub fn stderr_bytes(&self) -> u64 {
        self.stderr.total()
    }

    /// A handle to stop the child with.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits until the leader has ended and nothing of the tree is left. A standard input that was not taken
    /// is closed first. May be dropped and called again; every call gives the same answer.
    pub async fn wait(&mut self) -> Exit {
        drop(self.stdin.take());
        let end = self.control.finished().await;
        if !self.stderr_task.is_finished() {
            let _ = timeout(STDERR_PATIENCE, &mut self.stderr_task).await;
        }
        Exit {
            status: end.status.unwrap_or(Status::SupervisorLost),
            tree_empty: end.tree_empty.unwrap_or(false),
            fence_lapsed: end.fence_lapsed,
        }
    }
}

/// Asks for the kill when it goes.
#[derive(Debug)]
pub(super) struct KillOnDrop(pub(super) Arc<Wishes>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.make(Wish::Kill);
    }
}
