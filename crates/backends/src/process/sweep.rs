//! Finding what is left of runs whose supervisor is gone.
//!
//! The tag is a mark, not a fence: a process may clear or overwrite its environment, and that of another
//! user's, or of one that forbids being dumped, can be read by root only. The supervisor is what holds.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use rustix::process::{Pid, Signal, WaitOptions, getpid, waitpid};

use super::command::{RunTag, TAG_VARIABLE};
use super::shim::ARGUMENT_ZERO;
use super::tree::{self, Stat, all_processes, arguments_of, signal_if, stat, variable_of};
use super::watched::supervisors;

/// How long a sweep goes on killing. What is not gone then cannot be killed.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A process of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its process id.
    pub pid: u32,
    /// Its run's tag.
    pub tag: String,
    /// Whether it is the run's supervisor rather than one of the agent's processes.
    pub is_supervisor: bool,
}

/// What a [`sweep`] found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Processes that were found and are gone, by process id.
    pub gone: Vec<Leftover>,
    /// Processes that are still there after two seconds.
    pub remaining: Vec<Leftover>,
}

/// Makes this process the one that inherits orphans of its descendants, so that what a killed supervisor leaves
/// behind is found whatever it has done to hide. To be called once by a binary, before it starts anything.
///
/// From then on a child of this process that leads or belongs to another session, and that this module did not
/// start as a supervisor, is taken for such an orphan, and is killed and reaped after a supervisor was lost. A
/// program that starts such children by other means must not call this.
///
/// # Errors
/// What prctl(2) says; it does not fail on Linux 3.4 or newer.
pub fn become_subreaper() -> std::io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Lists the processes whose tag is `tag` or lies below it, without this process and its ancestors.
pub fn leftovers(tag: &RunTag) -> Vec<Leftover> {
    let ours = lineage();
    let processes = all_processes().into_iter().filter(|pid| !ours.contains(pid));
    processes.filter_map(|pid| leftover(pid, tag)).collect()
}

/// Kills the processes that [`leftovers`] lists, until there are none or two seconds have passed. For the start
/// of a node, when the runs of its earlier life cannot be alive. Blocks.
///
/// A supervisor is not killed but continued, in case it was stopped: it sees that its dispatcher is gone, and
/// kills more than can be found by tag.
pub fn sweep(tag: &RunTag) -> Sweep {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = BTreeMap::new();
    loop {
        let found = leftovers(tag);
        if found.is_empty() || deadline <= Instant::now() {
            found.iter().for_each(|left| drop(seen.remove(&left.pid)));
            return Sweep { gone: seen.into_values().collect(), remaining: found };
        }
        for left in found {
            let signal = if left.is_supervisor { Signal::CONT } else { Signal::KILL };
            let pid = left.pid.cast_signed();
            signal_if(pid, signal, || leftover(pid, tag).as_ref() == Some(&left));
            seen.insert(left.pid, left);
        }
        thread::sleep(PAUSE);
    }
}

fn leftover(pid: i32, tag: &RunTag) -> Option<Leftover> {
    if stat(pid)?.is_zombie {
        return None;
    }
    // In this order: an agent may call itself anything, but a supervisor has no environment.
    let (value, is_supervisor) = match variable_of(pid, TAG_VARIABLE) {
        Some(value) => (value, false),
        None => (supervised_tag(pid)?, true),
    };
    let tag = String::from_utf8(value).ok().filter(|value| tag.covers(value.as_bytes()))?;
    Some(Leftover { pid: pid.cast_unsigned(), tag, is_supervisor })
}

/// The tag in a supervisor's arguments, which everybody may read.
fn supervised_tag(pid: i32) -> Option<Vec<u8>> {
    match arguments_of(pid).as_slice() {
        [name, tag] if name == ARGUMENT_ZERO.as_bytes() => Some(tag.clone()),
        _ => None,
    }
}

/// This process and its ancestors: a dispatcher may itself have been started by an agent.
fn lineage() -> Vec<i32> {
    let mut line = vec![getpid().as_raw_pid()];
    while let Some(stat) = line.last().and_then(|pid| stat(*pid)).filter(|stat| stat.parent > 0) {
        line.push(stat.parent);
    }
    line
}

/// Kills what carries the tag of a run without a supervisor. Blocks.
pub(super) fn sweep_tag(tag: &RunTag) {
    sweep(tag);
}

/// Kills what a killed supervisor has left: its session, what carries the tag, and, when this process is a
/// subreaper, what it has inherited; returns whether that is proven to be all. Blocks for up to two seconds.
///
/// `session` is the supervisor's process id; the caller has not reaped it, so that no other session has it.
pub(super) fn sweep_after_lost_supervisor(session: i32, tag: &RunTag) -> bool {
    let inherits = prctl::get_child_subreaper().unwrap_or(false);
    let ours = lineage();
    let deadline = Instant::now() + PATIENCE;
    let mut quiet_looks = 0;
    // What forks while it is looked at can be missed once.
    while quiet_looks < 2 {
        let candidates = all_processes().into_iter().filter(|pid| *pid != session && !ours.contains(pid));
        let is_orphan = |pid: i32, stat: &Stat| {
            stat.session == session || (inherits && is_inherited(pid, stat)) || carries(pid, tag)
        };
        let killed = candidates.filter(|pid| kill_or_reap(*pid, is_orphan)).count();
        quiet_looks = if killed == 0 { quiet_looks + 1 } else { 0 };
        if deadline <= Instant::now() {
            return false;
        }
        thread::sleep(PAUSE);
    }
    inherits
}

fn carries(pid: i32, tag: &RunTag) -> bool {
    variable_of(pid, TAG_VARIABLE).is_some_and(|value| value == tag.as_str().as_bytes())
}

/// A child of ours from another session, that is no supervisor.
fn is_inherited(pid: i32, stat: &Stat) -> bool {
    let us = getpid().as_raw_pid();
    let is_elsewhere = tree::stat(us).is_some_and(|ours| ours.session != stat.session);
    stat.parent == us && is_elsewhere && !supervisors().contains(&pid)
}

/// Kills an orphan, or frees the number of one that has ended and is ours to reap; whether one was alive.
fn kill_or_reap(pid: i32, is_orphan: impl Fn(i32, &Stat) -> bool) -> bool {
    match stat(pid) {
        Some(now) if now.is_zombie => {
            // Nobody else waits for it: it is neither a child that this program started, nor a supervisor.
            if now.parent == getpid().as_raw_pid() && is_orphan(pid, &now) {
                let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
            }
            false
        }
        Some(_) => signal_if(pid, Signal::KILL, || {
            stat(pid).is_some_and(|now| !now.is_zombie && is_orphan(pid, &now))
        }),
        None => false,
    }
}
