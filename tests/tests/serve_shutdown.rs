//! SIGTERM and Ctrl-C for `boocoder serve` with turns in all stages (SPEC D7), on both stores.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use boocoder_tests::{
    product::{Finished, Machine, Serve},
    queue::{Kind, Site},
    serve::{
        Answer, Gate, Ledger, answers, assert_cancelled, assert_completed, changes, deltas, freeze_service,
        grow, is_running, ledger_agent, on_both, pids, serve, stop, thaw, turn_frames, worktree_folders,
    },
};
use dispatch_core::{
    conversation::MessageState,
    task::{
        Task, TaskState,
        TerminalReason::{Shutdown, Stopped},
    },
};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// What the service says once it has heard the first signal.
const HEARD: &str = "a second signal ends at once";

/// Runs a test for both signals, side by side.
fn for_both_signals(test: impl Fn(i32) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for signal in [SIGTERM, SIGINT] {
            scope.spawn(move || test(signal));
        }
    });
}

/// A service with tasks in all stages.
struct Busy {
    site: Site,
    ledger: Ledger,
    /// Ends once its gate is open.
    ends: Task,
    gate: Gate,
    /// Goes on for ever.
    endless: Task,
    /// Its agent does not get ready.
    unsent: Task,
    /// Waits behind the endless one.
    behind: Task,
    /// Waits for a slot.
    without_slot: Task,
}

impl Busy {
    fn new(kind: Kind) -> Self {
        let mut site = Site::new(kind);
        let (witness, ledger) = ledger_agent(&site.machine, "witness");
        site.machine
            .configure(&format!("{witness}\n{}", Machine::demo_agent("lazy", &["--fault", "silent"])));
        let gate = Gate::new(&site.machine, "gate");
        let ends = format!("ends\n/write a.txt x\n/say begun\n{}\n/say ended", gate.wait());
        let ends = site.queue("witness", &ends, None);
        let endless = site.queue("witness", "endless\n/write b.txt x\n/pid\n/say begun\n/stall", None);
        let unsent = site.queue("lazy", "unsent\n/say hello", None);
        let behind = site.queue("witness", "behind\n/say hello", Some(endless.session));
        let without_slot = site.queue("witness", "without slot\n/say hello", None);
        Self { site, ledger, ends, gate, endless, unsent, behind, without_slot }
    }

    /// Starts the service, and waits until each task is where it is to be.
    fn serve(&self, grace: &str) -> Serve {
        let serve = self.site.machine.serve(["--slots", "3", "--grace", grace]);
        for task in [&self.ends, &self.endless] {
            self.site.wait_for("a turn that streams", |site| {
                deltas(&turn_frames(site, task)).contains("begun").then_some(())
            });
        }
        let is_lazy = |pid: &u32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("demo-agent\0--fault")
        };
        Machine::wait_until("the lazy agent", || self.site.machine.processes().into_iter().find(is_lazy));
        serve
    }

    fn agent(&self) -> u32 {
        pids(&deltas(&turn_frames(&self.site, &self.endless)))[0]
    }

    /// What holds after the service has ended, whatever became of the turns that were under way: those that
    /// were not begun, and the one whose prompt was not out, wait.
    fn assert_waiting(&self) {
        let Self { site, unsent, behind, without_slot, .. } = self;
        site.machine.wait_for_no_process(Duration::from_secs(20)).expect("no process is left");
        assert_eq!(site.machine.node_locks(), Vec::<PathBuf>::new());
        for task in [behind, without_slot] {
            let task = site.task(task.id);
            assert_eq!((task.state, task.attempt), (TaskState::Pending, 0), "{task:?}");
            assert_eq!(turn_frames(site, &task), Vec::<serde_json::Value>::new());
        }
        let unsent = site.task(unsent.id);
        assert_eq!((unsent.state, unsent.attempt), (TaskState::Pending, 1), "{unsent:?}");
        // Only what it goes on with is left of it.
        assert_eq!(worktree_folders(&site.machine).len(), 1);
        let streaming = site.sql("SELECT count(*) FROM message WHERE state = 'streaming'");
        assert_eq!(streaming, "1");
        let frames = turn_frames(site, &unsent);
        let last = frames.last().unwrap();
        assert_eq!((last["status"].as_str(), last["reason"].as_str()), (Some("idle"), Some("shutdown")));
    }

    /// What waits goes on at the next start, and what was stopped when it is resumed; then nothing is left.
    fn go_on(&mut self, added: &[Task]) {
        let message = answers(&self.site, &self.site.task(self.unsent.id)).pop().unwrap().id;
        let awake = Machine::demo_agent("lazy", &[]);
        let (witness, _) = ledger_agent(&self.site.machine, "witness");
        self.site.machine.configure(&format!("{witness}\n{awake}"));
        let Self { site, ledger, unsent, behind, without_slot, endless, .. } = self;
        let serve = serve(site);
        for task in [&*unsent, behind, without_slot].into_iter().chain(added) {
            site.wait_for_end(task.id);
            let is_resumed = task.id == unsent.id;
            if is_resumed {
                let task = site.task(task.id);
                assert_eq!((task.state, task.attempt), (TaskState::Completed, 2), "{task:?}");
                let answers = answers(site, &task);
                assert_eq!(answers.len(), 1);
                assert_eq!(answers[0].id, message, "the empty message is used again");
            } else {
                assert_completed(site, task.id);
            }
        }
        let _ = site.machine.run(["task", "resume", &endless.id.to_string()]).expect(0);
        site.wait_for("the resumed turn", |site| {
            (ledger.count("endless") == 2 && site.task(endless.id).state == TaskState::Running).then_some(())
        });
        assert!(matches!(stop(site, endless.id), Answer::Stopping));
        let ended = site.wait_for_end(endless.id);
        assert_eq!((ended.attempt, ended.reason), (2, Some(Stopped)), "{ended:?}");
        let messages: Vec<_> = answers(site, &ended).iter().map(|message| message.state).collect();
        assert_eq!(messages, [MessageState::Cancelled, MessageState::Cancelled]);
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    }
}

