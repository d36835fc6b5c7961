//! Programs that say too much.

use backends::registry::Output;
use dispatch_core::agent::EndedHow;
use dispatch_core::ports::Close;
use dispatch_core::profile::Stop;
use dispatch_core::task::TerminalReason;

use crate::claude;
use crate::common::Fixture;
use crate::peak::{assert_little_since, peak};
use crate::support::said::text;
use crate::support::turn::{Turn, assert_nothing_left};
use crate::support::waiting::within;

/// Takes and drops 100 MB of an answer that does not end, as the output limit does, and then has it killed.
async fn stop_after_100_mb(turn: &mut Turn) {
    let mut heard = 0;
    while heard < 100_000_000 {
        assert_eq!(within(turn.session.next(&mut turn.updates)).await, None);
        heard += text(&turn.updates).len();
        turn.updates.clear();
    }
    turn.control.stop(Stop::Kill).await;
    assert_eq!(turn.end().await.how, EndedHow::Cancelled);
}

fn long() -> String {
    "0123456789".repeat(1000)
}

fn assert_too_much(how: EndedHow) {
    let EndedHow::Failed(failure) = how else { panic!("{how:?}") };
    assert_eq!(failure.reason, TerminalReason::OutputLimit);
    assert!(failure.text.contains("said more than 128 MiB"), "{}", failure.text);
}

async fn says_nothing_of_meaning(output: Output, script: &str) {
    Fixture::new(Output::Text, "echo warm").run("x").await;
    let before = peak();
    let (_, end) = Fixture::new(output, script).run("x").await;
    assert_too_much(end.how);
    assert_little_since(before);
}

#[tokio::test]
async fn a_program_that_prints_a_gigabyte_in_one_line_is_ended() {
    says_nothing_of_meaning(Output::Claude, r"head -c 1073741824 /dev/zero | tr '\0' x; echo").await;
}

#[tokio::test]
async fn a_program_that_prints_lines_of_nothing_is_ended() {
    says_nothing_of_meaning(Output::Codex, &format!("yes {}", long())).await;
}

#[tokio::test]
async fn a_program_that_prints_what_shows_nothing_is_ended() {
    let script = format!(r#"yes '{{"type":"step_start","part":"{}"}}'"#, long());
    says_nothing_of_meaning(Output::Opencode, &script).await;
}

#[tokio::test]
async fn a_program_that_prints_what_nobody_can_read_is_ended() {
    says_nothing_of_meaning(Output::Text, "cat /dev/zero").await;
}

#[tokio::test]
async fn a_program_that_answers_without_end_costs_little() {
    Fixture::new(Output::Text, "echo warm").run("x").await;
    let before = peak();
    let long = "0123456789".repeat(1000);
    let line =
        format!(r#"{{"type":"assistant","message":{{"content":[{{"type":"text","text":"{long}"}}]}}}}"#);
    for (output, script) in [(Output::Text, format!("yes {long}")), (Output::Claude, format!("yes '{line}'"))]
    {
        let fixture = Fixture::new(output, &script);
        let mut turn = fixture.prompt("x").await;
        stop_after_100_mb(&mut turn).await;
        turn.close(Close::Kill).await;
    }
    assert_little_since(before);
}

async fn claude_says_nothing_of_meaning(prompt: &str) {
    let mut fixture = claude::Fixture::new();
    fixture.run("hello").await;
    let before = peak();
    let mut turn = fixture.prompt(prompt).await;
    assert_too_much(turn.end().await.how);
    turn.close(Close::Return).await;
    assert_little_since(before);
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_claude_that_prints_one_line_without_end_is_ended() {
    claude_says_nothing_of_meaning("raves").await;
}

#[tokio::test]
async fn a_claude_that_prints_what_shows_nothing_is_ended() {
    claude_says_nothing_of_meaning("babbles").await;
}

#[tokio::test]
async fn a_claude_that_answers_without_end_costs_little() {
    let mut fixture = claude::Fixture::new();
    fixture.run("hello").await;
    let before = peak();
    let mut turn = fixture.prompt("chatters").await;
    stop_after_100_mb(&mut turn).await;
    turn.close(Close::Kill).await;
    assert_little_since(before);
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_claude_that_closes_its_output_and_lives_has_crashed() {
    let fixture = claude::Fixture::new();
    let mut turn = fixture.prompt("hushes").await;
    let EndedHow::Crashed(failure) = turn.end().await.how else { panic!("{:?}", turn.updates) };
    assert!(failure.text.contains("closed its output and goes on running"), "{}", failure.text);
    turn.close(Close::Kill).await;
    assert_nothing_left(&fixture.spec.run_tag);
    fixture.shut_down().await;
}
