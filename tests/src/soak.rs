//! Many turns of one chat, and what service and agent hold before and after them.

use std::{fmt, fs, path::Path};

use dispatch_core::{
    ids::SessionId,
    routing::Route,
    task::{Task, TaskState},
};

use crate::{queue::Site, serve::is_running};

/// Turns before anything is measured: caches, pools and histories begin small.
const WARM_UP: usize = 10;

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// Open files.
    pub files: usize,
    /// Threads.
    pub threads: usize,
    /// Children that have ended and were not waited for.
    pub zombies: usize,
    /// KiB of memory that are its own.
    pub memory: usize,
}

impl Holds {
    /// What this process holds now.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let proc = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(proc.join("status")).expect("a process that runs");
        let field = |name: &str| -> usize {
            let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel tells it");
            line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
        };
        let files = fs::read_dir(proc.join("fd")).expect("a process of ours").count();
        Self { files, threads: field("Threads:"), zombies: zombies_of(pid), memory: field("RssAnon:") }
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, threads, zombies, memory } = self;
        write!(f, "{files} files, {threads} threads, {zombies} zombies, {} MiB", memory / 1024)
    }
}

/// What service and agent held.
#[derive(Debug, Clone, Copy)]
pub struct Soaked {
    /// The service, before and after.
    pub service: [Holds; 2],
    /// The agent, before and after.
    pub agent: [Holds; 2],
}

/// Runs so many turns by `turn`, each of which must complete over `route`, and looks at what the service of this process
/// id and the one agent that it keeps for them hold.
///
/// # Panics
/// When a turn fails, or its agent is replaced.
#[must_use]
pub fn soak(
    site: &Site,
    service: u32,
    route: Route,
    turns: usize,
    turn: impl Fn(SessionId) -> Task,
) -> Soaked {
    let session = site.begin_session();
    let run = |count: usize| {
        for _ in 0..count {
            let task = site.wait_for_end(turn(session).id);
            assert_eq!((task.state, task.route), (TaskState::Completed, Some(route)), "{task:?}");
        }
    };
    run(WARM_UP);
    let agent = site.wait_for("the kept agent", |site| {
        let warm = site.ask(|records| async move { records.warm().await });
        warm.iter().map(|kept| kept.agent.pid).find(|pid| is_running(*pid))
    });
    let before = [Holds::of(service), Holds::of(agent)];
    run(turns);
    assert!(is_running(agent), "the agent was replaced");
    let after = [Holds::of(service), Holds::of(agent)];
    Soaked { service: [before[0], after[0]], agent: [before[1], after[1]] }
}

fn zombies_of(parent: u32) -> usize {
    let is_one = |stat: &String| {
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&parent.to_string())
    };
    let processes = fs::read_dir("/proc").expect("the kernel tells of processes").flatten();
    processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok()).filter(is_one).count()
}
