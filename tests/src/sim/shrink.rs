//! Makes a failing schedule small.

use std::fmt;

use super::{Planted, Report, Schedule, Violation, simulate};

/// How often a schedule is tried again while it is made small.
const TRIES: usize = 4000;

/// A schedule that breaks a promise, made small.
#[derive(Debug)]
pub struct Failure {
    /// What is broken.
    pub violation: Violation,
    /// The picks that break it.
    pub script: Vec<u32>,
    /// One line a step.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.violation.predicate, self.violation.detail)?;
        writeln!(f, "picks: {:?}", self.script)?;
        self.trace.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Leaves out picks, and makes them milder, as long as the same promise is broken; `None` when `picks`
/// break none.
#[must_use]
pub fn shrink(picks: Vec<u32>, planted: Planted) -> Option<Failure> {
    let broken = |script: &[u32]| simulate(Schedule::Script(script.to_vec()), planted, false).broken;
    let predicate = broken(&picks)?.predicate;
    let mut tries = 0;
    let mut still = |script: &[u32]| {
        tries += 1;
        tries < TRIES && broken(script).is_some_and(|violation| violation.predicate == predicate)
    };
    let mut script = picks;
    let mut size = script.len().next_power_of_two();
    while size > 0 {
        let mut at = 0;
        while at < script.len() {
            let end = (at + size).min(script.len());
            let without = [&script[..at], &script[end..]].concat();
            let mut milder = script.clone();
            milder[at..end].fill(0);
            if still(&without) {
                script = without;
            } else if milder != script && still(&milder) {
                script = milder;
                at = end;
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    let Report { broken, trace, .. } = simulate(Schedule::Script(script.clone()), planted, true);
    broken.map(|violation| Failure { violation, script, trace })
}
