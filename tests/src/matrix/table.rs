//! What comes of each cell, and how the docs show it.

use std::fmt::Write;

use super::{ROUTES, Route, SCENARIOS, Scenario};
use crate::real_agents::{AGENTS, RealAgent};

/// A cell where something else comes of a scenario than is expected.
#[derive(Debug)]
pub struct Difference {
    /// The routes, all when empty.
    pub routes: &'static [&'static str],
    /// The agents.
    pub agents: &'static [&'static str],
    /// The scenario.
    pub scenario: &'static str,
    /// What comes of it.
    pub observed: &'static str,
    /// Why.
    pub why: &'static str,
}

/// All of them.
pub static DIFFERENCES: [Difference; 9] = [
    Difference {
        routes: &[],
        agents: &["opencode", "qwen"],
        scenario: "model's host fails (500)",
        observed: "failed: stalled",
        why: "it asks again for minutes, and says nothing meanwhile",
    },
    Difference {
        routes: &[],
        agents: &["opencode", "goose"],
        scenario: "context too long",
        observed: "completed",
        why: "it compacts the conversation and goes on",
    },
    Difference {
        routes: &[],
        agents: &["goose", "qwen", "gemini", "codex"],
        scenario: "content filter",
        observed: "completed",
        why: "it takes that for an ordinary end",
    },
    Difference {
        routes: &["one-shot ACP"],
        agents: &["codex"],
        scenario: "permission refused",
        observed: "failed: agent_failed",
        why: "it ends the turn as cancelled, though nobody has cancelled it",
    },
    Difference {
        routes: &[],
        agents: &["goose"],
        scenario: "connection cut once",
        observed: "failed: agent_failed, but the answer is not asked for again",
        why: "it tells the error as text and ends the turn",
    },
    Difference {
        routes: &["one-shot ACP"],
        agents: &["gemini"],
        scenario: "connection cut once",
        observed: "failed: model_overloaded, but the answer is not asked for again",
        why: "it gives up once text has come",
    },
    Difference {
        routes: &[],
        agents: &["qwen"],
        scenario: "connection cut once",
        observed: "completed, but the answer is not asked for again",
        why: "it takes the half of the answer for all of it",
    },
    Difference {
        routes: &[],
        agents: &["qwen"],
        scenario: "empty answer",
        observed: "failed: agent_failed",
        why: "it calls that an error, after having asked again for 20 s",
    },
    Difference {
        routes: &[],
        agents: &["gemini"],
        scenario: "context too long",
        observed: "failed: agent_failed",
        why: "Google's words for it are not among those that are known",
    },
];

/// What is to come of a scenario with an agent on a route.
#[must_use]
pub fn expected(route: &Route, agent: &RealAgent, scenario: &Scenario) -> &'static str {
    difference(route, agent, scenario).map_or(scenario.expected, |found| found.observed)
}

fn difference(route: &Route, agent: &RealAgent, scenario: &Scenario) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| {
        difference.scenario == scenario.name
            && difference.agents.contains(&agent.name)
            && (difference.routes.is_empty() || difference.routes.contains(&route.name))
    })
}

/// The matrix as Markdown: a table for each route, then why cells differ.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    let mut reasons: Vec<(String, &str)> = Vec::new();
    for route in ROUTES {
        let agents = AGENTS.map(|agent| agent.name).join(" | ");
        let rule = " --- |".repeat(AGENTS.len() + 1);
        let _ = write!(text, "\n## {}\n\n| scenario | {agents} |\n|{rule}\n", route.name);
        for scenario in &SCENARIOS {
            let cells = AGENTS.map(|agent| cell(route, agent, scenario, &mut reasons));
            let _ = writeln!(text, "| {}: {} | {} |", scenario.name, scenario.expected, cells.join(" | "));
        }
    }
    text += "\n## Why cells differ\n\n";
    for (place, (observed, why)) in reasons.iter().enumerate() {
        let _ = writeln!(text, "{}. {observed}: {why}", place + 1);
    }
    text
}

/// A tick, or the number of the reason why there is none.
fn cell(
    route: &Route,
    agent: &RealAgent,
    scenario: &Scenario,
    reasons: &mut Vec<(String, &'static str)>,
) -> String {
    let (observed, why) = match ((route.agent)(agent), difference(route, agent, scenario)) {
        (Err(why), _) => ("not possible", why),
        (Ok(_), Some(difference)) => (difference.observed, difference.why),
        (Ok(_), None) => return "✓".to_owned(),
    };
    let reason = (observed.to_owned(), why);
    let place = reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    });
    format!("[{}]", place + 1)
}
