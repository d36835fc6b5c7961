//! `kill -9` of boocoder at random moments: nothing is left, nothing is lost, nothing is done twice.
//!
//! The moments come from a seed that is printed, and set with `BOOCODER_KILL_SEED`; what the machine does
//! meanwhile is the machine's.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use boocoder_tests::{
    product::{Finished, Live, Machine, binary},
    random::{Random, seed},
    stopwatch::Stopwatch,
};
use dispatch_core::{
    change::ChangeState,
    conversation::{MessageState, Part, Role},
    frame::FrameBody,
    ids::{Seq, SessionId},
    ports::{ChangeFilter, Records, TaskFilter},
    task::{Task, TaskState},
};
use serde_json::Value;
use store::SqliteStore;

/// How often a run is killed, over all machines.
const KILLS: usize = 100;

/// They work side by side, as most of a run is waiting for disks and processes.
const MACHINES: usize = 4;

/// After so many kills one start is left alone, and what it found and made is looked at. The others are
/// recoveries too, and are killed in the middle of that.
const KILLS_A_CHECK: usize = 3;

/// How long what a killed boocoder had started may live where much else is at work: `serve_orphans`, which runs alone,
/// holds it to two seconds.
const GONE: Duration = Duration::from_secs(20);

/// Seconds that an escaped child sleeps, which tells it from other tests' children.
const ESCAPED: &str = "613";

/// SIGKILL.
const KILL: i32 = 9;

/// How often an application of a change is killed.
const KILLED_APPLIES: usize = 24;

#[test]
fn a_killed_run_leaves_nothing_and_loses_nothing() {
    let seed = seed("BOOCODER_KILL_SEED");
    let machines: Vec<_> = (0..MACHINES)
        .map(|number| {
            thread::spawn(move || Victim::new(seed.wrapping_add(number as u64), number % 2 == 1).suffer())
        })
        .collect();
    let tallies: Vec<_> = machines.into_iter().map(|machine| machine.join()).collect();
    let mut sum = BTreeMap::new();
    for tally in tallies {
        for (state, count) in tally.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            *sum.entry(state).or_insert(0) += count;
        }
    }
    println!("killed {KILLS} times; the tasks: {sum:?}");
    assert!(sum.get("interrupted").is_some_and(|count| *count > 0), "{sum:?}");
    assert!(sum.len() > 1, "all at one moment: {sum:?}");
}

/// A moment in a life that was seen to take so long, or a little after. Its beginning and its end, where
/// the most different things happen, are met more often than its middle.
fn moment(random: &mut Random, life: Duration) -> Duration {
    let (from, to) = match (random.fraction() * 3.0) as u8 {
        0 => (0.0, 0.3),
        1 => (0.7, 1.05),
        _ => (0.0, 1.05),
    };
    life.mul_f64(from + random.fraction() * (to - from))
}

/// Kills it at that moment of its life; it may have ended by itself before.
fn kill_at(live: Live, moment: Duration) -> Finished {
    // Not to wait for anything: the moment is what the test is about.
    thread::sleep(moment);
    live.signal(KILL);
    live.finish()
}

fn was_killed(run: &Finished) -> bool {
    run.code() == 128 + KILL
}

/// A machine whose user is unlucky.
struct Victim {
    machine: Machine,
    random: Random,
    apply: bool,
    untouched: BTreeMap<PathBuf, (u32, Vec<u8>)>,
    /// What each run has printed before it was killed.
    printed: Vec<Vec<Value>>,
    runs: usize,
    life: Duration,
}

impl Victim {
    fn new(seed: u64, apply: bool) -> Self {
        let mut machine = Machine::new();
        let config = machine.root().join("boocoder.toml");
        let ledger = machine.root().join("ledger");
        let command =
            [binary().to_str().unwrap(), "demo-agent", "--ledger", ledger.to_str().unwrap()].map(Value::from);
        let command = Value::from(command.to_vec());
        fs::write(&config, format!("[agents.hostile]\ncommand = {command}\n")).unwrap();
        machine.set("BOOCODER_CONFIG", config.to_str().unwrap());
        let untouched = machine.fingerprint();
        let (random, life) = (Random::of(seed), Duration::ZERO);
        Self { machine, random, apply, untouched, printed: Vec::new(), runs: 0, life }
    }

