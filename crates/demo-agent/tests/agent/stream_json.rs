//! As Claude Code's host sees it.

use crate::support::Host;
use serde_json::{Value, json};
use std::fs;
use tempfile::tempdir;

const CONTROL: [&str; 3] = ["stream-json", "--include-partial-messages", "--input-format=stream-json"];

fn user(host: &mut Host, text: &str) {
    host.send(&json!({"type": "user", "message": {"role": "user", "content": text}}));
}

fn control(host: &mut Host, id: &str, request: Value) {
    host.send(&json!({"type": "control_request", "request_id": id, "request": request}));
}

/// The lines of a turn, its result last.
fn until_result(host: &Host) -> Vec<Value> {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &Value| line["type"] != "result") {
        lines.push(host.message());
    }
    lines
}

/// What lines say, in short.
fn told(lines: &[Value]) -> Vec<String> {
    let line = |line: &Value| {
        let block = &line["message"]["content"][0];
        let words = [
            &line["type"],
            &line["subtype"],
            &line["event"]["type"],
            &line["event"]["delta"]["text"],
            &block["type"],
            &block["text"],
            &block["name"],
        ];
        words.iter().filter_map(|word| word.as_str()).collect::<Vec<_>>().join(" ")
    };
    lines.iter().map(line).collect()
}

#[test]
fn turns_follow_each_other_and_costs_add_up() {
    let dir = tempdir().unwrap();
    let mut host = Host::start_with(&CONTROL, |command| {
        command.current_dir(&dir);
    });
    control(&mut host, "one", json!({"subtype": "initialize", "hooks": null}));
    let hello = host.message()["response"].take();
    assert_eq!((&hello["subtype"], &hello["request_id"]), (&json!("success"), &json!("one")));
    assert_eq!(hello["response"]["models"][0]["value"], "default");
    for (id, request) in [
        ("two", json!({"subtype": "set_model", "model": "demo-2"})),
        ("three", json!({"subtype": "set_permission_mode", "mode": "plan"})),
    ] {
        control(&mut host, id, request);
        assert_eq!(host.message()["response"]["request_id"], id);
    }
    control(&mut host, "four", json!({"subtype": "rewind"}));
    assert_eq!(host.message()["response"]["error"], "Unsupported control request subtype: rewind");

    // The second one waits for the first.
    user(&mut host, "/say hello\n/write a.txt x\n/usage 700 30 0.25");
    user(&mut host, "/settings\n/usage 1 1 0.5");
    let first = until_result(&host);
    assert_eq!(
        told(&first),
        [
            "system init",
            "stream_event content_block_start",
            "stream_event content_block_delta hello",
            "assistant text hello",
            "stream_event content_block_stop",
            "assistant tool_use Write",
            "user tool_result",
            "result success"
        ]
    );
    assert_eq!((&first[0]["model"], &first[0]["permissionMode"]), (&json!("demo-2"), &json!("plan")));
    assert_eq!(fs::read_to_string(dir.path().join("a.txt")).unwrap(), "x");
    let second = until_result(&host);
    let settings = second.iter().find(|line| line["type"] == "assistant").unwrap();
    assert!(
        settings["message"]["content"][0]["text"].as_str().unwrap().starts_with("mode: plan\nmodel: demo-2")
    );
    let [first, second] = [first, second].map(|lines| lines.last().unwrap().clone());
    assert_eq!((&first["usage"]["input_tokens"], &first["total_cost_usd"]), (&json!(700), &json!(0.25)));
    assert_eq!((&second["usage"]["input_tokens"], &second["total_cost_usd"]), (&json!(1), &json!(0.75)));
    host.close_stdin();
    assert_eq!(host.exit().code(), Some(0));
}

#[test]
fn leave_is_asked_for_and_an_interrupt_takes_the_question_back() {
    let dir = tempdir().unwrap();
    let mut host = Host::start_with(&CONTROL, |command| {
        command.current_dir(&dir);
    });
    for behavior in ["allow", "deny"] {
        user(&mut host, &format!("/ask May I?\n/write {behavior}.txt x"));
        let asked = host.until(|line| line["type"] == "control_request");
        assert_eq!(asked["request"]["subtype"], "can_use_tool");
        let response = json!({"behavior": behavior, "updatedInput": {}, "message": "no"});
        let response = json!({"subtype": "success", "request_id": asked["request_id"], "response": response});
        host.send(&json!({"type": "control_response", "response": response}));
        assert_eq!(until_result(&host).last().unwrap()["is_error"], false);
        assert_eq!(dir.path().join(format!("{behavior}.txt")).exists(), behavior == "allow");
    }
    user(&mut host, "/ask May I?\n/write no.txt x");
    let asked = host.until(|line| line["type"] == "control_request");
    control(&mut host, "stop", json!({"subtype": "interrupt"}));
    let withdrawn = host.until(|line| line["type"] == "control_cancel_request");
    assert_eq!(withdrawn["request_id"], asked["request_id"]);
    let ended = until_result(&host);
    assert_eq!(ended.last().unwrap()["terminal_reason"], "aborted_streaming");
    // While it is idle, an interrupt does nothing, not to the next turn either.
    control(&mut host, "again", json!({"subtype": "interrupt"}));
    user(&mut host, "/say fine");
    assert_eq!(until_result(&host).last().unwrap()["subtype"], "success");
    host.close_stdin();
    assert_eq!(host.exit().code(), Some(0));
}

#[test]
fn a_conversation_is_gone_on_with_under_the_id_that_the_host_chose() {
    let state = tempdir().unwrap();
    let kept = ["--state", state.path().to_str().unwrap()];
    let turn = |args: &[&str], text: &str| {
        let mut host = Host::start(&[&kept, &CONTROL[..], args].concat());
        user(&mut host, text);
        let lines = until_result(&host);
        host.close_stdin();
        host.exit();
        lines
    };
    let first = turn(&["--session-id=abc-1"], "/say I remember");
    assert_eq!(first[0]["session_id"], "abc-1");
    let second = turn(&["--resume", "abc-1"], "/history");
    assert!(told(&second).concat().contains("prompts: 2"), "{:?}", told(&second));
    let mut host = Host::start(&[&kept, &CONTROL[..], &["--resume=other"]].concat());
    assert_eq!(host.exit().code(), Some(1));
    assert!(host.stderr().starts_with("No conversation found with session ID: other"));
}

#[test]
fn one_prompt_on_stdin_for_one_process() {
    for (prompt, subtype, code) in [("/say hello", "success", 0), ("/error -1 out of luck", "success", 1)] {
        let mut host = Host::start(&["stream-json", "-p", "--output-format", "stream-json"]);
        host.send_text(prompt);
        host.close_stdin();
        let lines = until_result(&host);
        assert_eq!(
            (&lines[0]["subtype"], &lines.last().unwrap()["subtype"]),
            (&json!("init"), &json!(subtype))
        );
        assert_eq!((lines.last().unwrap()["is_error"] == true, host.exit().code()), (code == 1, Some(code)));
    }
}

#[test]
fn what_is_wrong_with_its_host_or_itself_shows() {
    let mut host = Host::start(&CONTROL);
    host.send_text("{this is not json\n");
    assert_eq!(host.exit().code(), Some(1));
    let mut host = Host::start(&CONTROL);
    user(&mut host, "/garbage 1\n/exit 7");
    assert_eq!(host.message()["subtype"], "init");
    assert_eq!(host.line().unwrap(), b"this is no JSON\n");
    assert_eq!(host.exit().code(), Some(7), "the process ends, not only its agent");
}
