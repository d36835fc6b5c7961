//! Finding and signalling processes through `/proc`, without ever hitting a recycled process id.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// What `/proc/<pid>/stat` tells (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub parent: i32,
    /// 0 for a group of another PID namespace, as for the kernel's own processes.
    pub group: i32,
    /// 0 for a session of another PID namespace.
    pub session: i32,
    /// Has ended, and waits to be reaped by its parent.
    pub is_zombie: bool,
}

/// The process's state; `None` when it is gone.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, in parentheses, may itself contain anything: fields are counted from the last parenthesis.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let after_name = text.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(text.get(after_name..)?).ok()?.split_ascii_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    Some(Stat { parent, group, session, is_zombie })
}

/// All processes that can be seen.
pub(super) fn all_processes() -> Vec<i32> {
    numbers_in(Path::new("/proc"))
}

fn numbers_in(folder: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// All descendants of `root` without itself, parents before children, each with the parent it was found at.
///
/// A snapshot of something that moves: a process that forks and ends meanwhile can hide its child, which is
/// found the next time. Callers repeat until nothing is left.
pub(super) fn descendants(root: i32) -> Vec<(i32, i32)> {
    // CONFIG_PROC_CHILDREN is not in every kernel.
    if Path::new("/proc/thread-self/children").exists() {
        walk(root, children)
    } else {
        let mut families = families();
        walk(root, |parent| families.remove(&parent).unwrap_or_default())
    }
}

fn walk(root: i32, mut children: impl FnMut(i32) -> Vec<i32>) -> Vec<(i32, i32)> {
    let mut found: Vec<(i32, i32)> = children(root).into_iter().map(|child| (child, root)).collect();
    let mut next = 0;
    while let Some(&(parent, _)) = found.get(next) {
        found.extend(children(parent).into_iter().map(|child| (child, parent)));
        next += 1;
    }
    found
}

/// Each thread has its own list.
fn children(pid: i32) -> Vec<i32> {
    let tasks = format!("/proc/{pid}/task");
    let of_thread = |thread| fs::read_to_string(format!("{tasks}/{thread}/children")).unwrap_or_default();
    numbers_in(Path::new(&tasks))
        .into_iter()
        .flat_map(|thread| {
            of_thread(thread).split_ascii_whitespace().flat_map(str::parse).collect::<Vec<_>>()
        })
        .collect()
}

fn families() -> HashMap<i32, Vec<i32>> {
    let mut families: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in all_processes() {
        if let Some(stat) = stat(pid) {
            families.entry(stat.parent).or_default().push(pid);
        }
    }
    families
}

/// Sends `signal` to every descendant of `root`; returns how many were found that have not ended.
pub(super) fn signal_descendants(root: i32, signal: Signal) -> usize {
    let found = descendants(root);
    let alive = |&&(pid, parent): &&(i32, i32)| {
        signal_if(pid, signal, || stat(pid).is_some_and(|now| now.parent == parent && !now.is_zombie))
    };
    found.iter().filter(alive).count()
}

/// Sends `signal` to `pid` if `is_meant` holds of the very process that gets it; returns whether it held.
///
/// The pidfd is opened first: when the process with that number has changed until the check, the signal goes
/// to the old one, which is gone.
pub(super) fn signal_if(pid: i32, signal: Signal, is_meant: impl FnOnce() -> bool) -> bool {
    let Some(target) = Pid::from_raw(pid) else { return false };
    match pidfd_open(target, PidfdFlags::empty()) {
        Ok(pidfd) => {
            let meant = is_meant();
            if meant {
                // It may have ended, and another user's process cannot be signalled: the caller looks again.
                let _ = pidfd_send_signal(&pidfd, signal);
            }
            meant
        }
        // A container's system call filter may know no pidfds.
        Err(Errno::NOSYS | Errno::PERM) => {
            let meant = is_meant();
            if meant {
                let _ = kill_process(target, signal);
            }
            meant
        }
        Err(_) => false,
    }
}

/// The value of `variable` in the environment that `pid` was started with; `None` also when it may not be read.
pub(super) fn variable_of(pid: i32, variable: &str) -> Option<Vec<u8>> {
    let environment = read_bounded(&format!("/proc/{pid}/environ")).ok()?;
    let value = |entry: &[u8]| Some(entry.strip_prefix(variable.as_bytes())?.strip_prefix(b"=")?.to_vec());
    environment.split(|byte| *byte == 0).find_map(value)
}

/// The arguments of `pid`, the program's name first.
pub(super) fn arguments_of(pid: i32) -> Vec<Vec<u8>> {
    let line = read_bounded(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = line.strip_suffix(&[0]).unwrap_or(&line);
    text.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Linux allows 6 MiB of arguments and environment; a process may point the kernel at more of its memory.
fn read_bounded(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(8 * 1024 * 1024).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A shell with a shell below it; both wait for their standard input to close.
    fn family() -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sh -c 'echo ready; read line'; true"]);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn both_ways_of_looking_find_the_same_family() {
        let mut shell = family();
        let mut ready = [0; 5];
        shell.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let root = i32::try_from(shell.id()).unwrap();

        let mut all = families();
        let scanned = walk(root, |parent| all.remove(&parent).unwrap_or_default());
        assert_eq!(scanned.len(), 1);
        assert_eq!(scanned[0].1, root);
        assert_eq!(walk(root, children), scanned);
        assert_eq!(descendants(root), scanned);

        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
        assert_eq!(descendants(root), []);
    }

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let expected = Stat { parent: 7, group: 8, session: 9, is_zombie: true };
        assert_eq!(parse_stat(b"5 (a) S 1 (b) Z 7 8 9 0 -1"), Some(expected));
        assert_eq!(parse_stat(b"5 (a"), None);
        assert_eq!(parse_stat(b"5 (a) S 1"), None);
    }

    #[test]
    fn only_the_meant_process_is_signalled() {
        let mut shell = family();
        let pid = i32::try_from(shell.id()).unwrap();
        assert!(!signal_if(pid, Signal::KILL, || false));
        assert!(shell.try_wait().unwrap().is_none());
        assert!(signal_if(pid, Signal::KILL, || true));
        drop(shell.stdin.take());
        assert!(!shell.wait().unwrap().success());
        assert!(!signal_if(pid, Signal::KILL, || true), "it is gone");
    }

    #[test]
    fn the_environment_and_arguments_of_a_process_are_read() {
        let mut child = Command::new("cat");
        let mut child =
            child.env_clear().env("A", "").env("AB", "x=y").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(variable_of(pid, "AB").as_deref(), Some(&b"x=y"[..]));
        assert_eq!(variable_of(pid, "A").as_deref(), Some(&b""[..]));
        assert_eq!(variable_of(pid, "B"), None);
        assert_eq!(arguments_of(pid), [b"cat"]);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
