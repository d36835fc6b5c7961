//! Stop as a user asks for it: by a command of its own.

use std::collections::BTreeSet;

use dispatch_core::ids::TaskId;

use crate::{product::Live, queue::Site};

/// What `boocoder task stop` says (SPEC S1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// Its turn is being stopped.
    Stopping,
    /// It was only waiting.
    Cancelled,
    /// Nothing of it runs any more.
    Stopped,
    /// It had ended like this before.
    AlreadyEnded(String),
}

impl Answer {
    fn of(line: &str, task: TaskId) -> Self {
        let (id, words) = line.split_once(' ').expect("a task and what became of it");
        assert!(id.len() >= 4 && task.to_string().starts_with(id), "{line:?} is not about {task}");
        match words {
            "stopping" => Self::Stopping,
            "cancelled" => Self::Cancelled,
            "stopped" => Self::Stopped,
            other => match other.strip_prefix("already ended: ") {
                Some(state) => Self::AlreadyEnded(state.to_owned()),
                None => panic!("{line:?} is no answer"),
            },
        }
    }

    /// That it had ended like this before.
    #[must_use]
    pub fn ended(state: &str) -> Self {
        Self::AlreadyEnded(state.to_owned())
    }
}

/// Stops a task.
///
/// # Panics
/// When the command fails, or says more than one thing.
pub fn stop(site: &Site, task: TaskId) -> Answer {
    asked(site, task, &[])
}

/// Stops a task, and waits until nothing of it runs any more.
///
/// # Panics
/// When the command fails, or says more than one thing.
pub fn stop_and_wait(site: &Site, task: TaskId) -> Answer {
    asked(site, task, &["--wait"])
}

fn asked(site: &Site, task: TaskId, more: &[&str]) -> Answer {
    answer(command(site, task, more), task)
}

fn command(site: &Site, task: TaskId, more: &[&str]) -> Live {
    let mut command = site.machine.boocoder(["task", "stop", &task.to_string()]);
    command.args(more);
    Live::start(command)
}

fn answer(live: Live, task: TaskId) -> Answer {
    let finished = live.finish().expect(0);
    assert_eq!(finished.stdout.len(), 1, "{finished:?}");
    Answer::of(&finished.stdout[0], task)
}

/// Stops a task by so many processes at once, every second of which waits; returns the different answers.
///
/// # Panics
/// When one of them fails, or says more than one thing.
pub fn many_stops(site: &Site, task: TaskId, count: usize) -> BTreeSet<Answer> {
    let wait = |number: usize| if number.is_multiple_of(2) { &[][..] } else { &["--wait"][..] };
    let all: Vec<_> = (0..count).map(|number| command(site, task, wait(number))).collect();
    all.into_iter().map(|live| answer(live, task)).collect()
}
