//! `kill -9` of `boocoder serve` at random moments, a hundred times, with hostile agents at work on every route at
//! once: they fork, daemonise, clear their environment and ignore every signal that can be ignored. Nothing of theirs
//! is left two seconds later, before any restart. And the one death that leaves something: that of the dispatcher with
//! its supervisor.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use boocoder_tests::{
    model_server::ModelServer,
    product::{Machine, signal},
    queue::{Kind, Site},
    random::{Random, seed},
    serve::{ESCAPED, deltas, escape, freeze, on_both, pids, serve, turn_frames},
    stand_ins::{STAND_INS, StandIn, install, when_told},
};
use dispatch_core::{ids::SessionId, task::TaskState};

/// How often a service is killed, over all machines.
const KILLS: usize = 100;

/// They work side by side, as much of a life is waiting for disks and processes.
const MACHINES: usize = 2;

/// How long what a killed service had started may live.
const GONE: Duration = Duration::from_secs(2);

/// From a service's start to its death, at most, where it may come before anything is at work; and from the moment when
/// agents are at work on every route.
const LIFE: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(300)];

/// In how many lives a route's agent was seen at work, by what had escaped from it.
type Seen = BTreeMap<String, usize>;

#[test]
fn a_killed_dispatcher_leaves_no_process_on_any_route() {
    let seed = seed("BOOCODER_ORPHANS_SEED");
    let machines: Vec<_> = (0..MACHINES)
        .map(|number| thread::spawn(move || Victim::new(seed.wrapping_add(number as u64)).suffer()))
        .collect();
    let mut seen = Seen::new();
    for machine in machines {
        let those = machine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        those.into_iter().for_each(|(route, count)| *seen.entry(route).or_default() += count);
    }
    println!("lives in which a route was at work: {seen:?}");
    assert!(seen.len() == STAND_INS.len() && seen.values().all(|lives| *lives >= KILLS / 3), "{seen:?}");
}

#[test]
fn what_outlives_its_supervisor_too_is_told_of_and_ended_at_the_next_start() {
    const SIGKILL: i32 = 9;
    on_both(|kind| {
        let site = Site::new(kind);
        let mut killed = serve(&site);
        let task = site.queue("demo", "/fork 1 plain\n/stall", None);
        let child =
            site.wait_for("a child", |site| pids(&deltas(&turn_frames(site, &task))).first().copied());
        let supervisor = parent(parent(child));
        // One that stands still cannot see that its dispatcher ends before it.
        freeze(supervisor);
        killed.signal(SIGKILL);
        signal(supervisor, SIGKILL);
        let _ = killed.finish();

        let left = format!("process {child} of ");
        let told = left_over(&site.machine);
        assert!(told.iter().any(|line| line.trim().starts_with(&left)), "{told:?}");
        let next = serve(&site);
        Machine::wait_until("its end", || (!site.machine.processes().contains(&child)).then_some(()));
        assert_eq!(site.wait_for_end(task.id).state, TaskState::Interrupted);
        assert_eq!(left_over(&site.machine), ["  nothing"]);
        let _ = next.stop().expect(0);
    });
}

struct Victim {
    site: Site,
    random: Random,
    /// For each route one for a turn that is at work and one for an agent that is kept idle.
    sessions: Vec<[SessionId; 2]>,
    told: PathBuf,
    _model: ModelServer,
}

impl Victim {
    fn new(seed: u64) -> Self {
        let mut site = Site::new(Kind::Sqlite);
        let told = site.machine.root().join("escaped");
        let config = "[serve]\nslots = 16\n\n[pool]\nmost = 16\n";
        let model = install(&mut site, config);
        when_told(&model, "escape from native", &format!("{}; sleep 600", escape(&told, "native")));
        let serve = serve(&site);
        let sessions = STAND_INS.map(|_| [site.begin_session(), site.begin_session()]).to_vec();
        let _ = serve.stop().expect(0);
        Self { random: Random::of(seed), sessions, told, site, _model: model }
    }

    fn suffer(mut self) -> Seen {
        let mut seen = Seen::new();
        for number in 0..KILLS / MACHINES {
            self.queue_work();
            let serve = serve(&self.site);
            let is_late = number % 2 == 1;
            if is_late {
                Machine::wait_until("work on every route", || {
                    (at_work(&self.told).len() == STAND_INS.len()).then_some(())
                });
            }
            // Not to wait for anything: the moment is what the test is about.
            thread::sleep(LIFE[usize::from(is_late)].mul_f64(self.random.fraction()));
            at_work(&self.told).into_iter().for_each(|route| *seen.entry(route).or_default() += 1);
            serve.kill();
            self.assert_nothing_runs();
            self.cancel_what_waits();
        }
        seen
    }

    /// A turn at work on every route, and an idle agent with children of its own where agents are kept.
    fn queue_work(&self) {
        for (route, [busy, idle]) in STAND_INS.iter().zip(&self.sessions) {
            let prompt = format!(
                "escape from {}\n/ignore-signals\n/ignore-cancel\n/ignore-eof\n\
                 /fork 5 plain group session daemon cleared\n/shell {}\n/stream 300\n",
                route.name,
                escape(&self.told, route.name)
            );
            let _ = route.queue(&self.site, &format!("{prompt}/stall"), *busy);
            if StandIn::warm().any(|warm| warm == route) {
                let _ = route.queue(&self.site, &format!("{prompt}/say idle"), *idle);
            }
        }
    }

    fn assert_nothing_runs(&self) {
        let deadline = Instant::now() + GONE;
        if let Err(left) = self.site.machine.wait_for_no_process(GONE) {
            let told: Vec<_> = left.iter().map(|pid| command_line(*pid)).collect();
            panic!("left after {GONE:?}: {told:?}");
        }
        while !escaped(&self.told).is_empty() {
            assert!(Instant::now() < deadline, "escaped, and left after {GONE:?}: {:?}", escaped(&self.told));
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

/// The routes from which a child has escaped that lives.
fn at_work(told: &Path) -> BTreeSet<String> {
    escaped(told).into_iter().map(|(_, route)| route).collect()
}

/// The escaped children that live, each with its route.
fn escaped(told: &Path) -> Vec<(u32, String)> {
    let told = fs::read_to_string(told).unwrap_or_default();
    let children = told.lines().filter_map(|line| {
        let (pid, route) = line.split_once(' ')?;
        Some((pid.parse().ok()?, route.to_owned()))
    });
    children.filter(|(pid, _)| command_line(*pid).contains(ESCAPED)).collect()
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

/// What `boocoder doctor` says is left over.
fn left_over(machine: &Machine) -> Vec<String> {
    let told = machine.run(["doctor"]).expect(0).stdout;
    told.into_iter().skip_while(|line| line != "left over").skip(1).collect()
}

fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}
