//! Commands for the helper program, and looking after the processes it says it started.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backends::process::{Child, Command, Limits, Stdout, Supervisor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use crate::fresh_tag::fresh_tag;
use crate::waiting::within;

/// The program in `helper.rs`.
pub const HELPER: &str = env!("CARGO_BIN_EXE_process-test-helper");
/// The leader of a hostile tree and its descendants, all deaf to SIGTERM and SIGHUP.
pub const ROLES: [&str; 7] = ["cleared", "daemon", "ghost", "leader", "own-group", "plain", "session"];

pub fn supervisor() -> Supervisor {
    Supervisor::Program(PathBuf::from(HELPER))
}

pub fn helper(args: &[&str]) -> Command {
    Command {
        program: HELPER.into(),
        args: args.iter().map(Into::into).collect(),
        cwd: PathBuf::from("/"),
        env: Default::default(),
        tag: fresh_tag(),
        terminal: None,
        limits: Limits::default(),
        fence: None,
    }
}

pub async fn spawn(command: &Command) -> Child {
    command.spawn(&supervisor()).await.unwrap()
}

/// All that the child writes until its standard output ends.
pub async fn read_all(stdout: &mut Stdout) -> Vec<u8> {
    let mut text = Vec::new();
    within(stdout.read_to_end(&mut text)).await.unwrap();
    text
}

pub async fn output_of(args: &[&str]) -> String {
    let mut child = spawn(&helper(args)).await;
    let text = read_all(&mut child.take_stdout().unwrap()).await;
    within(child.wait()).await;
    String::from_utf8(text).unwrap()
}

/// The processes of a hostile tree, by role, held so that their end is seen and their numbers cannot mislead.
/// Those that a failed test leaves are killed when it is dropped.
pub struct Tree(BTreeMap<String, (i32, OwnedFd)>);

impl Tree {
    /// Reads the announcements of all roles.
    pub async fn read(from: impl AsyncRead + Unpin) -> (Self, BufReader<impl AsyncRead + Unpin>) {
        let mut lines = BufReader::new(from);
        let mut tree = Self(BTreeMap::new());
        while tree.0.len() < ROLES.len() {
            let mut line = String::new();
            within(lines.read_line(&mut line)).await.unwrap();
            let (role, pid) = line.trim().split_once(' ').expect("because a process announces itself");
            let pid = pid.parse().unwrap();
            let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
            tree.0.insert(role.to_owned(), (pid, pidfd));
        }
        assert!(tree.0.keys().eq(ROLES.iter()), "{:?}", tree.0.keys());
        (tree, lines)
    }

    pub fn pid(&self, role: &str) -> i32 {
        self.0[role].0
    }

    /// The roles whose processes have not ended.
    pub fn alive(&self) -> Vec<&str> {
        let is_alive = |(_, pidfd): &&(i32, OwnedFd)| !has_ended(pidfd, Duration::ZERO);
        self.0.iter().filter(|(_, process)| is_alive(process)).map(|(role, _)| role.as_str()).collect()
    }

    /// Waits until all have ended; the roles that are still alive after `limit`. Blocks.
    pub fn alive_after(&self, limit: Duration) -> Vec<&str> {
        let deadline = Instant::now() + limit;
        for (_, pidfd) in self.0.values() {
            has_ended(pidfd, deadline.saturating_duration_since(Instant::now()));
        }
        self.alive()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for (_, pidfd) in self.0.values() {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

fn has_ended(pidfd: &OwnedFd, limit: Duration) -> bool {
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit)).unwrap() > 0
}

/// A field of `/proc/<pid>/status`.
pub fn status_field(pid: i32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

/// The supervisor is the parent of the leader.
pub fn supervisor_of(child: &Child) -> Pid {
    let parent = status_field(child.id().cast_signed(), "PPid");
    Pid::from_raw(parent.parse().unwrap()).unwrap()
}