    /// Is killed again and again; returns how many tasks ended in which state.
    fn suffer(mut self) -> BTreeMap<String, usize> {
        let whole = self.run();
        let begin = Instant::now();
        self.printed.push(whole.finish().expect(0).frames());
        self.life = begin.elapsed();
        self.check();
        let mut kills = 0;
        while kills < KILLS / MACHINES {
            let (live, moment) = (self.run(), moment(&mut self.random, self.life));
            let run = kill_at(live, moment);
            self.assert_no_process(moment);
            kills += usize::from(was_killed(&run));
            self.printed.push(printed(&run));
            if kills % KILLS_A_CHECK == 0 {
                self.check();
            }
        }
        self.check()
    }

    /// Starts a run that edits, streams and leaves children of every kind.
    fn run(&mut self) -> Live {
        self.runs += 1;
        let number = self.runs;
        let told = self.machine.root().join("told");
        // Neither its folder nor its environment nor its session shows where it comes from.
        let escape = format!(
            "for kind in a b; do (cd /; exec env -i setsid sh -c 'trap \"\" HUP INT TERM; echo $$ >>{}; exec sleep {ESCAPED}' </dev/null >/dev/null 2>&1 &); done",
            told.display()
        );
        let prompt = format!(
            "task {number}\n/ignore-signals\n/ignore-cancel\n/ignore-eof\n/write before-{number}.txt before\\n\n\
             /fork 5 plain group session daemon cleared\n/shell {escape}\n/stream 300\n/sleep 40\n/think hm\n\
             /stream 3000\n/write after-{number}.txt after\\n\n/say done"
        );
        let mut args = vec!["run", "--agent", "hostile", "--json", "--allow"];
        args.extend(self.apply.then_some("--apply"));
        args.push(&prompt);
        self.machine.start(args)
    }

