//! A turn as lines of `phase + event -> phase: effects`, for snapshots, replay and bug reports.

use std::fmt::Write as _;

use crate::turn::{Effects, Event, Turn, TurnPlan};

/// Runs a turn of `plan` through `events` and writes one line a step; also returns the turn as it then stands.
#[must_use]
pub fn trace(plan: TurnPlan, events: impl IntoIterator<Item = Event>) -> (String, Turn) {
    let (mut turn, effects) = Turn::begin(plan);
    let mut lines = format!("-> {}: {}\n", turn.phase(), list(&effects));
    for event in events {
        let (at, told) = (turn.phase(), event.to_string());
        let effects = turn.step(event);
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{at} + {told} -> {}: {}", turn.phase(), list(&effects));
    }
    (lines, turn)
}

/// Effects on one line.
#[must_use]
pub fn list(effects: &Effects) -> String {
    let names: Vec<_> = effects.iter().map(ToString::to_string).collect();
    format!("[{}]", names.join(", "))
}
