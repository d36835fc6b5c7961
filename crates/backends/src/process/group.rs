//! A child without a supervisor: its process group is all that is known of its tree.

use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::time::{Instant, sleep_until};

use super::command::RunTag;
use super::control::{Reins, Wish};
use super::exit::Status;
use super::sweep::sweep_tag;
use super::tree;
use super::watched::Watched;

/// A child that leads its process group.
pub(super) struct Run {
    pub process: Watched,
    pub tag: RunTag,
    pub drain: Duration,
    pub reins: Reins,
}

impl Run {
    /// Looks after the child until it has ended and its group is killed.
    pub(super) async fn until_over(self) {
        while !self.ended_before_wish().await {}
        let status = self.status();
        self.reins.progress.send_modify(|progress| progress.status = Some(status));
        self.drain().await;
        self.signal_group(Signal::KILL);
        // What left the group may still carry the tag.
        let tag = self.tag.clone();
        let _ = tokio::task::spawn_blocking(move || sweep_tag(&tag)).await;
        self.process.reap();
        self.reins.progress.send_modify(|progress| progress.tree_empty = Some(false));
    }

    /// Waits for the leader's end or obeys one wish.
    async fn ended_before_wish(&self) -> bool {
        tokio::select! {
            biased;
            wish = self.reins.wishes.next() => {
                self.obey(wish);
                false
            }
            () = self.process.ended() => true,
        }
    }

    fn obey(&self, wish: Wish) {
        match wish {
            Wish::Terminate => {
                self.signal_group(Signal::TERM);
                self.signal_group(Signal::CONT);
            }
            Wish::Kill => self.signal_group(Signal::KILL),
        }
    }

    /// Gives what the leader left behind its last moment, which a kill cuts short.
    async fn drain(&self) {
        let until = Instant::now() + self.drain;
        while self.has_members() {
            tokio::select! {
                biased;
                wish = self.reins.wishes.next() => {
                    self.obey(wish);
                    if wish == Wish::Kill { return }
                }
                () = sleep_until(until) => return,
            }
        }
    }

    /// Whether anybody but the leader, which is a zombie until it is reaped, is in the group.
    fn has_members(&self) -> bool {
        let leader = self.process.pid();
        let is_member = |now: tree::Stat| now.group == leader && !now.is_zombie;
        tree::all_processes().into_iter().filter_map(tree::stat).any(is_member)
    }

    /// The group's number is its own until the leader is reaped.
    fn signal_group(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.process.pid()) {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Looks without reaping.
    fn status(&self) -> Status {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let pidfd = std::os::fd::AsFd::as_fd(self.process.pidfd());
        let seen = waitid(WaitId::PidFd(pidfd), options).ok().flatten();
        let code = seen.as_ref().and_then(|status| status.exit_status()).map(Status::Code);
        let signal = seen.as_ref().and_then(|status| status.terminating_signal()).map(Status::Signal);
        code.or(signal).unwrap_or(Status::SupervisorLost)
    }
}
