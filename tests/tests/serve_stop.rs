//! Stop of tasks below `boocoder serve`, from other processes: in every phase, any number of times, and racing
//! the turn's own end (SPEC S1 to S5), on both stores.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use boocoder_tests::{
    product::{Live, Machine, text},
    queue::{Kind, Site},
    random::{Random, seed},
    serve::{
        Answer, answers, assert_cancelled, assert_completed, assert_settled_once, changes, deltas,
        freeze_service, grow, halted, is_running, many_stops, on_both, pids, serve, stop, stop_and_wait,
        thaw, turn_frames,
    },
};
use dispatch_core::{
    ids::TaskId,
    ports::StopAnswer,
    task::{Name, NewTask, PermissionPolicy, Task, TaskState, TerminalReason::Stopped, TurnOptions},
};
use dispatch_driver::random_bytes;
use serde_json::Value;

/// How many processes stop a task at once.
const AT_ONCE: usize = 50;

/// How many files a worktree has that takes its time to make or to compare.
const MANY: usize = 8000;

#[test]
fn a_task_that_only_waits_is_cancelled_at_once() {
    on_both(|kind| {
        let site = Site::new(kind);
        let nobody = site.queue("demo", "/say never", None);
        assert_eq!(stop(&site, nobody.id), Answer::Cancelled, "no dispatcher is needed for that");

        let serve = site.machine.serve(["--slots", "1"]);
        let head = site.queue("demo", "/say waiting\n/stall", None);
        let mut watch = watch(&site, head.id);
        watch.wait_for_frame("delta", |_| true);
        let behind = site.queue("demo", "/say never", Some(head.session));
        let last = site.queue("demo", "/say last", Some(head.session));
        let without_slot = site.queue("demo", "/say never", None);
        assert_eq!(stop(&site, behind.id), Answer::Cancelled);
        assert_eq!(stop_and_wait(&site, behind.id), Answer::Cancelled, "repeating gets the same answer");
        assert_eq!(many_stops(&site, without_slot.id, AT_ONCE), [Answer::Cancelled].into());
        for task in [&nobody, &behind, &without_slot] {
            let task = assert_cancelled(&site, task.id, Stopped);
            assert_eq!((task.attempt, turn_frames(&site, &task).len()), (0, 1), "{task:?}");
        }

        let head = site.task(head.id);
        assert_eq!((head.state, head.stop_requested), (TaskState::Running, false), "only what was named");
        assert_eq!(stop_and_wait(&site, head.id), Answer::Stopped);
        assert_cancelled(&site, head.id, Stopped);
        site.wait_for_end(last.id);
        assert_completed(&site, last.id);
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    on_both(|kind| {
        let site = Site::new(kind);
        let run = site.machine.run(["task", "stop", "--wait", "0123456789abcdef"]).expect(2);
        assert_eq!(run.stdout, ["0123456789abcdef not found"]);
    });
}

/// Watches a task as a program does.
fn watch(site: &Site, id: TaskId) -> Live {
    site.machine.start(["task", "watch", &id.to_string(), "--json"])
}

/// A moment of a turn that lasts until the turn is stopped.
struct Phase {
    agent: &'static str,
    prompt: &'static str,
    permissions: PermissionPolicy,
    /// The type of the frame that tells of it, and what else that frame says.
    frame: (&'static str, fn(&Value) -> bool),
}

const fn phase(prompt: &'static str, frame: &'static str, says: fn(&Value) -> bool) -> Phase {
    Phase { agent: "demo", prompt, permissions: PermissionPolicy::Allow, frame: (frame, says) }
}

fn is_first_word(frame: &Value) -> bool {
    text(&frame["content"]).contains("ready")
}

fn is_open_tool(frame: &Value) -> bool {
    frame["tool_call"]["status"] == "in_progress"
}

const PHASES: [Phase; 7] = [
    Phase { agent: "lazy", ..phase("/say never", "agent_status", |frame| frame["status"] == "working") },
    phase("/pid\n/say ready\n/stream 100000000 200", "delta", is_first_word),
    phase("/pid\n/say ready\n/stall", "delta", is_first_word),
    phase("/pid\n/sleep 600000", "tool_call", is_open_tool),
    phase("/pid\n/shell sleep 600", "tool_call", is_open_tool),
    phase("/pid\n/terminal sleep 600", "tool_call", is_open_tool),
    Phase {
        permissions: PermissionPolicy::Ask,
        ..phase("/pid\n/ask May I?\n/write a.txt x", "permission_request", |_| true)
    },
];

impl Phase {
    /// Queues a task that gets there, and waits until it is there; returns its agent's process, too.
    fn reach(&self, site: &Site, like: &Task) -> (Task, u32, Live) {
        let new = NewTask {
            options: TurnOptions { agent: Name::new(self.agent), ..TurnOptions::default() },
            permissions: self.permissions,
            ..NewTask::new(TaskId::from_random(random_bytes()), like.project, self.prompt)
        };
        let task = site.ask(|records| async move { records.create_task(new).await });
        let mut watch = watch(site, task.id);
        watch.wait_for_frame(self.frame.0, self.frame.1);
        let agent =
            if self.agent == "lazy" { lazy_agent(site) } else { pids(&deltas(&turn_frames(site, &task)))[0] };
        assert!(is_running(agent));
        (task, agent, watch)
    }
}

/// The process of the one agent that never gets ready.
fn lazy_agent(site: &Site) -> u32 {
    let is_lazy = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("demo-agent\0--fault")
    };
    Machine::wait_until("the agent", || site.machine.processes().into_iter().find(is_lazy))
}

/// Checks a task that was stopped in the middle of its turn, and what its watcher saw of that.
fn assert_stopped(site: &Site, task: &Task, agent: u32, watch: Live) {
    assert!(!is_running(agent), "its agent runs on");
    let task = assert_cancelled(site, task.id, Stopped);
    assert!(!answers(site, &task).is_empty());
    let watched = watch.finish().expect(130);
    assert_eq!(watched.frames(), site.frames(task.session));
    let frames = turn_frames(site, &task);
    let open = frames.iter().rfind(|frame| frame["type"] == "tool_call");
    assert!(!open.is_some_and(is_open_tool), "{open:?}");
}

#[test]
fn in_each_phase_of_a_turn_once_and_twice() {
    on_both(|kind| {
        let mut site = Site::new(kind);
        site.machine.configure(&Machine::demo_agent("lazy", &["--fault", "silent"]));
        let before = site.machine.fingerprint();
        let serve = site.machine.serve(["--slots", "7"]);
        let like = site.queue("demo", "/say hello", None);
        thread::scope(|scope| {
            for phase in &PHASES {
                let (site, like) = (&site, &like);
                scope.spawn(move || {
                    let (task, agent, watch) = phase.reach(site, like);
                    assert_eq!(stop_and_wait(site, task.id), Answer::Stopped, "{}", phase.prompt);
                    assert_stopped(site, &task, agent, watch);
                    assert_eq!(stop_and_wait(site, task.id), Answer::ended("cancelled"));

                    let (task, agent, watch) = phase.reach(site, like);
                    assert_eq!(stop(site, task.id), Answer::Stopping, "{}", phase.prompt);
                    let more = [stop(site, task.id), stop_and_wait(site, task.id)];
                    let ended = Answer::ended("cancelled");
                    assert!([&Answer::Stopping, &ended].contains(&&more[0]), "{more:?}");
                    assert!([&Answer::Stopped, &ended].contains(&&more[1]), "{more:?}");
                    assert_stopped(site, &task, agent, watch);
                });
            }
        });
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
        assert!(site.machine.fingerprint() == before, "the user's repository was touched");
    });
}

/// An agent and its family that obey nothing.
const HOSTILE: &str = "/ignore-cancel\n/ignore-signals\n/ignore-eof\n/pid\n\
                       /fork 10 plain group session daemon cleared\n/write a.txt x\n/say ready\n/stall";

#[test]
fn fifty_at_once_against_a_family_that_obeys_nothing() {
    on_both(|kind| {
        let mut site = Site::new(kind);
        site.machine.configure("limits.stop_grace_s = 3");
        let serve = serve(&site);
        let task = site.queue("demo", HOSTILE, None);
        let told = site.wait_for("the family", |site| {
            Some(deltas(&turn_frames(site, &task))).filter(|told| told.contains("ready"))
        });
        let family = pids(&told);
        assert!(family.len() == 11 && family.iter().all(|pid| is_running(*pid)), "{told}");
        let answers = many_stops(&site, task.id, AT_ONCE);
        assert!(!family.iter().any(|pid| is_running(*pid)), "some wait, and all of them have their answer");
        let mut wanted: BTreeSet<_> = [Answer::Stopping, Answer::Stopped].into();
        assert!(answers.is_superset(&wanted), "{answers:?}");
        wanted.insert(Answer::ended("cancelled"));
        assert!(answers.is_subset(&wanted), "{answers:?}");
        assert_cancelled(&site, task.id, Stopped);
        let _ = serve.stop().expect(0);
        let kinds = checkpoints(&site, task.id);
        assert_eq!(kinds, ["before", "final"], "what it did can be had back");
        site.assert_nothing_left();
    });
}

/// The kinds of a task's checkpoints, oldest first.
fn checkpoints(site: &Site, id: TaskId) -> Vec<&'static str> {
    let checkpoints = site.ask(|records| async move { records.checkpoints(id).await });
    checkpoints.iter().map(|checkpoint| checkpoint.kind.as_str()).collect()
}

/// The service is frozen in the middle of it, so that the Stop comes exactly there.
#[test]
fn while_the_worktree_is_made() {
    on_both(|kind| {
        let site = Site::new(kind);
        grow(&site.machine, MANY);
        let mut serve = serve(&site);
        let task = site.queue("demo", "/say never", None);
        Machine::wait_until("a worktree", || (!site.machine.worktrees().is_empty()).then_some(()));
        freeze_service(&site, serve.pid());
        assert_eq!([stop(&site, task.id), stop(&site, task.id)], [Answer::Stopping, Answer::Stopping]);
        thaw(serve.pid());
        site.wait_for_end(task.id);
        let task = assert_cancelled(&site, task.id, Stopped);
        let kinds: Vec<_> = turn_frames(&site, &task).iter().map(|frame| frame["type"].clone()).collect();
        assert_eq!(kinds, ["task_state", "agent_status"], "nothing but the worktree was begun");
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    });
}

/// The agent is gone, and what it changed is being computed.
#[test]
fn while_the_turn_settles_a_stop_that_comes_first_decides() {
    on_both(|kind| {
        let site = Site::new(kind);
        let mut serve = serve(&site);
        let script =
            format!("/pid\n/shell mkdir m; for i in $(seq {MANY}); do echo $i > m/$i; done\n/say done");
        let task = site.queue("demo", &script, None);
        let agent =
            site.wait_for("the agent", |site| pids(&deltas(&turn_frames(site, &task))).first().copied());
        Machine::wait_until("the agent's end", || (!is_running(agent)).then_some(()));
        freeze_service(&site, serve.pid());
        assert_eq!([stop(&site, task.id), stop(&site, task.id)], [Answer::Stopping, Answer::Stopping]);
        thaw(serve.pid());
        site.wait_for_end(task.id);
        let task = assert_cancelled(&site, task.id, Stopped);
        assert!(deltas(&turn_frames(&site, &task)).ends_with("done"), "the agent had ended by itself");
        let _ = serve.stop().expect(0);
        assert_eq!(checkpoints(&site, task.id).last(), Some(&"final"));
        site.assert_nothing_left();
    });
}

/// The end is recorded, and its own dispatcher does not even know it yet.
#[test]
fn a_stop_that_comes_second_leaves_the_end_as_it_is() {
    on_both(|kind| {
        let site = Site::new(kind);
        let tasks = [("/write a.txt x\n/say done", "completed"), ("/write a.txt x\n/crash", "failed")];
        let tasks = tasks.map(|(prompt, state)| (site.queue("demo", prompt, None), state));
        let live = halted(&site, "settle:after");
        for (task, state) in &tasks {
            let ended = site.wait_for_end(task.id);
            assert_eq!(ended.state.as_str(), *state);
            let wanted = Answer::ended(state);
            assert_eq!(
                [stop(&site, task.id), stop_and_wait(&site, task.id)],
                [wanted.clone(), wanted.clone()]
            );
            assert_eq!(many_stops(&site, task.id, AT_ONCE / 2), [wanted].into());
            assert_eq!(site.task(task.id), ended, "nothing is changed by it");
            assert_settled_once(&site, &ended);
            assert_eq!(changes(&site, task.id).len(), 1);
        }
        live.signal(9);
        let _ = live.finish();
        let _ = serve(&site).stop().expect(0);
        site.assert_nothing_left();
    });
}

/// How many turns are stopped at some moment of their lives, over both stores.
const RACES: usize = 200;

/// How many of a store's turns run side by side.
const LANES: usize = 2;

/// Each so many Stops are asked for by a command, which waits; the others by the library, which is faster.
const BY_COMMAND: usize = 4;

#[test]
fn a_stop_and_the_natural_end_race_and_what_was_first_stands() {
    let seed = seed("BOOCODER_STOP_SEED");
    on_both(|kind| {
        let site = Site::new(kind);
        let serve = serve(&site);
        let lanes: Vec<_> = thread::scope(|scope| {
            let race = |lane: usize| {
                let seed = seed ^ ((lane as u64 + 1) << 32) ^ u64::from(kind == Kind::Postgres);
                let mut lane = Lane { site: &site, random: Random::of(seed), tally: BTreeMap::new() };
                lane.race(RACES / 2 / LANES);
                lane.tally
            };
            let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || race(lane))).collect();
            lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
        });
        let mut tally = BTreeMap::new();
        for (answer, count) in lanes.into_iter().flatten() {
            *tally.entry(answer).or_insert(0) += count;
        }
        println!("{kind:?}: {tally:?}");
        let is_there = |word: &str| tally.keys().any(|answer| answer.contains(word));
        assert!(is_there("stop") && is_there("already ended"), "always the same one won: {tally:?}");
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    });
}

