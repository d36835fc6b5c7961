//! Many tasks in several lines of work, and what must be true of them whoever ran them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    thread,
};

use dispatch_core::{
    ids::{SessionId, TaskId},
    task::{Task, TaskState},
};

use super::site::Site;
use crate::product::Machine;

/// The agent that does the work, and notes each prompt that arrives.
pub const AGENT: &str = "worker";

/// Each so many tasks are added by a process of their own, as a user does; the others by the library.
const BY_A_USER: usize = 3;

/// How many tasks are asked for, and in how many lines of work.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Lines of work.
    pub sessions: usize,
    /// Tasks in each of them.
    pub each: usize,
    /// Tasks without a session.
    pub alone: usize,
}

/// The tasks of a load, by their line of work, each in the order in which they were added.
pub type Tasks = BTreeMap<SessionId, Vec<TaskId>>;

impl Load {
    /// Lets a machine know [`AGENT`].
    pub fn prepare(machine: &mut Machine) {
        let ledger = ledger(machine);
        let ledger = ledger.to_str().expect("a path of ours");
        machine.configure(&Machine::demo_agent(AGENT, &["--ledger", ledger]));
    }

    /// Adds the tasks from two threads at once, each line of work from one of them.
    ///
    /// # Panics
    /// When one is refused.
    #[must_use]
    pub fn add_to(self, site: &Site) -> Tasks {
        thread::scope(|scope| {
            let halves = [0, 1].map(|half| scope.spawn(move || self.add_half(site, half)));
            halves.into_iter().flat_map(|half| half.join().expect("a half")).collect()
        })
    }

    fn add_half(self, site: &Site, half: usize) -> Tasks {
        let mut sessions = BTreeMap::new();
        let mut tasks = Tasks::new();
        let mut add = |line: String, session: Option<SessionId>, number: usize| {
            let prompt = prompt(&site.machine, &line, number);
            let add = if number.is_multiple_of(BY_A_USER) { Site::add } else { Site::queue };
            let task = add(site, AGENT, &prompt, session);
            tasks.entry(task.session).or_default().push(task.id);
            task.session
        };
        for number in 0..self.each.max(self.alone) {
            for line in (half..self.sessions).step_by(2).filter(|_| number < self.each) {
                let session = add(format!("line {line}"), sessions.get(&line).copied(), number);
                sessions.insert(line, session);
            }
            if number < self.alone && number % 2 == half {
                add(format!("alone {number}"), None, number);
            }
        }
        tasks
    }

    /// How many they are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.sessions * self.each + self.alone
    }
}

/// What one task is to do: it begins and ends an entry in its line's diary, which tells of two at once
/// whatever the record says.
fn prompt(machine: &Machine, line: &str, number: usize) -> String {
    let diary = machine.root().join(format!("diary {line}")).display().to_string();
    format!(
        "{line} task {number:02}\n/shell echo begin {number:02} >>'{diary}'\n/stream 20\n/write {number}.txt x\n\
         /shell echo end {number:02} >>'{diary}'"
    )
}

fn ledger(machine: &Machine) -> PathBuf {
    machine.root().join("ledger")
}

/// The first lines of the prompts that arrived at [`AGENT`], in their order.
///
/// # Panics
/// When none did.
#[must_use]
pub fn prompts(machine: &Machine) -> Vec<String> {
    let ledger = fs::read_to_string(ledger(machine)).expect("a ledger");
    ledger.lines().filter_map(|line| Some(line.rsplit('\t').next()?.to_owned())).collect()
}

/// Checks that each prompt arrived once.
///
/// # Panics
/// When one arrived twice.
pub fn assert_no_prompt_twice(machine: &Machine) {
    let prompts = prompts(machine);
    assert_eq!(prompts.len(), prompts.iter().collect::<BTreeSet<_>>().len(), "{prompts:#?}");
}

/// Checks that all tasks completed, in each line one after the other in the order in which they were added,
/// by the record, by the frames, by the agents' ledger and by what they did.
///
/// # Panics
/// When it is not so.
pub fn assert_in_order(site: &Site, tasks: &Tasks) {
    for (session, ids) in tasks {
        let all: Vec<_> = ids.iter().map(|id| site.task(*id)).collect();
        for task in &all {
            assert_eq!((task.session, task.state), (*session, TaskState::Completed), "{task:?}");
        }
        for pair in all.windows(2) {
            assert!(pair[0].finished_at <= pair[1].started_at, "two at once: {pair:#?}");
        }
        let frames = site.frames(*session);
        let mut told: Vec<_> = frames.iter().map(|frame| frame["task_id"].clone()).collect();
        told.dedup();
        let ids: Vec<_> = ids.iter().map(|id| serde_json::json!(id)).collect();
        assert_eq!(told, ids, "the frames of one turn among those of another");
        assert_diary(site, &all);
    }
    assert_no_prompt_twice(&site.machine);
    let mut by_line = BTreeMap::<_, Vec<_>>::new();
    for prompt in prompts(&site.machine) {
        let (line, number) = prompt.split_once(" task ").expect("a prompt of ours");
        by_line.entry(line.to_owned()).or_default().push(number.to_owned());
    }
    let counts = [by_line.values().flatten().count(), tasks.values().flatten().count()];
    assert_eq!(counts[0], counts[1]);
    assert!(by_line.values().all(|numbers| numbers.is_sorted()), "{by_line:#?}");
}

/// Each entry was ended before the next one was begun.
fn assert_diary(site: &Site, tasks: &[Task]) {
    let mut wanted = String::new();
    let mut line = "";
    for task in tasks {
        let (first, _) = task.input.split_once('\n').expect("several lines");
        let (name, number) = first.split_once(" task ").expect("a prompt of ours");
        wanted += &format!("begin {number}\nend {number}\n");
        line = name;
    }
    let diary = fs::read_to_string(site.machine.root().join(format!("diary {line}")));
    assert_eq!(diary.expect("a diary"), wanted, "{line}");
}
