//! `kill -9` of `boocoder serve` at each step of a turn, and what its next start makes of it: SPEC D6 to the
//! letter, on both stores.
//!
//! Fail points hold the service exactly where it is to be killed (`BOOCODER_HALT_AT`, in debug builds).
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use boocoder_tests::{
    product::{Live, Machine, text},
    queue::{Kind, Site},
    serve::{
        Answer, Gate, Ledger, answers, assert_cancelled, assert_completed, assert_interrupted, changes,
        deltas, halted, ledger_agent, on_both, serve, stop, stop_and_wait, turn_frames, worktree_folders,
    },
};
use dispatch_core::{
    conversation::MessageState,
    ids::MessageId,
    task::{Task, TaskState, TerminalReason},
};

/// How long what a killed service had started may live.
const GONE: Duration = Duration::from_secs(20);

/// How many machines are killed side by side.
const LANES: usize = 3;

const SIGKILL: i32 = 9;

/// The agent that keeps a ledger.
const AGENT: &str = "witness";

/// The first line of the prompt of the turn that is killed.
const FIRST: &str = "the first task";

/// Where no fail point is needed: the agent waits for the test in the middle of its turn.
const IN_THE_MIDDLE: &str = "in the middle";

/// Points before the prompt is out, in their order.
const NOT_OUT: [&str; 17] = [
    "claim:before",
    "claim:after",
    "record_route:before",
    "record_route:after",
    "prepare:before",
    "prepare:after",
    "begin_message:before",
    "begin_message:after",
    "checkpoint:before",
    "checkpoint:after",
    "record_checkpoint:before",
    "record_checkpoint:after",
    "open:before",
    "open:after",
    "start:before",
    "start:after",
    "record_prompt_sent:before",
];

/// Points from where a prompt counts as sent until the turn's end is recorded, in their order.
const OUT: [&str; 13] = [
    "record_prompt_sent:after",
    "prompt:before",
    "prompt:after",
    "append:before",
    "append:after",
    "next:before",
    "next:after",
    IN_THE_MIDDLE,
    "close:before",
    "close:after",
    "collect:before",
    "collect:after",
    "settle:before",
];

/// Points after that.
const SETTLED: [&str; 3] = ["settle:after", "release:before", "release:after"];

/// A machine whose service is killed while it runs a task.
struct Victim {
    site: Site,
    ledger: Ledger,
    gate: Gate,
    first: Task,
}

/// What was there when the service was dead and nothing had been recovered yet.
struct Remains {
    first: Task,
    /// The next one of its session, added since.
    second: Task,
    message: Option<MessageId>,
    streamed: String,
    worktree: Option<Worktree>,
}

/// A worktree that is there.
#[derive(Debug, PartialEq, Eq)]
struct Worktree {
    path: PathBuf,
    inode: u64,
    /// What the first task's agent has written.
    written: Option<String>,
}

impl Worktree {
    fn at(path: &Path) -> Self {
        let inode = fs::metadata(path).unwrap().ino();
        Self { path: path.to_owned(), inode, written: fs::read_to_string(path.join("a.txt")).ok() }
    }

    /// How an agent that works in it says so.
    fn told(&self) -> String {
        format!("worktree {}", self.inode)
    }
}

impl Victim {
    fn new(kind: Kind) -> Self {
        let mut site = Site::new(kind);
        let (config, ledger) = ledger_agent(&site.machine, AGENT);
        site.machine.configure(&config);
        let gate = Gate::new(&site.machine, "gate");
        let prompt = format!(
            "{FIRST}\n/say streamed \n/write a.txt x\n/shell stat --format='worktree %i' .\n{}\n/history\n/say done",
            gate.wait()
        );
        let first = site.queue(AGENT, &prompt, None);
        Self { site, ledger, gate, first }
    }

