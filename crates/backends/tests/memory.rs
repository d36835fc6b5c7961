//! What an agent makes its dispatcher hold in memory. A test program of its own, whose peak is this test's.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

#[path = "acp/agent_process.rs"]
#[allow(dead_code, reason = "shared with the tests of `acp`")]
mod agent_process;
#[path = "acp/common.rs"]
#[allow(dead_code, reason = "shared with the tests of `acp`")]
mod common;

use common::Fixture;
use dispatch_core::agent::{EndedHow, NoticeCode};

/// The most memory that this process has had so far, in bytes (proc(5): `VmHWM`).
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn long_lines_cost_no_memory() {
    for fixture in Fixture::each(&[]) {
        fixture.run("/say warm").await;
        let before = peak();
        // No line end and no message in 120 MB, of which up to the limit of a line is kept.
        let (_, end) = fixture.run("/long-line 120000000\n/say through").await;
        assert_eq!(end.how, EndedHow::Completed);
        is_little(peak() - before);
        fixture.over().await;
    }
}

#[tokio::test]
async fn lines_of_tiny_values_cost_no_memory() {
    let tiny = r#"
/tiny 16000000 rawInput {"a":1}
/tiny 16000000 rawOutput []
/tiny 16000000 locations {"path":""}
/tiny 16000000 content {"type":"terminal","terminalId":""}
/say through"#;
    for fixture in Fixture::each(&[]) {
        fixture.run("/say warm").await;
        let before = peak();
        let (said, end) = fixture.run(tiny.trim_start()).await;
        assert_eq!((said.text().as_str(), end.how), ("through", EndedHow::Completed));
        assert!(said.notice(NoticeCode::AgentOddity).is_some());
        is_little(peak() - before);
        fixture.over().await;
    }
}

#[tokio::test]
async fn what_is_said_between_turns_costs_no_memory() {
    let fixture = Fixture::warm(&[]);
    fixture.run("/say warm").await;
    let before = peak();
    for what in ["/flood 60", "/long-line 2000000000"] {
        fixture.run(&format!("/say done\n/answer-now\n{what}")).await;
        fixture.until_kept(0).await;
    }
    is_little(peak() - before);
    fixture.over().await;
}

fn is_little(more: usize) {
    assert!(more < 64 << 20, "{} MiB more", more >> 20);
}
