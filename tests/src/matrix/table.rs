//! What comes of each cell, and how the docs show it.

use std::fmt::Write;

use super::{DIFFERENCES, Difference, Extent, ROUTES, Route, SCENARIOS, Scenario, WORKERS, Worker};

/// What is to come of a scenario with who works on a route: one of these.
#[must_use]
pub fn expected(route: &Route, worker: Worker, scenario: &Scenario) -> Vec<&'static str> {
    difference(route, worker, scenario)
        .map_or_else(|| vec![scenario.expected], |found| found.observed.to_vec())
}

/// What a cell has in place of what its scenario expects, if anything.
#[must_use]
pub fn difference(route: &Route, worker: Worker, scenario: &Scenario) -> Option<&'static Difference> {
    let fits = |names: &[&str], name| names.is_empty() || names.contains(&name);
    DIFFERENCES.iter().find(|difference| {
        fits(difference.scenarios, scenario.name)
            && fits(difference.workers, worker.name())
            && fits(difference.routes, route.name)
    })
}

/// The matrix as Markdown: a table for each route, then why cells differ.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    let mut reasons = Reasons::default();
    for route in ROUTES {
        let workers: Vec<_> = WORKERS.into_iter().filter(|worker| (route.called)(*worker).is_ok()).collect();
        let names: Vec<_> = workers.iter().map(|worker| worker.name()).collect();
        let rule = " --- |".repeat(workers.len() + 1);
        let _ = write!(text, "\n## {}\n\n| scenario | {} |\n|{rule}\n", route.name, names.join(" | "));
        for scenario in &SCENARIOS {
            let cells: Vec<_> =
                workers.iter().map(|worker| reasons.cell(difference(route, *worker, scenario))).collect();
            let star = if scenario.extent == Extent::Core { "\\*" } else { "" };
            let _ =
                writeln!(text, "| {}{star}: {} | {} |", scenario.name, scenario.expected, cells.join(" | "));
        }
        text += &others(route);
    }
    text += "\n## Why cells differ\n\n";
    for (place, (observed, why)) in reasons.0.iter().enumerate() {
        let _ = writeln!(text, "{}. {}: {why}", place + 1, observed.join(", or "));
    }
    text
}

/// Who cannot be reached by a route, and why: a line for each reason.
fn others(route: &Route) -> String {
    let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
    for worker in WORKERS {
        let Err(why) = (route.called)(worker) else { continue };
        match lines.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(worker.name()),
            None => lines.push((why, vec![worker.name()])),
        }
    }
    let lines = lines.into_iter().map(|(why, names)| format!("\nNot {}: {why}.\n", names.join(", ")));
    lines.collect()
}

/// Why cells differ, each reason once.
#[derive(Default)]
struct Reasons(Vec<(&'static [&'static str], &'static str)>);

impl Reasons {
    /// A tick, or the number of the reason why there is none.
    fn cell(&mut self, difference: Option<&'static Difference>) -> String {
        let Some(Difference { observed, why, .. }) = difference else { return "✓".to_owned() };
        let place = self.0.iter().position(|known| *known == (*observed, *why)).unwrap_or_else(|| {
            self.0.push((observed, why));
            self.0.len() - 1
        });
        format!("[{}]", place + 1)
    }
}