    /// Starts a service, and waits until it is at this point of the first task's turn.
    fn begin(&self, point: &str) -> Live {
        if point == IN_THE_MIDDLE {
            let live = Live::start(self.site.machine.boocoder(["serve"]));
            self.site.wait_for("the middle", |site| {
                let frames = turn_frames(site, &self.first);
                let shells = frames.iter().filter(|frame| frame["tool_call"]["kind"] == "execute");
                shells
                    .map(|frame| text(&frame["tool_call"]["id"]))
                    .any(|id| {
                        let is_same = |frame: &&serde_json::Value| frame["tool_call"]["id"] == id;
                        frames.iter().any(|frame| frame.to_string().contains("worktree "))
                            && frames.iter().rfind(is_same).unwrap()["tool_call"]["status"] == "in_progress"
                    })
                    .then_some(())
            });
            return live;
        }
        self.gate.open();
        let live = halted(&self.site, point);
        if point.starts_with("append") {
            // The writer of the frames does not hold up the turn.
            Machine::wait_until("the prompt", || (self.ledger.count(FIRST) > 0).then_some(()));
        }
        live
    }

    /// Kills the service, looks at what is left, and gives the session another task.
    fn kill(&self, live: Live) -> Remains {
        live.signal(SIGKILL);
        let _ = live.finish().expect(128 + SIGKILL);
        assert_eq!(self.site.machine.wait_for_no_process(GONE), Ok(()));
        let first = self.site.task(self.first.id);
        let mut messages = answers(&self.site, &first);
        assert!(messages.len() <= 1, "{messages:?}");
        let mut folders = worktree_folders(&self.site.machine);
        assert!(folders.len() <= 1, "{folders:?}");
        Remains {
            second: self.site.queue(AGENT, "the second task\n/say hello", Some(first.session)),
            message: messages.pop().map(|message| message.id),
            streamed: deltas(&turn_frames(&self.site, &first)),
            worktree: folders.pop().map(|path| Worktree::at(&path)),
            first,
        }
    }

    /// Waits until the killed task and the next of its session have ended, in this order; returns the former.
    fn wait_for_both(&self, remains: &Remains) -> Task {
        let [first, second] = [self.first.id, remains.second.id].map(|id| self.site.wait_for_end(id));
        assert!(first.finished_at <= second.started_at, "{first:?} {second:?}");
        assert_completed(&self.site, second.id);
        first
    }

    /// Nothing is left of the service that was killed, but for what is named.
    fn assert_left(&self, worktrees: &[&Worktree]) {
        let found: Vec<_> =
            worktree_folders(&self.site.machine).iter().map(|path| Worktree::at(path)).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), worktrees);
        if worktrees.is_empty() {
            self.site.assert_nothing_left();
        }
    }
}

/// Runs a test for each point, on several machines side by side.
fn for_each(points: &[&str], kind: Kind, test: impl Fn(&str, Victim) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    println!("killed at {point}");
                    test(point, Victim::new(kind));
                }
            });
        }
    });
}

/// The service is dead, and its lease goes on for seconds: whoever starts on the same machine need not wait for
/// that, as nobody holds its lock.
fn assert_recovered_at_once(site: &Site, remains: &Remains) {
    let now = site.task(remains.first.id);
    let is_left = now.state == TaskState::Running && now.epoch == remains.first.epoch;
    assert!(!is_left, "it serves, and did not recover before: {now:?}");
}

/// Killed before the prompt was out: pending again, in its place; then it runs as if nothing had happened.
fn is_begun_again(point: &str, victim: &Victim) {
    let Victim { site, ledger, .. } = victim;
    let remains = victim.kill(victim.begin(point));
    assert_eq!(ledger.count(FIRST), 0, "{point}: it is not out");
    let serve = serve(site);
    assert_recovered_at_once(site, &remains);
    let first = victim.wait_for_both(&remains);
    let first = assert_completed(site, first.id);
    assert_eq!(first.attempt, if point == "claim:before" { 1 } else { 2 }, "{point}");
    assert_eq!(ledger.count(FIRST), 1, "{point}");
    if let Some(message) = remains.message {
        assert_eq!(first.assistant_message, Some(message), "{point}: the empty message is used again");
    }
    if let Some(worktree) = &remains.worktree {
        let told = serde_json::to_string(&turn_frames(site, &first)).unwrap();
        assert!(told.contains(&worktree.told()), "{point}: the worktree is used again: {worktree:?} {told}");
    }
    assert_eq!(changes(site, first.id).len(), 1, "{point}");
    let _ = serve.stop().expect(0);
    victim.assert_left(&[]);
}

