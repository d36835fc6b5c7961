//! The whole path with real agents: `boocoder run`, the agent's own program, a scripted model.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::time::Duration;

use boocoder_tests::{
    desk::Desk,
    model_server::{Call, ModelError, Moment, Reply, Script},
    product::{Finished, Live},
    real_agents::{GOOSE, OPENCODE, RealAgent},
};
use serde_json::Value;

/// SIGINT, as a terminal's Ctrl-C sends it.
const INTERRUPT: i32 = 2;

fn desk(agent: &RealAgent) -> Desk {
    // A process for each turn; opencode's server has tests of its own.
    Desk::new(agent, agent.acp_program, "[routes]\nopencode_server = false\n")
}

fn has_type(frame: &Value, kind: &str) -> bool {
    frame["type"] == kind
}

/// The frames of one turn stand in the order of SPEC 4, T7 and T13, numbered from 1 without a gap.
fn assert_in_order(run: &Finished, end: &[&str]) {
    let frames = run.frames();
    for (frame, seq) in frames.iter().zip(1..) {
        assert_eq!(frame["seq"], seq, "{frame}");
    }
    let kinds: Vec<_> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["message_started", "agent_status"]);
    assert_eq!(frames[1]["status"], "working");
    assert_eq!(kinds[kinds.len() - end.len()..], *end);
    let once = ["message_started", "message_complete", "pending_change", "task_state"];
    for kind in once {
        let times = kinds.iter().filter(|found| **found == kind).count();
        assert!(times <= 1, "{kind} came {times} times: {kinds:?}");
    }
}

/// A run, which may take its time: an agent's start alone was seen to take 30 s on a busy machine.
fn start(desk: &Desk, args: &[&str]) -> Live {
    desk.machine.start(desk.args(args)).with_patience(Duration::from_secs(240))
}

fn run(desk: &Desk, args: &[&str]) -> Finished {
    start(desk, args).finish()
}

/// The agent edits two files; the checkout changes only when that was asked for.
fn edits_are_applied_when_asked_for(desk: &Desk) {
    let script = Script::new()
        .then(Reply::new().reasoning(["First ", "I write."]).call(Call::write("new.txt", "one\n")))
        .then(Reply::new().call(Call::edit("README.md", "# A repository", "# The repository")))
        .then(Reply::new().and_text(["All ", "done."]).usage(2000, 30));
    desk.server.when("make the file", script);
    let untouched = desk.repository();

    let kept = run(desk, &["please make the file"]).expect(0);
    assert_in_order(&kept, &["pending_change", "message_complete", "task_state", "agent_status"]);
    assert!(kept.text().ends_with("All done."), "{:?}", kept.text());
    let frames = kept.frames();
    let calls = frames.iter().filter(|frame| has_type(frame, "tool_call"));
    let done = calls.filter(|frame| frame["tool_call"]["status"] == "completed").count();
    assert!(done >= 2, "{frames:#?}");
    assert!(frames.iter().any(|frame| has_type(frame, "reasoning_delta")), "{:?}", kept.kinds());
    let message = frames.iter().find(|frame| has_type(frame, "message_complete")).unwrap();
    assert_eq!(message["status"], "complete");
    let figures = ["input_tokens", "context_used"].map(|name| message["usage"][name].as_u64());
    assert!(figures.iter().any(|figure| *figure > Some(0)), "{message}");
    let result = kept.result();
    assert_eq!((&result["state"], &result["change"]["state"]), (&"completed".into(), &"pending".into()));
    let paths: Vec<_> =
        result["change"]["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(paths, ["README.md", "new.txt"]);
    desk.assert_untouched(&untouched);
    desk.assert_clean();

    let applied = run(desk, &["--apply", "please make the file"]).expect(0);
    assert_eq!(applied.result()["change"]["state"], "applied");
    assert_eq!(desk.machine.read("new.txt").unwrap(), "one\n");
    assert_eq!(desk.machine.read("README.md").unwrap(), "# The repository\n");
    assert_eq!(desk.machine.git(["status", "--porcelain"]), " M README.md\n?? new.txt\n");
    desk.assert_clean();
}

/// A refused key ends the task `failed`, whether the agent answers with an error or tells it as text.
fn a_refused_key_fails_the_task(desk: &Desk) {
    let untouched = desk.repository();
    desk.server.when("hello", Script::new().then(ModelError::Unauthorised));
    let run = run(desk, &["--apply", "hello"]).expect(1);
    assert_in_order(&run, &["message_complete", "task_state", "agent_status"]);
    let frames = run.frames();
    let last = frames.last().unwrap();
    assert_eq!((&last["status"], &last["reason"]), (&"error".into(), &"failed".into()));
    let result = run.result();
    assert_eq!((&result["state"], &result["reason"]), (&"failed".into(), &"unauthorised".into()));
    let summary = result["summary"].as_str().unwrap();
    assert!(summary.contains("Incorrect API key"), "{summary}");
    desk.assert_untouched(&untouched);
    desk.assert_clean();
}

/// Ctrl-C while text streams: cancelled, what was streamed is kept, and the agent's whole tree is gone.
fn ctrl_c_in_text_cancels(desk: &Desk) {
    let untouched = desk.repository();
    desk.server.when("talk", Script::new().then(Reply::words(600).pace(Duration::from_millis(100))));
    let mut live = start(desk, &["please talk"]);
    live.wait_for_frame("delta", |frame| frame["content"].as_str().unwrap().contains("word"));
    live.signal(INTERRUPT);
    let run = live.finish().expect(130);
    desk.assert_clean();
    assert_in_order(&run, &["message_complete", "task_state", "agent_status"]);
    let frames = run.frames();
    let last = frames.last().unwrap();
    assert_eq!((&last["status"], &last["reason"]), (&"idle".into(), &"cancelled".into()));
    assert_eq!((&run.result()["state"], &run.result()["change"]), (&"cancelled".into(), &Value::Null));
    assert!(run.text().starts_with("word1 "), "{:?}", run.text());
    desk.server.wait_for(Moment::HungUp, "talk");
    desk.assert_untouched(&untouched);
}

#[test]
fn real_agent_opencode_edits_and_its_change_is_applied() {
    edits_are_applied_when_asked_for(&desk(&OPENCODE));
}

#[test]
fn real_agent_goose_edits_and_its_change_is_applied() {
    edits_are_applied_when_asked_for(&desk(&GOOSE));
}

#[test]
fn real_agent_opencode_with_a_refused_key_fails() {
    a_refused_key_fails_the_task(&desk(&OPENCODE));
}

#[test]
fn real_agent_goose_with_a_refused_key_fails() {
    a_refused_key_fails_the_task(&desk(&GOOSE));
}

#[test]
fn real_agent_opencode_obeys_ctrl_c_in_text() {
    ctrl_c_in_text_cancels(&desk(&OPENCODE));
}

#[test]
fn real_agent_goose_obeys_ctrl_c_in_text() {
    ctrl_c_in_text_cancels(&desk(&GOOSE));
}