    /// What a killed run had started is gone in time, however it hides.
    fn assert_no_process(&self, moment: Duration) {
        let mut since = Stopwatch::start();
        let found = self.machine.wait_for_no_process(GONE);
        assert_eq!(found, Ok(()), "killed after {moment:?}");
        loop {
            let left = escaped(&self.machine.root().join("told"));
            if left.is_empty() {
                return;
            }
            assert!(since.look() < GONE, "killed after {moment:?}, {left:?} are left");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// One start that nobody kills, then a look at everything.
    fn check(&self) -> BTreeMap<String, usize> {
        let _ = self.machine.run(["run", "--agent", "hostile", "--json", "/say recovered"]).expect(0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let records: Arc<dyn Records> = Arc::new(SqliteStore::open(&self.machine.data_dir()).unwrap());
        let tasks = runtime.block_on(records.tasks(&TaskFilter::default())).unwrap();
        self.assert_nothing_left();
        for task in &tasks {
            runtime.block_on(self.check_task(&*records, task));
        }
        self.check_ledger();
        let mut tally = BTreeMap::new();
        for task in tasks.iter().filter(|task| task.input.starts_with("task ")) {
            *tally.entry(task.state.to_string()).or_insert(0) += 1;
        }
        tally
    }

    /// No worktree, no lock, and a sound repository.
    fn assert_nothing_left(&self) {
        assert_eq!(self.machine.worktrees(), Vec::<PathBuf>::new());
        assert_eq!(self.machine.node_locks(), Vec::<PathBuf>::new());
        let git = self.machine.repository().join(".git");
        let locks = files_below(&git, &|path| path.extension().is_some_and(|end| end == "lock"));
        assert_eq!(locks, Vec::<PathBuf>::new());
        self.machine.git(["fsck", "--strict", "--no-dangling"]);
        let mut now = self.machine.fingerprint();
        if self.apply {
            let is_made = |path: &Path| {
                ["before-", "after-"].iter().any(|made| path.to_string_lossy().starts_with(made))
            };
            now.retain(|path, _| !is_made(path));
        }
        assert!(now == self.untouched, "the user's checkout was touched");
    }

    async fn check_task(&self, records: &dyn Records, task: &Task) {
        assert_ne!(task.state, TaskState::Running, "{task:?}");
        let messages = records.messages(task.chat).await.unwrap();
        let frames = records.frames(task.session, Seq(0), usize::MAX >> 1).await.unwrap();
        let stored: Vec<_> = frames.iter().map(|frame| serde_json::to_value(frame).unwrap()).collect();
        for printed in self.printed_of(task.session) {
            let seq = printed["seq"].as_u64().unwrap();
            assert_eq!(
                stored.get(seq as usize - 1),
                Some(printed),
                "a frame that was shown is not in the record"
            );
        }
        for (frame, seq) in frames.iter().zip(1..) {
            assert_eq!(frame.seq, Seq(seq));
        }
        let streamed: String = frames
            .iter()
            .filter_map(|frame| match &frame.body {
                FrameBody::Delta { content, .. } => Some(content.as_str()),
                _ => None,
            })
            .collect();
        for message in messages.iter().filter(|message| message.role == Role::Assistant) {
            let text: String = message
                .parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text { text, .. } => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            assert_eq!(text, streamed, "{:?}", message.state);
            assert_ne!(message.state, MessageState::Streaming, "{task:?} {message:?}");
        }
        self.check_change(records, task).await;
    }

    /// A change is in the checkout as a whole or not at all, and is whenever the record says so.
    async fn check_change(&self, records: &dyn Records, task: &Task) {
        let Some(number) = task.input.lines().next().and_then(|line| line.strip_prefix("task ")) else {
            return;
        };
        let files = ["before", "after"]
            .map(|word| (self.machine.read(&format!("{word}-{number}.txt")), format!("{word}\n")));
        let is_there = files.iter().any(|(found, _)| found.is_some());
        if is_there {
            assert!(files.iter().all(|(found, whole)| found.as_ref() == Some(whole)), "{files:?}");
        }
        let changes =
            records.changes(&ChangeFilter { task: Some(task.id), ..ChangeFilter::default() }).await.unwrap();
        match changes.as_slice() {
            [] => assert!(!is_there && task.state != TaskState::Completed, "{task:?}"),
            [change] if change.state == ChangeState::Applied => assert!(is_there && self.apply, "{task:?}"),
            // Killed after the checkout was written and before that was recorded.
            [change] => {
                assert!(change.state == ChangeState::Pending && (!is_there || self.apply), "{task:?}")
            }
            more => panic!("{more:?}"),
        }
    }

    fn printed_of(&self, session: SessionId) -> impl Iterator<Item = &Value> {
        let session = Value::from(session.to_string());
        self.printed.iter().flatten().filter(move |frame| frame["session_id"] == session)
    }

    /// No prompt arrived twice.
    fn check_ledger(&self) {
        let ledger = fs::read_to_string(self.machine.root().join("ledger")).unwrap();
        let prompts: Vec<_> = ledger
            .lines()
            .filter_map(|line| line.rsplit('\t').next())
            .filter(|first| first.starts_with("task "))
            .collect();
        let different: BTreeSet<_> = prompts.iter().collect();
        assert_eq!(prompts.len(), different.len(), "{prompts:?}");
    }
}

/// The frames among what a killed boocoder has printed; the kill may have cut the last line short.
fn printed(run: &Finished) -> Vec<Value> {
    let (last, whole) = match run.stdout.split_last() {
        Some((last, whole)) => (serde_json::from_str(last).ok(), whole),
        None => (None, &[][..]),
    };
    let whole = whole.iter().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    whole.chain(last).filter(|frame: &Value| frame["type"] != "result").collect()
}

/// Of the children that told their process ids, those that live.
fn escaped(told: &Path) -> Vec<u32> {
    let told = fs::read_to_string(told).unwrap_or_default();
    let pids = told.lines().filter_map(|line| line.parse().ok());
    let lives = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(ESCAPED)
    };
    pids.filter(lives).collect()
}

fn files_below(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found
}

/// Files of the user's checkout that a change is about, by name.
type Files = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// A user's checkout, and one change of three hundred of its files after the other.
struct Reviewer {
    machine: Machine,
    old: Files,
    new: Files,
}

impl Reviewer {
    fn new() -> Self {
        let machine = Machine::new();
        for number in 0..200 {
            machine.write(&format!("old/{number}.txt"), format!("old {number}\n"));
        }
        machine.git(["add", "--all"]);
        machine.git(["commit", "--quiet", "--message", "many files"]);
        let (old, new) = (machine.fingerprint(), Files::new());
        Self { machine, old, new }
    }

    /// A pending change: 100 files modified, 100 deleted with their folder, 100 added; returns its id.
    fn change(&self) -> String {
        let work = "for i in $(seq 0 99); do echo new $i >old/$i.txt; done; rm -r old/1??.txt; \
                    mkdir -p new/deep; for i in $(seq 100); do echo new $i >new/deep/$i.txt; done";
        let prompt = format!("/shell {work}");
        let run = self.machine.run(["run", "--agent", "demo", "--json", "--allow", &prompt]).expect(0);
        assert_eq!(run.result()["change"]["files"].as_array().unwrap().len(), 300);
        run.result()["change"]["id"].as_str().unwrap().to_owned()
    }

    /// The user takes everything back that is in the checkout.
    fn reset(&self) {
        self.machine.git(["reset", "--quiet", "--hard"]);
        self.machine.git(["clean", "--quiet", "--force", "-d"]);
        assert!(self.files() == self.old);
    }

    /// The checkout without git's own folder, whose index is git's cache.
    fn files(&self) -> Files {
        let mut files = self.machine.fingerprint();
        files.retain(|path, _| !path.starts_with(".git"));
        files
    }

    /// Waits until something is in the checkout that was not there: its staging folder, before all else.
    fn wait_for_writing(&self) {
        let names = || fs::read_dir(self.machine.repository()).unwrap().count();
        // Those of git, of the machine and of this test.
        Machine::wait_until("a staging folder", || (names() > 4).then_some(()));
    }

    fn state(&self, change: &str) -> String {
        let shown = self.machine.run(["change", "show", change, "--format", "json"]).expect(0);
        let shown: Value = serde_json::from_str(&shown.stdout.concat()).unwrap();
        shown["state"].as_str().unwrap().to_owned()
    }

    /// Old or new, never between: `true` when it is new.
    fn is_new(&self, after: &str) -> bool {
        let files = self.files();
        assert!(files == self.old || files == self.new, "half applied {after}");
        files == self.new
    }
}

#[test]
fn a_killed_application_is_completed_or_never_begun() {
    let (mut reviewer, mut random) = (Reviewer::new(), Random::of(seed("BOOCODER_KILL_SEED")));
    reviewer.old.retain(|path, _| !path.starts_with(".git"));
    let mut change = reviewer.change();
    let begin = Instant::now();
    let _ = reviewer.machine.run(["change", "apply", &change]).expect(0);
    let life = begin.elapsed();
    reviewer.new = reviewer.files();
    let mut tally = BTreeMap::new();
    let mut kills = 0;
    while kills < KILLED_APPLIES {
        if reviewer.state(&change) == "applied" {
            change = reviewer.change();
        }
        reviewer.reset();
        let live = reviewer.machine.start(["change", "apply", &change]);
        let run = if kills % 2 == 0 {
            kill_at(live, moment(&mut random, life))
        } else {
            reviewer.wait_for_writing();
            kill_at(live, moment(&mut random, life / 8))
        };
        if !was_killed(&run) {
            assert!(reviewer.is_new("by an apply that nobody killed"));
            continue;
        }
        kills += 1;
        let found = if reviewer.files() == reviewer.old {
            "old"
        } else if reviewer.files() == reviewer.new {
            "new"
        } else {
            "half"
        };
        *tally.entry(found).or_insert(0) += 1;
        // Mostly a run, which knows nothing of that change, comes next; else the user tries once more.
        if kills % 4 > 0 {
            let _ = reviewer.machine.run(["run", "--agent", "demo", "--json", "/say hello"]).expect(0);
            let is_new = reviewer.is_new("after a run");
            assert!(is_new || found == "old", "taken back");
        } else {
            let _ = reviewer.machine.run(["change", "apply", &change]).expect(0);
            assert!(reviewer.is_new("after another apply"));
            assert_eq!(reviewer.state(&change), "applied");
        }
    }
    println!("killed {kills} times; found {tally:?}");
    assert!(tally.contains_key("half"), "never in the middle: {tally:?}");
}