#[test]
fn killed_before_the_prompt_is_out_it_is_begun_again_on_sqlite() {
    for_each(&NOT_OUT, Kind::Sqlite, |point, victim| is_begun_again(point, &victim));
}

#[test]
fn killed_before_the_prompt_is_out_it_is_begun_again_on_postgres() {
    for_each(&NOT_OUT, Kind::Postgres, |point, victim| is_begun_again(point, &victim));
}

/// Killed after that: interrupted, with everything kept, until its user asks for another attempt.
fn is_interrupted(point: &str, victim: &Victim) {
    let Victim { site, ledger, gate, .. } = victim;
    let remains = victim.kill(victim.begin(point));
    let arrived = ledger.count(FIRST);
    assert!(arrived <= 1, "{point}");
    let worktree = remains.worktree.as_ref().expect("a worktree");
    let serving = serve(site);
    assert_recovered_at_once(site, &remains);
    let first = victim.wait_for_both(&remains);
    let first = assert_interrupted(site, first.id);
    assert_eq!(
        (first.attempt, ledger.count(FIRST)),
        (1, arrived),
        "{point}: it is never sent again by itself"
    );
    assert_eq!(first.assistant_message, remains.message, "{point}");
    assert_eq!(deltas(&turn_frames(site, &first)), remains.streamed, "{point}");
    // Once it has ended, it has tidied up, too.
    let _ = serving.stop().expect(0);
    victim.assert_left(&[worktree]);

    gate.open();
    let serving = serve(site);
    let resumed = site.machine.run(["task", "resume", &first.id.to_string()]).expect(0);
    assert!(resumed.stdout[0].ends_with("pending"), "{resumed:?}");
    let first = site.wait_for_end(first.id);
    assert_eq!((first.state, first.attempt), (TaskState::Completed, 2), "{point}: {first:?}");
    assert_eq!(ledger.count(FIRST), arrived + 1, "{point}");
    let messages: Vec<_> =
        answers(site, &first).into_iter().map(|message| (message.id, message.state)).collect();
    let [(old, MessageState::Failed), (new, MessageState::Complete)] = messages[..] else {
        panic!("{point}: {messages:?}")
    };
    assert_eq!((Some(old), Some(new)), (remains.message, first.assistant_message), "{point}");
    let second = serde_json::json!(new);
    let frames = turn_frames(site, &first);
    let told: Vec<_> = frames.iter().filter(|frame| frame["message_id"] == second).collect();
    let told = serde_json::to_string(&told).unwrap();
    assert!(told.contains(&worktree.told()), "{point}: the same worktree: {worktree:?} {told}");
    assert_eq!(changes(site, first.id).len(), 1, "{point}");
    let _ = serving.stop().expect(0);
    victim.assert_left(&[]);
}

#[test]
fn killed_after_the_prompt_is_out_it_is_interrupted_on_sqlite() {
    for_each(&OUT, Kind::Sqlite, |point, victim| is_interrupted(point, &victim));
}

#[test]
fn killed_after_the_prompt_is_out_it_is_interrupted_on_postgres() {
    for_each(&OUT, Kind::Postgres, |point, victim| is_interrupted(point, &victim));
}

#[test]
fn killed_after_its_end_is_recorded_that_stands() {
    on_both(|kind| {
        for_each(&SETTLED, kind, |point, victim| {
            let Victim { site, ledger, .. } = &victim;
            let remains = victim.kill(victim.begin(point));
            assert_eq!(remains.first.state, TaskState::Completed, "{point}");
            let serve = serve(site);
            let first = victim.wait_for_both(&remains);
            assert_completed(site, first.id);
            assert_eq!((ledger.count(FIRST), changes(site, first.id).len()), (1, 1), "{point}");
            let _ = serve.stop().expect(0);
            victim.assert_left(&[]);
        });
    });
}

