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
        Self::read(pid).expect("a process that runs")
    }

    /// What this process and all below it hold now.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn of_tree(root: u32) -> Self {
        Self::read_tree(root).expect("a process that runs")
    }

    /// Nothing for a process that has ended.
    fn read_tree(root: u32) -> Option<Self> {
        let own = Self::read(root)?;
        let below = children(root).into_iter().filter_map(|child| Self::read_tree(child.pid));
        Some(below.fold(own, |all, one| Self {
            files: all.files + one.files,
            threads: all.threads + one.threads,
            zombies: all.zombies + one.zombies,
            memory: all.memory + one.memory,
        }))
    }

    fn read(pid: u32) -> Option<Self> {
        let proc = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(proc.join("status")).ok()?;
        let field = |name: &str| -> Option<usize> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        let zombies = children(pid).iter().filter(|child| child.is_zombie).count();
        let files = fs::read_dir(proc.join("fd")).ok()?.count();
        // A zombie has no memory any more.
        Some(Self { files, threads: field("Threads:")?, zombies, memory: field("RssAnon:")? })
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, threads, zombies, memory } = self;
        write!(f, "{files} files, {threads} threads, {zombies} zombies, {} MiB", memory / 1024)
    }
}

/// What service and agent held: before, after half of the turns, and after all.
#[derive(Debug, Clone, Copy)]
pub struct Soaked {
    /// The service.
    pub service: [Holds; 3],
    /// The agent, with all that it has started.
    pub agent: [Holds; 3],
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
    let look = || {
        assert!(is_running(agent), "the agent was replaced");
        [Holds::of(service), Holds::of_tree(agent)]
    };
    let before = look();
    run(turns / 2);
    let halfway = look();
    run(turns - turns / 2);
    let after = look();
    let [service, agent] = [0, 1].map(|who| [before[who], halfway[who], after[who]]);
    Soaked { service, agent }
}

/// A process that another one has started.
struct Child {
    pid: u32,
    is_zombie: bool,
}

fn children(parent: u32) -> Vec<Child> {
    let child = |stat: &String| {
        let (begin, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split_whitespace();
        let (state, its_parent) = (fields.next()?, fields.next()?);
        let pid = begin.split_whitespace().next()?.parse().ok()?;
        (its_parent == parent.to_string()).then_some(Child { pid, is_zombie: state == "Z" })
    };
    let processes = fs::read_dir("/proc").expect("the kernel tells of processes").flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|stat| child(&stat)).collect()
}