fn assert_endless_was_stopped(site: &Site, endless: &Task) {
    let task = assert_cancelled(site, endless.id, Shutdown);
    let checkpoints = site.ask(|records| async move { records.checkpoints(task.id).await });
    assert_eq!(
        checkpoints.last().map(|last| last.kind.as_str()),
        Some("final"),
        "what it did can be had back"
    );
}

#[test]
fn turns_get_a_grace_period() {
    on_both(|kind| {
        for_both_signals(|signal| {
            let mut busy = Busy::new(kind);
            let mut serve = busy.serve("15");
            let agent = busy.agent();
            serve.signal(signal);
            serve.live().wait_for_complaint(HEARD);
            let late = busy.site.queue("witness", "late\n/say hello", None);
            // The one goes back before anything else is waited for.
            busy.site.wait_for("the unsent task", |site| {
                (site.task(busy.unsent.id).state == TaskState::Pending).then_some(())
            });
            assert!(is_running(agent), "the grace period is not over");
            busy.gate.open();
            let ends = busy.site.wait_for_end(busy.ends.id);
            let ended: Finished = serve.finish().expect(0);
            assert!(!is_running(agent));
            assert!(
                ended.stderr.contains("completed=1") && ended.stderr.contains("requeued=1"),
                "{}",
                ended.stderr
            );
            assert_completed(&busy.site, ends.id);
            assert_eq!(changes(&busy.site, ends.id).len(), 1);
            assert_endless_was_stopped(&busy.site, &busy.endless);
            busy.assert_waiting();
            assert_eq!(busy.site.task(late.id).state, TaskState::Pending, "no new claims");
            busy.go_on(&[late]);
        });
    });
}

#[test]
fn a_second_signal_ends_at_once() {
    on_both(|kind| {
        thread::scope(|scope| {
            for (first, second, code) in [(SIGTERM, SIGTERM, 143), (SIGTERM, SIGINT, 130)] {
                scope.spawn(move || {
                    let mut busy = Busy::new(kind);
                    busy.site.machine.set(STOP_GRACE, "60");
                    let mut serve = busy.serve("600");
                    let agent = busy.agent();
                    serve.signal(first);
                    serve.live().wait_for_complaint(HEARD);
                    let since = Instant::now();
                    serve.signal(second);
                    let _ = serve.finish().expect(code);
                    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
                    assert!(!is_running(agent));
                    for task in [&busy.ends, &busy.endless] {
                        assert_endless_was_stopped(&busy.site, task);
                    }
                    busy.assert_waiting();
                    busy.gate.open();
                    busy.go_on(&[]);
                });
            }
        });
    });
}