/// An accepted Stop stands, also when the dispatcher dies before it obeys (SPEC D6).
#[test]
fn killed_after_a_stop_was_accepted_it_is_cancelled() {
    const POINTS: [&str; 5] =
        ["prepare:after", "begin_message:after", "record_prompt_sent:before", "next:before", "settle:before"];
    on_both(|kind| {
        for_each(&POINTS, kind, |point, victim| {
            let Victim { site, ledger, first, .. } = &victim;
            let live = victim.begin(point);
            assert_eq!(stop(site, first.id), Answer::Stopping, "{point}");
            let remains = victim.kill(live);
            let arrived = ledger.count(FIRST);
            let serve = serve(site);
            let first = victim.wait_for_both(&remains);
            assert_cancelled(site, first.id, TerminalReason::Stopped);
            assert_eq!(ledger.count(FIRST), arrived, "{point}");
            assert_eq!(stop(site, first.id), Answer::ended("cancelled"));
            let _ = serve.stop().expect(0);
            victim.assert_left(&[]);
        });
    });
}

/// Nobody else is there to recover: the Stop does it.
#[test]
fn a_stop_of_a_dead_dispatchers_turn_is_obeyed_without_another_one() {
    const POINTS: [&str; 3] = ["prepare:after", "start:before", "next:before"];
    on_both(|kind| {
        for_each(&POINTS, kind, |point, victim| {
            let Victim { site, first, .. } = &victim;
            let remains = victim.kill(victim.begin(point));
            assert_eq!(remains.first.state, TaskState::Running);
            assert_eq!(stop_and_wait(site, first.id), Answer::Stopped, "{point}");
            assert_cancelled(site, first.id, TerminalReason::Stopped);
            let serve = serve(site);
            victim.wait_for_both(&remains);
            let _ = serve.stop().expect(0);
            victim.assert_left(&[]);
        });
    });
}

/// A recovery that is killed is done by the next one, once.
#[test]
fn killed_while_it_recovers() {
    on_both(|kind| {
        for_each(&["join:before", "join:after", "recover:before", "recover:after"], kind, |point, victim| {
            let site = &victim.site;
            let remains = victim.kill(victim.begin("collect:before"));
            let again = victim.kill(halted(site, point));
            assert_eq!(again.worktree, remains.worktree, "{point}");
            let serve = serve(site);
            let first = victim.wait_for_both(&remains);
            assert_interrupted(site, first.id);
            site.wait_for_all();
            let _ = serve.stop().expect(0);
            victim.assert_left(&[remains.worktree.as_ref().unwrap()]);
            let _ = site.machine.run(["session", "close", &first.session.to_string()]).expect(0);
            victim.assert_left(&[]);
        });
    });
}

/// Its agent's conversation goes on, where the agent can.
#[test]
fn a_resumed_task_goes_on_with_its_conversation() {
    on_both(|kind| {
        let victim = Victim::new(kind);
        let Victim { site, gate, first, .. } = &victim;
        let remains = victim.kill(victim.begin(IN_THE_MIDDLE));
        gate.open();
        let serve = serve(site);
        victim.wait_for_both(&remains);
        let _ = site.machine.run(["task", "resume", &first.id.to_string()]).expect(0);
        let first = site.wait_for_end(first.id);
        assert_eq!(first.state, TaskState::Completed, "{first:?}");
        let frames = turn_frames(site, &first);
        let notice = frames.iter().find(|frame| frame["code"] == "session_loaded");
        assert!(notice.is_some(), "{frames:#?}");
        assert!(deltas(&frames).contains("prompts: 2"), "{}", deltas(&frames));
        let _ = serve.stop().expect(0);
        victim.assert_left(&[]);
    });
}
