//! What a dispatcher is told, and what it tells at its end.

use std::{collections::BTreeMap, thread::available_parallelism, time::Duration};

use dispatch_core::task::{Name, TaskState};

use crate::turn::TurnReport;

/// How a dispatcher works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatcherConfig {
    /// How many turns may run at once.
    pub slots: usize,
    /// How many turns of an agent may run at once, for agents that have a limit; `None` is native inference.
    pub per_agent: BTreeMap<Option<Name>, usize>,
    /// How often to look for tasks that no wake-up told of, ± 10 % (SPEC D1).
    pub poll: Duration,
    /// How long turns may go on after a shutdown began (SPEC D7).
    pub grace: Duration,
}

impl Default for DispatcherConfig {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            slots: (2 * cores).max(4),
            per_agent: BTreeMap::new(),
            poll: Duration::from_secs(2),
            grace: Duration::from_secs(30),
        }
    }
}

/// How a dispatcher is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// No new claims; turns get the grace period, then they are stopped.
    Graceful,
    /// At once: turns are stopped without patience.
    Now,
}

/// What became of a dispatcher's turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Turns that completed.
    pub completed: u64,
    /// Turns that failed.
    pub failed: u64,
    /// Turns that were stopped.
    pub cancelled: u64,
    /// Turns whose tasks are pending again.
    pub requeued: u64,
    /// Turns whose end somebody else writes.
    pub abandoned: u64,
    /// How often it joined again, as another node.
    pub rejoined: u64,
}

impl Summary {
    pub(super) fn count(&mut self, report: &TurnReport) {
        *match report {
            TurnReport::Settled { state: TaskState::Completed, .. } => &mut self.completed,
            TurnReport::Settled { state: TaskState::Cancelled, .. } => &mut self.cancelled,
            TurnReport::Settled { .. } => &mut self.failed,
            TurnReport::Requeued => &mut self.requeued,
            TurnReport::Abandoned => &mut self.abandoned,
        } += 1;
    }
}
