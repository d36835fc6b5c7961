//! The supervisor's own side: a program of one thread that stands between dispatcher and agent.

mod agent;
mod link;
mod watch;

use std::ffi::{OsStr, OsString};
use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::prctl;
use nix::sys::signal::SigSet;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

use super::command::{RunTag, Supervisor};
use super::wire::{Report, Step};
use link::Link;

/// The supervisor's argument zero; its only other argument is the run's tag, which is all that `ps` shows.
pub(super) const ARGUMENT_ZERO: &str = "boocoder-supervisor";

/// Whether this program called [`supervise_if_asked`], and so can be executed again as a supervisor.
static CAN_SUPERVISE: AtomicBool = AtomicBool::new(false);

/// Runs as the supervisor of an agent, and does not return, when this program was executed as one; otherwise
/// returns at once. To be called first in `main`, before any runtime or other thread exists.
///
/// It was when its argument zero, its one argument and a Unix socket on standard input all say so. None of the
/// three comes about by accident in a shell, a service manager or from an inherited environment.
pub fn supervise_if_asked() {
    CAN_SUPERVISE.store(true, Ordering::Relaxed);
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let [name, tag] = arguments.as_slice()
        && name == ARGUMENT_ZERO
        && tag.to_str().is_some_and(|tag| RunTag::new(tag).is_ok())
        && let Some(socket) = control_socket()
    {
        let code = supervise(socket);
        std::process::exit(code);
    }
}

/// The program to execute as a supervisor; `None` when it could not act as one.
pub(super) fn program(supervisor: &Supervisor) -> Option<&OsStr> {
    match supervisor {
        // It names this very file, even when an update has put another in its place.
        Supervisor::SelfExe => CAN_SUPERVISE.load(Ordering::Relaxed).then(|| OsStr::new("/proc/self/exe")),
        Supervisor::Program(path) => Some(path.as_os_str()),
        Supervisor::ProcessGroupOnly => None,
    }
}

fn control_socket() -> Option<OwnedFd> {
    let input = stdin();
    let is_unix_stream = socket_domain(input.as_fd()).ok()? == AddressFamily::UNIX
        && socket_type(input.as_fd()).ok()? == SocketType::STREAM;
    is_unix_stream.then(|| input.as_fd().try_clone_to_owned().ok()).flatten()
}

/// Returns the exit code, which nobody depends on.
fn supervise(socket: OwnedFd) -> i32 {
    let mut link = Link::new(socket);
    if let Err(errno) = isolate(&link) {
        link.report(Report::Failed { step: Step::Setup, errno: errno as i32 });
        return 1;
    }
    // A dispatcher that died before it asked for anything, or is not of this version: nothing was started.
    let Some((request, stdio)) = link.receive_request() else { return 1 };
    match agent::start(&request, stdio) {
        Ok(leader) => {
            link.report(Report::Started { pid: leader });
            watch::until_tree_is_empty(link, leader, &request);
            0
        }
        Err((step, errno)) => {
            link.report(Report::Failed { step, errno });
            1
        }
    }
}

/// Makes this process the reaper of all that it will start, and nobody's to stop, read or inherit from.
fn isolate(link: &Link) -> nix::Result<()> {
    // Blocked rather than ignored: what is ignored stays so in the agent. SIGCHLD is read from a signalfd.
    SigSet::all().thread_set_mask()?;
    close_inherited(link)?;
    // Of its own, so that neither a terminal's Ctrl-C nor a kill of the dispatcher's group or session comes
    // here. It fails only for a group leader, which a spawned process is not.
    nix::unistd::setsid()?;
    prctl::set_child_subreaper(true)?;
    // The agent runs as the same user: keeps it from attaching here and taking the socket (SAFETY A16).
    prctl::set_dumpable(false)?;
    prctl::set_name(c"supervisor")
}

/// Closes what the dispatcher itself inherited without close-on-exec, such as a lock or a listening socket.
fn close_inherited(link: &Link) -> nix::Result<()> {
    let listed = std::fs::read_dir("/proc/self/fd").map_err(|_| nix::Error::ENOSYS)?;
    let open: Vec<i32> =
        listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|fd| *fd > 2 && *fd != link.raw()) {
        // The listing's own is closed already. Nothing else in this process holds one: `main` has just begun.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}
