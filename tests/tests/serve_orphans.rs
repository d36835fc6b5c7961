//! `kill -9` of `boocoder serve` at random moments, a hundred times, with hostile agents at work on every route that
//! a program of ours can play: they fork, daemonise, clear their environment and ignore every signal that can be
//! ignored. Nothing of theirs is left two seconds later, before any restart.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use boocoder_tests::{
    product::{Machine, Serve},
    queue::{Kind, Site},
    random::{Random, seed},
    serve::serve,
};
use dispatch_core::{ids::SessionId, task::TaskState};

/// How often a service is killed, over all machines.
const KILLS: usize = 100;

/// They work side by side, as most of a life is waiting for disks and processes.
const MACHINES: usize = 4;

/// How long what a killed service had started may live.
const GONE: Duration = Duration::from_secs(2);

/// Seconds that an escaped child sleeps, which tells it from other tests' children.
const ESCAPED: &str = "614";

/// From a service's start to its death, at most: agents are then at work for a while.
const LIFE: Duration = Duration::from_millis(900);

#[test]
fn a_killed_dispatcher_leaves_no_process_on_any_route() {
    let seed = seed("BOOCODER_ORPHANS_SEED");
    let machines: Vec<_> = (0..MACHINES)
        .map(|number| thread::spawn(move || Victim::new(seed.wrapping_add(number as u64)).suffer()))
        .collect();
    let mut seen = 0;
    for machine in machines {
        seen += machine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
    println!("{seen} escaped children were seen, none was left");
    assert!(seen > KILLS, "the agents had hardly begun: {seen}");
}

struct Victim {
    site: Site,
    random: Random,
    sessions: Vec<SessionId>,
    told: PathBuf,
}

impl Victim {
    fn new(seed: u64) -> Self {
        let mut site = Site::new(Kind::Sqlite);
        let root = site.machine.root().to_owned();
        let (hostile, told) = (root.join("hostile.sh"), root.join("escaped"));
        // A program without a protocol: its prompt on standard input, text on its output.
        let script = format!("trap '' HUP INT TERM\necho begun\n{}\ncat\nsleep {ESCAPED}\n", escape(&told));
        fs::write(&hostile, script).unwrap();
        let state = root.join("state");
        let agents = [
            Machine::demo_agent("hostile", &["--state", state.to_str().unwrap()]),
            format!(
                "[agents.program]\ntransport = \"cli\"\ncommand = [\"sh\", {:?}]\n",
                hostile.to_str().unwrap()
            ),
        ];
        site.machine.configure(&agents.concat());
        site.machine.set("BOOCODER_ROUTES__WARM_ACP", "true");
        let serve = serve(&site);
        let begin = || site.wait_for_end(site.queue("demo", "/say hello", None).id).session;
        let sessions = vec![begin(), begin()];
        let _ = serve.stop().expect(0);
        Self { random: Random::of(seed), sessions, told, site }
    }

    /// Returns how many escaped children were seen alive.
    fn suffer(mut self) -> usize {
        let mut seen = 0;
        for _ in 0..KILLS / MACHINES {
            self.queue_work();
            let life = LIFE.mul_f64(self.random.fraction());
            let serve = serve(&self.site);
            seen += kill_after(serve, life, &self.told);
            self.assert_nothing_runs();
            self.cancel_what_waits();
        }
        seen
    }

    fn queue_work(&self) {
        let prompt = format!(
            "/ignore-signals\n/ignore-cancel\n/ignore-eof\n/fork 5 plain group session daemon cleared\n/shell {}\n\
             /stream 300\n/stall",
            escape(&self.told).replace('\n', " ")
        );
        // A process for each turn; one that is kept, at work; one that is kept and idle, with children of its own.
        self.site.queue("hostile", &prompt, None);
        self.site.queue("hostile", &prompt, Some(self.sessions[0]));
        self.site.queue("hostile", &prompt.replace("/stall", "/say idle"), Some(self.sessions[1]));
        self.site.queue("program", "text", None);
    }

    fn assert_nothing_runs(&self) {
        let deadline = Instant::now() + GONE;
        if let Err(left) = self.site.machine.wait_for_no_process(GONE) {
            let told: Vec<_> = left.iter().map(|pid| command_line(*pid)).collect();
            panic!("left after {GONE:?}: {told:?}");
        }
        while !escaped(&self.told).is_empty() {
            let left: Vec<_> = escaped(&self.told).into_iter().map(command_line).collect();
            assert!(Instant::now() < deadline, "escaped, and left after {GONE:?}: {left:?}");
            thread::sleep(Duration::from_millis(5));
        }
        fs::write(&self.told, "").unwrap();
    }

    /// What was interrupted stays so; what waits would only be in the next one's way.
    fn cancel_what_waits(&self) {
        for task in self.site.tasks() {
            if task.state == TaskState::Pending {
                self.site.stop(task.id);
            }
        }
    }
}

/// Lets a service live for so long, then kills it; returns how many escaped children it had.
fn kill_after(serve: Serve, life: Duration, told: &Path) -> usize {
    // Not to wait for anything: the moment is what the test is about.
    thread::sleep(life);
    let seen = escaped(told).len();
    serve.kill();
    seen
}

/// Shell code that starts children with an empty environment in sessions of their own, outside every folder of ours,
/// which write their process ids to `told`.
fn escape(told: &Path) -> String {
    format!(
        "for kind in a b; do (cd /; exec env -i setsid sh -c 'trap \"\" HUP INT TERM; echo $$ >>{}; exec sleep \
         {ESCAPED}' </dev/null >/dev/null 2>&1 &); done",
        told.display()
    )
}

/// The escaped children that live.
fn escaped(told: &Path) -> Vec<u32> {
    let told = fs::read_to_string(told).unwrap_or_default();
    let pids = told.lines().filter_map(|line| line.parse().ok());
    pids.filter(|pid: &u32| command_line(*pid).contains(ESCAPED)).collect()
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}
