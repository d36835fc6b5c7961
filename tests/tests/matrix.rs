//! Every scenario with every real agent over every route: `docs/matrix.md` is what comes of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use boocoder_tests::{
    desk::Desk,
    matrix::{DIFFERENCES, ONE_SHOT_ACP, ROUTES, Route, SCENARIOS, Scenario, expected, markdown},
    real_agents::{AGENTS, CLAUDE, CODEX, GEMINI, GOOSE, OPENCODE, QWEN, RealAgent},
};

/// A turn without a word from the agent ends after so many seconds: longer than any start of an agent's tool or
/// answer, and shorter than what agents spend on retries in silence.
const LIMITS: &str = "[limits]\nsilence_s = 30\n";

/// Plays all scenarios with one agent on one route, and compares what came of them.
fn column(route: &Route, agent: &RealAgent) {
    let Ok(name) = (route.agent)(agent) else { return };
    let desk = Desk::new(agent, name, &format!("{}{LIMITS}", route.config));
    let untouched = desk.repository();
    let mut differ = Vec::new();
    for scenario in &SCENARIOS {
        let since = Instant::now();
        let (observed, expected) = (observe(&desk, scenario), expected(route, agent, scenario));
        let seconds = since.elapsed().as_secs_f32();
        let line =
            format!("{} over {}: {:30} {seconds:5.1} s  {observed}", agent.name, route.name, scenario.name);
        println!("{line}");
        if observed != expected {
            differ.push(format!("{line}, not {expected}"));
        }
    }
    desk.assert_untouched(&untouched);
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

fn observe(desk: &Desk, scenario: &Scenario) -> String {
    let played = catch_unwind(AssertUnwindSafe(|| (scenario.play)(desk)));
    let observed = played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        format!("panicked: {}", text.unwrap_or_default())
    });
    match desk.machine.wait_for_no_process(Duration::from_secs(5)) {
        Ok(()) => observed,
        Err(left) => format!("{observed}, but {} processes are left", left.len()),
    }
}

/// A module for each route with a test for each agent, as each test is a process of its own.
macro_rules! columns {
    ($($route:ident: $row:expr;)*) => { $(
        mod $route {
            use super::*;

            #[test]
            fn real_agent_opencode() {
                column(&$row, &OPENCODE);
            }

            #[test]
            fn real_agent_goose() {
                column(&$row, &GOOSE);
            }

            #[test]
            fn real_agent_claude() {
                column(&$row, &CLAUDE);
            }

            #[test]
            fn real_agent_qwen() {
                column(&$row, &QWEN);
            }

            #[test]
            fn real_agent_gemini() {
                column(&$row, &GEMINI);
            }

            #[test]
            fn real_agent_codex() {
                column(&$row, &CODEX);
            }
        }
    )* };
}

columns! {
    one_shot_acp: ONE_SHOT_ACP;
}

#[test]
fn the_docs_show_the_matrix() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/matrix.md");
    let shown = std::fs::read_to_string(&file).expect("docs/matrix.md");
    let wanted = markdown();
    assert!(shown.ends_with(&wanted), "docs/matrix.md is to end with:\n{wanted}");
}

#[test]
fn every_difference_is_that_of_a_cell() {
    for difference in &DIFFERENCES {
        let is_known = |name: &str| AGENTS.iter().any(|agent| agent.name == name);
        assert!(difference.agents.iter().all(|name| is_known(name)), "{difference:?}");
        let is_route = |name: &str| ROUTES.iter().any(|route| route.name == name);
        assert!(difference.routes.iter().all(|name| is_route(name)), "{difference:?}");
        assert!(SCENARIOS.iter().any(|scenario| scenario.name == difference.scenario), "{difference:?}");
    }
}