/// How long an agent has to obey, in seconds.
const STOP_GRACE: &str = "BOOCODER_LIMITS__STOP_GRACE_S";

/// Much less than a minute of that, and enough for a machine that has more to do.
const AT_ONCE: Duration = Duration::from_secs(40);

/// An agent and its family that obey nothing.
const HOSTILE: &str = "/ignore-cancel\n/ignore-signals\n/ignore-eof\n/pid\n\
                       /fork 10 plain group session daemon cleared\n/write a.txt x\n/say ready\n/stall";

#[test]
fn a_family_that_obeys_nothing_ends_with_the_second_signal() {
    on_both(|kind| {
        let mut site = Site::new(kind);
        site.machine.set(STOP_GRACE, "60");
        let task = site.queue("demo", HOSTILE, None);
        let mut serve = serve(&site);
        let told = site.wait_for("the family", |site| {
            Some(deltas(&turn_frames(site, &task))).filter(|told| told.contains("ready"))
        });
        let family = pids(&told);
        assert!(family.len() == 11 && family.iter().all(|pid| is_running(*pid)), "{told}");
        serve.signal(SIGINT);
        serve.live().wait_for_complaint(HEARD);
        assert!(family.iter().all(|pid| is_running(*pid)), "the grace period is not over");
        serve.signal(SIGINT);
        let since = Instant::now();
        let _ = serve.finish().expect(130);
        assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
        assert!(!family.iter().any(|pid| is_running(*pid)), "{family:?}");
        assert_endless_was_stopped(&site, &task);
        site.assert_nothing_left();
    });
}

/// The service is frozen in the middle of that, so that the signal comes exactly there.
#[test]
fn while_a_worktree_is_made() {
    on_both(|kind| {
        let site = Site::new(kind);
        grow(&site.machine, 8000);
        let mut stopped = serve(&site);
        let task = site.queue("demo", "/write a.txt x\n/say hello", None);
        Machine::wait_until("a worktree", || (!site.machine.worktrees().is_empty()).then_some(()));
        freeze_service(&site, stopped.pid());
        stopped.signal(SIGTERM);
        thaw(stopped.pid());
        let _ = stopped.finish().expect(0);
        let waits = site.task(task.id);
        assert_eq!((waits.state, waits.attempt), (TaskState::Pending, 1), "{waits:?}");
        assert_eq!(turn_frames(&site, &waits), Vec::<serde_json::Value>::new(), "nothing was begun");

        let next = serve(&site);
        site.wait_for_end(task.id);
        let task = assert_completed(&site, task.id);
        assert_eq!((task.attempt, changes(&site, task.id).len()), (2, 1));
        let _ = next.stop().expect(0);
        site.assert_nothing_left();
    });
}

/// A user's Stop decides, also of a turn that a shutdown has begun to stop.
#[test]
fn a_stop_in_the_grace_period_stands() {
    on_both(|kind| {
        let site = Site::new(kind);
        let task = site.queue("demo", "/say begun\n/stall", None);
        let mut serve = serve(&site);
        site.wait_for("its text", |site| deltas(&turn_frames(site, &task)).contains("begun").then_some(()));
        serve.signal(SIGTERM);
        serve.live().wait_for_complaint(HEARD);
        let since = Instant::now();
        assert_eq!(stop(&site, task.id), Answer::Stopping);
        let _ = serve.finish().expect(0);
        assert!(since.elapsed() < Duration::from_secs(25), "it did not wait for the grace period to end");
        assert_cancelled(&site, task.id, Stopped);
        let refused = site.machine.run(["task", "resume", &task.id.to_string()]).expect(2);
        assert!(refused.stderr.contains("cancelled"), "{}", refused.stderr);
        site.assert_nothing_left();
    });
}

#[test]
fn without_work_it_ends_in_order() {
    on_both(|kind| {
        for_both_signals(|signal| {
            let site = Site::new(kind);
            let mut serve = serve(&site);
            serve.signal(signal);
            let ended = serve.finish().expect(0);
            assert!(ended.stdout.iter().all(|line| line.starts_with("serving: ")), "{ended:?}");
            site.assert_nothing_left();
        });
    });
}
