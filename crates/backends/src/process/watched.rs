//! A child of this process whose end is awaited without reaping it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The supervisors that this process has started and not yet reaped.
static SUPERVISORS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A child whose number stays its own until [`Watched::reap`]: a zombie keeps it from being recycled, so that
/// its group and session can be signalled by number.
pub(super) struct Watched {
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
}

impl Watched {
    /// Starts `command` as a supervisor. It is known as one before any [`supervisors`] can look.
    pub(super) fn spawn_supervisor(command: &mut Command) -> io::Result<Self> {
        let mut known = supervisors();
        let watched = Self::spawn(command)?;
        known.insert(watched.pid());
        Ok(watched)
    }

    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        match watch(&child) {
            Ok(pidfd) => Ok(Self { child, pidfd }),
            Err(error) => {
                // It is our child and not reaped: the number is its own, and after SIGKILL the wait is short.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(super) fn pidfd(&self) -> &OwnedFd {
        self.pidfd.get_ref()
    }

    /// Signals this one process; nothing happens when it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(self.pidfd(), signal);
    }

    /// Resolves when the process has ended, reaped or not. May be dropped and called again.
    pub(super) async fn ended(&self) {
        // An error means that the runtime is shutting down, and with it whoever waits here.
        let _ = self.pidfd.readable().await;
    }

    /// Frees the number of a process that has [`ended`](Self::ended).
    pub(super) fn reap(mut self) {
        let mut known = supervisors();
        let _ = self.child.try_wait();
        known.remove(&self.pid());
    }
}

fn watch(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    // SAFETY: the descriptor is owned, and nobody replaces or closes it while it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

/// The supervisors of this process; while the guard is held none is started.
pub(super) fn supervisors() -> MutexGuard<'static, BTreeSet<i32>> {
    SUPERVISORS.lock().unwrap_or_else(PoisonError::into_inner)
}
