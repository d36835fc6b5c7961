//! The supervisor's loop: from the agent's start until nothing of its tree is left.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, WaitStatus, getpid, wait};

use super::link::Link;
use crate::process::tree::signal_descendants;
use crate::process::wire::{Order, Report, Request, boot_time};

/// The longest wait between two rounds of killing; a child that ends wakes us at once.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Watches over the tree of `leader`; returns when the kernel says that there are no children left, which for
/// a subreaper means no descendants.
pub(super) fn until_tree_is_empty(link: Link, leader: i32, request: &Request) {
    let mut watch = Watch::new(link, leader, request);
    while watch.reap() {
        watch.obey();
        watch.check_deadlines();
        let pause = watch.kill_if_due();
        watch.pause(pause);
    }
    watch.link.report(Report::TreeEmpty);
}

struct Watch {
    link: Link,
    leader: i32,
    drain: Duration,
    fence: Option<Fence>,
    phase: Phase,
    /// The socket has nothing more to say.
    is_closed: bool,
    child_ended: Option<SignalFd>,
}

#[derive(Clone, Copy)]
enum Phase {
    Running,
    /// The leader has ended; what it left behind may go on until then.
    Draining {
        until: Instant,
    },
    /// Every round kills what it finds; the pause between rounds doubles.
    Killing {
        pause: Duration,
    },
}

impl Watch {
    fn new(link: Link, leader: i32, request: &Request) -> Self {
        // Without it the loop looks every 50 ms; all signals are blocked already.
        let child_ended = SignalFd::with_flags(
            &SigSet::from(NixSignal::SIGCHLD),
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        );
        Self {
            link,
            leader,
            drain: request.drain,
            fence: request.fence.map(|limit| Fence { limit, last: boot_time(), has_lapsed: false }),
            phase: Phase::Running,
            is_closed: false,
            child_ended: child_ended.ok(),
        }
    }

    /// Collects all children that have ended, adopted ones too; whether any is left.
    fn reap(&mut self) -> bool {
        if let Some(child_ended) = &self.child_ended {
            while let Ok(Some(_)) = child_ended.read_signal() {}
        }
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.note_end(pid.as_raw_pid(), status),
                Ok(None) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    fn note_end(&mut self, pid: i32, status: WaitStatus) {
        if pid != self.leader {
            return;
        }
        // The number may now become anybody's, also an adopted descendant's.
        self.leader = 0;
        self.link.report(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Report::Exited { code },
            (None, signal) => Report::Signaled { signal: signal.unwrap_or_default() },
        });
        if matches!(self.phase, Phase::Running) {
            self.phase = Phase::Draining { until: Instant::now() + self.drain };
        }
    }

    fn obey(&mut self) {
        if self.is_closed {
            return;
        }
        let received = self.link.receive_orders();
        for order in received.orders {
            match order {
                Order::Terminate => self.terminate(),
                Order::Heartbeat(at) => self.fence.iter_mut().for_each(|fence| fence.note(at)),
            }
        }
        if received.is_closed {
            self.is_closed = true;
            self.start_killing();
        }
    }

    /// A stopped process that handles the signal gets to do so only when it is continued.
    fn terminate(&self) {
        signal_descendants(getpid().as_raw_pid(), Signal::TERM);
        signal_descendants(getpid().as_raw_pid(), Signal::CONT);
    }

    fn check_deadlines(&mut self) {
        if !self.is_closed && self.fence.as_mut().is_some_and(Fence::lapses_now) {
            self.link.report(Report::FenceLapsed);
            self.start_killing();
        }
        if matches!(self.phase, Phase::Draining { until } if until <= Instant::now()) {
            self.start_killing();
        }
    }

    fn start_killing(&mut self) {
        if !matches!(self.phase, Phase::Killing { .. }) {
            self.phase = Phase::Killing { pause: Duration::from_millis(1) };
        }
    }

    /// Kills what can be found now; how long the next round can wait, `None` for as long as nothing happens.
    fn kill_if_due(&mut self) -> Option<Duration> {
        let fence = if self.is_closed { None } else { self.fence.as_ref().and_then(Fence::remaining) };
        match self.phase {
            Phase::Running => fence,
            Phase::Draining { until } => {
                let drain = until.saturating_duration_since(Instant::now());
                Some(fence.map_or(drain, |fence| fence.min(drain)))
            }
            Phase::Killing { pause } => {
                signal_descendants(getpid().as_raw_pid(), Signal::KILL);
                self.phase = Phase::Killing { pause: (pause * 2).min(LONGEST_PAUSE) };
                Some(pause)
            }
        }
    }

    /// Sleeps until a child ends, an order comes, or `limit` has passed.
    fn pause(&self, limit: Option<Duration>) {
        let limit = if self.child_ended.is_some() { limit } else { Some(limit.unwrap_or(LONGEST_PAUSE)) };
        // Rounded up, so as not to spin through the last millisecond.
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            PollTimeout::try_from(limit.as_millis() + 1).unwrap_or(PollTimeout::MAX)
        });
        let mut sources = Vec::with_capacity(2);
        if let Some(child_ended) = &self.child_ended {
            sources.push(PollFd::new(child_ended.as_fd(), PollFlags::POLLIN));
        }
        if !self.is_closed {
            sources.push(PollFd::new(self.link.as_fd(), PollFlags::POLLIN));
        }
        // An interrupted wait only makes the loop look earlier.
        let _ = poll(&mut sources, timeout);
    }
}

/// Kills when the dispatcher was silent for too long, by its own clock stamps: a supervisor that was itself
/// kept from running finds the missed heartbeats in the socket and does no harm.
struct Fence {
    limit: Duration,
    last: Duration,
    has_lapsed: bool,
}

impl Fence {
    /// A beat after too long a gap comes from a dispatcher that was frozen, along with us, and is back.
    fn note(&mut self, beat: Duration) {
        self.has_lapsed |= beat.saturating_sub(self.last) > self.limit;
        self.last = self.last.max(beat);
    }

    /// True once.
    fn lapses_now(&mut self) -> bool {
        let lapses = self.has_lapsed || boot_time().saturating_sub(self.last) > self.limit;
        if lapses {
            // The tree is being killed: there is nothing more to watch for.
            *self = Self { limit: Duration::MAX, last: self.last, has_lapsed: false };
        }
        lapses
    }

    fn remaining(&self) -> Option<Duration> {
        let silent = boot_time().saturating_sub(self.last);
        Some(self.limit.saturating_sub(silent)).filter(|_| self.limit != Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn fence_last_fed(ago: Duration) -> Fence {
        Fence { limit: LIMIT, last: boot_time() - ago, has_lapsed: false }
    }

    #[test]
    fn a_fence_lapses_once_after_silence() {
        let mut fence = fence_last_fed(LIMIT * 2);
        assert_eq!(fence.remaining(), Some(Duration::ZERO));
        assert!(fence.lapses_now());
        assert!(!fence.lapses_now());
        assert_eq!(fence.remaining(), None);
    }

    #[test]
    fn beats_that_are_read_late_count_from_when_they_were_sent() {
        let mut fence = fence_last_fed(LIMIT * 2);
        for tenths in (1..=20).rev() {
            fence.note(boot_time() - LIMIT * tenths / 10);
        }
        assert!(!fence.lapses_now());
        assert!(fence.remaining() > Some(LIMIT / 2));
    }

    #[test]
    fn a_beat_after_too_long_a_silence_does_not_help() {
        let mut fence = fence_last_fed(LIMIT * 2);
        fence.note(boot_time());
        assert!(fence.lapses_now());
    }
}
