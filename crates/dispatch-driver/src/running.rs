//! The turns that run on a node, as far as they are told things.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use dispatch_core::ids::TaskId;

use crate::inbox::{Signal, TurnHandle};

/// The turns that run on a node.
#[derive(Default)]
pub(crate) struct Running(Mutex<Turns>);

#[derive(Default)]
struct Turns {
    by_task: BTreeMap<TaskId, TurnHandle>,
    /// What was told to all: a turn that is just being claimed has not begun to listen.
    told_all: Vec<Signal>,
}

/// A turn that is told things as long as this lives, however its run ends.
pub(crate) struct Listed<'a>(&'a Running, TaskId);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.with(|turns| turns.by_task.remove(&self.1));
    }
}

impl Running {
    fn with<T>(&self, look: impl FnOnce(&mut Turns) -> T) -> T {
        // The map is consistent between any two statements, so a panic elsewhere does not spoil it.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn tell(&self, task: TaskId, signal: Signal) {
        if let Some(turn) = self.with(|turns| turns.by_task.get(&task).cloned()) {
            turn.send(signal);
        }
    }

    pub(crate) fn list(&self, task: TaskId, turn: TurnHandle) -> Listed<'_> {
        self.with(|turns| {
            turns.told_all.iter().for_each(|signal| turn.send(signal.clone()));
            turns.by_task.insert(task, turn);
        });
        Listed(self, task)
    }

    /// Tells all turns, also those that are listed later.
    pub(crate) fn tell_all(&self, signal: &Signal) {
        self.with(|turns| {
            turns.told_all.push(signal.clone());
            turns.by_task.values().for_each(|turn| turn.send(signal.clone()));
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.with(|turns| turns.by_task.is_empty())
    }

    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        self.with(|turns| turns.by_task.keys().copied().collect())
    }
}
