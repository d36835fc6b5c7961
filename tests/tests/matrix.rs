//! The scenarios with every real agent over every route: `docs/matrix.md` is what comes of them.

use std::path::Path;

use boocoder_tests::{
    matrix::{
        CLAUDE_SDK, Column, DIFFERENCES, Extent, NATIVE, ONE_SHOT_ACP, ONE_SHOT_CLI, OPENCODE_SERVER, ROUTES,
        Route, SCENARIOS, WARM_ACP, WORKERS, Worker, difference, markdown,
    },
    real_agents::{CLAUDE, CODEX, GEMINI, GOOSE, OPENCODE, QWEN},
};

/// A module for each route with a test for each column, as each test is a process of its own, and with how much of it is
/// played unless the environment says otherwise: everything where that takes a minute, elsewhere the core of it.
macro_rules! columns {
    ($($module:ident: $route:ident { $($test:ident: $worker:expr, $extent:ident;)* })*) => {
        $(mod $module {
            use super::*;

            $(#[test]
            fn $test() {
                let column = Column { route: &$route, worker: $worker };
                column.play(Extent::asked().unwrap_or(Extent::$extent));
            })*
        })*

        /// The columns that have a test.
        fn tested() -> Vec<(&'static str, &'static str)> {
            vec![$($(($route.name, $worker.name()),)*)*]
        }
    };
}

columns! {
    native_inference: NATIVE {
        without_an_agent: Worker::Native, Whole;
    }
    opencode_server: OPENCODE_SERVER {
        real_agent_opencode: Worker::Agent(&OPENCODE), Core;
    }
    claude_sdk: CLAUDE_SDK {
        real_agent_claude: Worker::Agent(&CLAUDE), Core;
    }
    warm_acp: WARM_ACP {
        real_agent_opencode: Worker::Agent(&OPENCODE), Core;
        real_agent_goose: Worker::Agent(&GOOSE), Whole;
        real_agent_claude: Worker::Agent(&CLAUDE), Core;
        real_agent_qwen: Worker::Agent(&QWEN), Core;
        real_agent_gemini: Worker::Agent(&GEMINI), Core;
        real_agent_codex: Worker::Agent(&CODEX), Core;
    }
    one_shot_acp: ONE_SHOT_ACP {
        real_agent_opencode: Worker::Agent(&OPENCODE), Core;
        real_agent_goose: Worker::Agent(&GOOSE), Core;
        real_agent_claude: Worker::Agent(&CLAUDE), Core;
        real_agent_qwen: Worker::Agent(&QWEN), Core;
        real_agent_gemini: Worker::Agent(&GEMINI), Core;
        real_agent_codex: Worker::Agent(&CODEX), Core;
    }
    one_shot_cli: ONE_SHOT_CLI {
        real_agent_opencode: Worker::Agent(&OPENCODE), Core;
        real_agent_goose: Worker::Agent(&GOOSE), Core;
        real_agent_claude: Worker::Agent(&CLAUDE), Core;
        real_agent_qwen: Worker::Agent(&QWEN), Core;
        real_agent_gemini: Worker::Agent(&GEMINI), Core;
        real_agent_codex: Worker::Agent(&CODEX), Core;
    }
}

#[test]
fn every_column_that_can_be_has_a_test() {
    let cells = ROUTES.into_iter().flat_map(|route| WORKERS.map(|worker| (route, worker)));
    let can_be = cells.filter(|(route, worker)| (route.called)(*worker).is_ok());
    assert_eq!(tested(), can_be.map(|(route, worker)| (route.name, worker.name())).collect::<Vec<_>>());
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
    let is_among = |names: &[&str], known: &[&str]| names.iter().all(|name| known.contains(name));
    let scenarios: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    let columns = ROUTES.into_iter().flat_map(|route| WORKERS.map(|worker| (route, worker)));
    let columns: Vec<_> = columns.filter(|(route, worker)| (route.called)(*worker).is_ok()).collect();
    for wanted in DIFFERENCES {
        assert!(is_among(wanted.workers, &WORKERS.map(Worker::name)), "{wanted:?}");
        assert!(is_among(wanted.routes, &ROUTES.map(|route| route.name)), "{wanted:?}");
        assert!(is_among(wanted.scenarios, &scenarios), "{wanted:?}");
        let is_its = |(route, worker): &(&Route, Worker)| {
            let mut found = SCENARIOS.iter().filter_map(|scenario| difference(route, *worker, scenario));
            found.any(|found| std::ptr::eq(found, wanted))
        };
        assert!(columns.iter().any(is_its), "no cell is told by {wanted:?}");
    }
}
