//! Stopping a child while somebody else reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::exit::Status;
use super::stdio::StdinPipe;

/// How often a process that cannot be killed is complained about.
const COMPLAINT: Duration = Duration::from_secs(30);

/// What is known about a child's end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub status: Option<Status>,
    pub fence_lapsed: bool,
    /// Set last: supervision is over, and whether it proved that nothing is left.
    pub tree_empty: Option<bool>,
}

/// What the child's task has been asked for and not done yet. Asking twice is asking once.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pending: AtomicU8,
    changed: Notify,
}

/// One kind of wish; also its bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Wish {
    Terminate = 1,
    Kill = 2,
}

impl Wishes {
    pub(super) fn make(&self, wish: Wish) {
        self.pending.fetch_or(wish as u8, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Waits for the next wish; the strongest one when there are more. May be dropped and called again.
    pub(super) async fn next(&self) -> Wish {
        loop {
            let pending = self.pending.swap(0, Ordering::AcqRel);
            if pending & Wish::Kill as u8 != 0 {
                return Wish::Kill;
            }
            if pending & Wish::Terminate as u8 != 0 {
                return Wish::Terminate;
            }
            self.changed.notified().await;
        }
    }
}

/// The child's task's end of what it shares with [`Child`](super::Child) and [`Control`].
pub(super) struct Reins {
    pub wishes: Arc<Wishes>,
    pub progress: watch::Sender<Progress>,
}

/// A step of a stop ladder, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Close standard input: most agents take that as the end.
    Ask,
    /// `SIGTERM` to every process of the tree.
    Terminate,
    /// `SIGKILL` to every process of the tree, until none is left.
    Kill,
}

/// How climbing a stop ladder ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// The last rung that was needed; `None` when all was over before.
    pub rung: Option<Rung>,
    /// What is left.
    pub end: LadderEnd,
    /// How long it took.
    pub took: Duration,
}

/// What is left after a stop ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LadderEnd {
    /// Nothing, as the supervisor proved.
    Empty,
    /// Nothing that could be found; there is no supervisor, or it was killed.
    Unproven,
    /// Something still runs: the ladder does not reach `Kill`, or a process cannot be killed.
    Running,
}

/// A handle on a running child, to be cloned freely; it does not keep the child alive.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) stdin: StdinPipe,
    pub(super) wishes: Arc<Wishes>,
    pub(super) progress: watch::Receiver<Progress>,
}

impl Control {
    /// Closes the agent's standard input, also while it is written to.
    pub fn close_stdin(&self) {
        self.stdin.close();
    }

    /// Sends `SIGTERM` to every process of the tree, and continues the stopped ones so that they notice.
    /// Returns at once; nothing happens after the end.
    pub fn terminate(&self) {
        self.wishes.make(Wish::Terminate);
    }

    /// Kills every process of the tree until none is left. Returns at once; nothing happens after the end.
    pub fn kill(&self) {
        self.wishes.make(Wish::Kill);
    }

    /// Resolves when supervision is over: `true` when the supervisor proved that nothing of the tree is left,
    /// `false` when there was none, or it was lost, and all that could be found is dead.
    pub async fn wait_tree_empty(&self) -> bool {
        self.finished().await.tree_empty.unwrap_or(false)
    }

    /// Whether supervision is over, as [`wait_tree_empty`](Self::wait_tree_empty) waits for.
    pub fn is_over(&self) -> bool {
        self.progress.borrow().tree_empty.is_some() || self.progress.has_changed().is_err()
    }

    /// Whether the leader has ended; what it left behind may be going still.
    pub fn has_ended(&self) -> bool {
        self.progress.borrow().status.is_some() || self.is_over()
    }

    /// The last progress; without its end when the runtime has dropped the child's task, which kills the tree.
    pub(super) async fn finished(&self) -> Progress {
        let mut progress = self.progress.clone();
        let finished = progress.wait_for(|progress| progress.tree_empty.is_some()).await.map(|last| *last);
        finished.unwrap_or_else(|_| *self.progress.borrow())
    }

    /// Kills every process of the tree; nothing of it is left when this returns. What cannot be killed is complained
    /// about in the log, as `agent`'s, whose leader has the number `pid`, and killed again.
    pub async fn kill_until_gone(&self, agent: &str, pid: u32) {
        self.kill();
        while timeout(COMPLAINT, self.wait_tree_empty()).await.is_err() {
            tracing::error!(agent, pid, "a process of the agent cannot be killed");
            self.kill();
        }
    }

    /// Climbs `rungs` in order, waiting on each at most its time, until the tree is empty.
    pub async fn stop_ladder(&self, rungs: &[(Rung, Duration)]) -> Stopped {
        let started = Instant::now();
        let mut last = None;
        // A first look at no cost, so that a child that has ended is not climbed at all.
        let mut end = timeout(Duration::ZERO, self.wait_tree_empty()).await.ok();
        for &(rung, patience) in rungs {
            if end.is_some() {
                break;
            }
            match rung {
                Rung::Ask => self.close_stdin(),
                Rung::Terminate => self.terminate(),
                Rung::Kill => self.kill(),
            }
            last = Some(rung);
            end = timeout(patience, self.wait_tree_empty()).await.ok();
        }
        let end = match end {
            Some(true) => LadderEnd::Empty,
            Some(false) => LadderEnd::Unproven,
            None => LadderEnd::Running,
        };
        Stopped { rung: last, end, took: started.elapsed() }
    }
}