/// A moment in a life that was seen to take so long, or a little after; mostly near its end.
fn moment(random: &mut Random, life: Duration) -> Duration {
    let from = if random.fraction() < 0.25 { 0.0 } else { 0.7 };
    life.mul_f64(from + random.fraction() * (1.15 - from))
}

/// Turns one after the other, each of which is stopped at some moment.
struct Lane<'a> {
    site: &'a Site,
    random: Random,
    tally: BTreeMap<String, usize>,
}

impl Lane<'_> {
    fn race(&mut self, count: usize) {
        let mut life = self.live();
        for number in 0..count {
            let task = self.queue();
            // Not to wait for anything: the moment is what the test is about.
            thread::sleep(moment(&mut self.random, life));
            let answer = self.stop(task.id, number.is_multiple_of(BY_COMMAND));
            self.check(&answer, &task);
            *self.tally.entry(answer).or_insert(0) += 1;
            if number % 10 == 9 {
                life = self.live();
            }
        }
    }

    fn queue(&self) -> Task {
        self.site.queue("demo", "/pid\n/write a.txt x\n/say done", None)
    }

    /// How long a turn takes that nobody stops, as busy as the machine is now.
    fn live(&self) -> Duration {
        let begin = Instant::now();
        let task = self.queue();
        self.site.wait_for_end(task.id);
        begin.elapsed()
    }

    fn stop(&self, task: TaskId, by_command: bool) -> String {
        if by_command {
            return match stop_and_wait(self.site, task) {
                Answer::Stopped => "stopped".to_owned(),
                Answer::Stopping => panic!("it was to wait"),
                Answer::Cancelled => "cancelled".to_owned(),
                Answer::AlreadyEnded(state) => format!("already ended: {state}"),
            };
        }
        match self.site.stop(task) {
            StopAnswer::Stopping => "stopping".to_owned(),
            StopAnswer::Cancelled => "cancelled".to_owned(),
            StopAnswer::AlreadyEnded(state) => format!("already ended: {state}"),
            StopAnswer::NotFound => panic!("it is there"),
        }
    }

    fn check(&self, answer: &str, task: &Task) {
        let agent = || pids(&deltas(&turn_frames(self.site, task))).first().copied();
        if answer == "stopped" {
            let now = self.site.task(task.id);
            assert_eq!(now.state, TaskState::Cancelled, "it was said to be stopped");
            assert!(!agent().is_some_and(is_running), "it was said to be stopped");
        }
        self.site.wait_for_end(task.id);
        if answer == "already ended: completed" {
            let task = assert_completed(self.site, task.id);
            assert!(!task.stop_requested);
            assert_eq!(changes(self.site, task.id).len(), 1);
        } else {
            let task = assert_cancelled(self.site, task.id, Stopped);
            assert!(task.stop_requested);
        }
        assert!(!agent().is_some_and(is_running));
    }
}
