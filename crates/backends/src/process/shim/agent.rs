//! Starting the agent.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use rustix::process::{chdir, getpid, getppid, set_parent_process_death_signal};

use crate::process::terminal;
use crate::process::wire::{Request, Step};

/// Starts the agent as the leader of a process group of its own; returns its process id.
///
/// The folder is entered here rather than by the new process, to tell a missing folder from a missing program.
pub(super) fn start(request: &Request, [input, output, error]: [OwnedFd; 3]) -> Result<i32, (Step, i32)> {
    chdir(&request.cwd).map_err(|errno| (Step::Directory, errno.raw_os_error()))?;
    let started = command(request, [input, output, error]).spawn();
    // Not to keep the worktree's file system busy for longer than the agent does.
    let _ = chdir("/");
    let failed = |error: io::Error| (Step::Execute, error.raw_os_error().unwrap_or(nix::libc::EINVAL));
    let leader = started.map_err(failed)?;
    Ok(leader.id().cast_signed())
}

/// The command owns our ends of the pipes, so that they are closed with it.
fn command(request: &Request, [input, output, error]: [OwnedFd; 3]) -> Command {
    let mut command = Command::new(&request.program);
    command
        .args(&request.args)
        .env_clear()
        .envs(request.env.iter().map(|(name, value)| (name, value)))
        .stdin(input)
        .stdout(output)
        .stderr(error);
    let has_terminal = request.terminal;
    if !has_terminal {
        command.process_group(0);
    }
    let supervisor = getpid();
    // SAFETY: the closure runs between fork and exec of a process that has one thread, and makes system calls
    // only: it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            clean_signals()?;
            if has_terminal {
                terminal::make_own()?;
            }
            // When this supervisor is killed the leader goes with it. It is tied to the thread that forks,
            // which here is the only one (SAFETY 0, finding 2).
            set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            if getppid() == Some(supervisor) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
        });
    }
    command
}

/// Gives the agent the signals of a fresh login: whatever the dispatcher was started with, under `nohup` for
/// instance, would be inherited otherwise.
fn clean_signals() -> io::Result<()> {
    for number in Signal::iterator().filter(|number| !matches!(number, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of ours.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}
