//! Where the time of a task goes that a dispatcher of this process takes from the queue to its prompt.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{faults::Faults, figures::Times};

/// A step of a task's way, from the end of one call to the end of another. Calls are the ports' methods; `requested`
/// and `create_task` are what [`Moments::journey`] was told.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What is done in it.
    pub name: &'static str,
    from: &'static str,
    to: &'static str,
}

const fn step(name: &'static str, from: &'static str, to: &'static str) -> Step {
    Step { name, from, to }
}

/// All steps, in order.
pub const STEPS: [Step; 8] = [
    step("task recorded", "requested", "create_task"),
    step("woken and claimed", "create_task", "claim"),
    step("route recorded", "claim", "record_route"),
    step("worktree made", "record_route", "prepare"),
    step("message begun", "prepare", "begin_message"),
    step("`before` checkpoint taken and recorded", "begin_message", "record_checkpoint"),
    step("agent started and ready", "record_checkpoint", "before record_prompt_sent"),
    step("prompt recorded as sent", "before record_prompt_sent", "record_prompt_sent"),
];

/// From the request to the prompt.
pub const REQUEST_TO_PROMPT: Step = step("", "requested", "record_prompt_sent");

/// From the claim to the prompt.
pub const CLAIM_TO_PROMPT: Step = step("", "claim", "record_prompt_sent");

/// The calls of the task that is under way, by the moment of their first end.
#[derive(Debug, Clone, Default)]
pub struct Moments(Arc<Mutex<BTreeMap<&'static str, Instant>>>);

/// The moments of one task.
#[derive(Debug, Clone)]
pub struct Journey(BTreeMap<&'static str, Instant>);

impl Moments {
    /// Observes the calls of all ports that these faults are around.
    #[must_use]
    pub fn of(faults: &Faults) -> Self {
        let moments = Self::default();
        let seen = moments.clone();
        faults.observe(move |call, begin, end| {
            let mut moments = seen.lock();
            if call == "record_prompt_sent" {
                moments.entry("before record_prompt_sent").or_insert(begin);
            }
            // A pass may have found nothing just before.
            if call == "claim" && !moments.contains_key("record_route") {
                moments.insert(call, end);
            }
            moments.entry(call).or_insert(end);
        });
        moments
    }

    /// Forgets the task before.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The moments of a task that has ended, which was requested and recorded at these.
    #[must_use]
    pub fn journey(&self, requested: Instant, created: Instant) -> Journey {
        let mut moments = self.lock().clone();
        moments.insert("requested", requested);
        moments.insert("create_task", created);
        Journey(moments)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journey {
    /// How long a step took.
    ///
    /// # Panics
    /// When the task did not come so far.
    #[must_use]
    pub fn took(&self, step: Step) -> Duration {
        let at = |call| *self.0.get(call).unwrap_or_else(|| panic!("{call} was not called: {self:?}"));
        at(step.to).saturating_duration_since(at(step.from))
    }
}

/// How long a step took in all of these.
#[must_use]
pub fn times(journeys: &[Journey], step: Step) -> Times {
    Times::new(journeys.iter().map(|journey| journey.took(step)).collect())
}
