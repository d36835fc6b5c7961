//! What a turn does.

use crate::support::{Host, signal, text};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};
use tempfile::tempdir;

#[test]
fn a_prompt_without_directives_leaves_a_note() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let (updates, answer) = host.turn(&session, "Add a test\nfor the parser");
    assert_eq!(answer.unwrap()["stopReason"], "end_turn");
    assert!(text(&updates).starts_with("Hello, I am the demo agent."));
    assert!(updates.iter().filter(|update| update["sessionUpdate"] == "agent_message_chunk").count() > 10);
    let note = fs::read_to_string(dir.path().join("DEMO.md")).unwrap();
    assert_eq!(note, "# Notes of the demo agent\n\n> Add a test\n> for the parser\n");
    host.close_stdin();
    assert_eq!(host.exit().code(), Some(0));
}

#[test]
fn plan_mode_changes_nothing_of_its_own_accord() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    host.call("session/set_mode", json!({"sessionId": session, "modeId": "plan"})).unwrap();
    let (updates, _) = host.turn(&session, "Add a test");
    assert!(updates.iter().any(|update| update["sessionUpdate"] == "plan"), "{updates:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn settings_are_set_announced_and_refused() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let at = |more: Value| {
        let mut params = json!({"sessionId": session});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    assert_eq!(host.call("session/set_model", at(json!({"modelId": "demo-2"}))), Ok(json!({})));
    assert_eq!(host.message()["params"]["update"]["sessionUpdate"], "config_option_update");
    let option = at(json!({"configId": "thought_level", "value": "high"}));
    let answer = host.call("session/set_config_option", option).unwrap();
    assert_eq!(answer["configOptions"][2]["currentValue"], "high");
    let refused = host.call("session/set_mode", at(json!({"modeId": "none"}))).unwrap_err();
    assert_eq!(refused["code"], -32602);
    let (updates, _) = host.turn(&session, "/settings");
    assert_eq!(text(&updates), "mode: default\nmodel: demo-2\nthought_level: high\n");
}

#[test]
fn files_are_changed_as_the_prompt_says() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let prompt = "/write a.txt one\\n\n/append a.txt two\\n\n/write \"b c/d e.txt\" x\n/rename a.txt z.txt\n\
                  /chmod 755 z.txt\n/symlink z.txt link\n/mkdir empty\n/write gone y\n/delete gone\n/read z.txt\n\
                  /delete missing";
    let (updates, answer) = host.turn(&session, prompt);
    assert_eq!(answer.unwrap()["stopReason"], "end_turn");
    let path = |name: &str| dir.path().join(name);
    assert_eq!(fs::read_to_string(path("link")).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(path("b c/d e.txt")).unwrap(), "x");
    assert_eq!(fs::metadata(path("z.txt")).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(path("empty").is_dir() && !path("gone").exists() && !path("a.txt").exists());
    let ends: Vec<_> =
        updates.iter().filter(|update| update["sessionUpdate"] == "tool_call_update").collect();
    let failed = ends.iter().filter(|update| update["status"] == "failed").count();
    assert_eq!((ends.len(), failed), (11, 1), "{ends:?}");
    let append =
        json!([{"type": "diff", "path": path("a.txt"), "oldText": "one\n", "newText": "one\ntwo\n"}]);
    assert_eq!(ends[1]["content"], append);
}

#[test]
fn a_typing_error_fails_the_prompt() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let error = host.turn(&session, "/wirte a.txt x").1.unwrap_err();
    assert_eq!(error["code"], -32602);
    assert_eq!(error["message"], "line 1: /wirte: there is no such directive; /help lists them");
}

#[test]
fn a_stream_has_every_chunk_in_order() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let (updates, _) = host.turn(&session, "/stream 50000");
    let expected: String = (0..50_000).map(|number| format!("{number:019} ")).collect();
    assert_eq!(
        updates.iter().filter(|update| update["sessionUpdate"] == "agent_message_chunk").count(),
        50_000
    );
    assert_eq!(text(&updates), expected);
}

#[test]
fn the_answer_has_usage_and_the_stop_reason_asked_for() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let (updates, answer) = host.turn(&session, "/usage 700 30 0.25\n/stop made_up");
    let answer = answer.unwrap();
    assert_eq!(answer["stopReason"], "made_up");
    assert_eq!(answer["usage"], json!({"inputTokens": 700, "outputTokens": 30, "totalTokens": 730}));
    let cost = json!({"amount": 0.25, "currency": "USD"});
    assert_eq!(
        updates,
        [json!({"sessionUpdate": "usage_update", "used": 730, "size": 100_000, "cost": cost})]
    );
    let error = host.turn(&session, "/error -31002 out of luck").1.unwrap_err();
    assert_eq!(error, json!({"code": -31002, "message": "out of luck"}));
}

#[test]
fn permission_lists_allow_always_first_and_obeys_the_answer() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let cases = [("demo-once", true), ("demo-always", true), ("demo-reject", false)];
    for (number, (option, allowed)) in cases.into_iter().enumerate() {
        let id = host.prompt(&session, "/ask May I?\n/write allowed yes\n/delete allowed");
        assert_eq!(host.message()["params"]["update"]["status"], "pending");
        let ask = host.message();
        assert_eq!(ask["method"], "session/request_permission");
        assert_eq!(ask["id"], number, "its ids begin at 0");
        let kinds: Vec<_> = ask["params"]["options"].as_array().unwrap().iter().map(|o| &o["kind"]).collect();
        assert_eq!(kinds, ["allow_always", "allow_once", "reject_once"]);
        let outcome = json!({"outcome": {"outcome": "selected", "optionId": option}});
        host.send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": outcome}));
        let (messages, answer) = host.until_answer(id);
        assert_eq!(answer.unwrap()["stopReason"], "end_turn");
        let wrote = messages.iter().any(|message| message["params"]["update"]["title"] == "Write allowed");
        assert_eq!(wrote, allowed, "{option}");
    }
}

#[test]
fn a_cancelled_permission_request_ends_the_turn_as_cancelled() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let id = host.prompt(&session, "/string-ids\n/ask-unseen May I?\n/write no x");
    let ask = host.message();
    assert_eq!(ask["id"], "demo-0");
    host.cancel(&session);
    assert!(host.silent_for(Duration::from_millis(100)), "an open request holds the turn");
    let outcome = json!({"outcome": {"outcome": "cancelled"}});
    host.send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": outcome}));
    assert_eq!(host.until_answer(id).1.unwrap(), json!({"stopReason": "cancelled"}));
    assert!(!dir.path().join("no").exists());
}

#[test]
fn a_cancel_is_heard_wherever_the_turn_is() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    for prompt in
        ["/say go\n/stall", "/say go\n/sleep 60000", "/say go\n/shell sleep 60", "/say go\n/flood 60"]
    {
        let id = host.prompt(&session, &format!("{prompt}\n/write no x"));
        host.until_update(|update| update["content"]["text"] == "go");
        let since = Instant::now();
        host.cancel(&session);
        assert_eq!(host.until_answer(id).1.unwrap()["stopReason"], "cancelled", "{prompt}");
        assert!(since.elapsed() < Duration::from_secs(10), "{prompt}");
    }
    assert!(!dir.path().join("no").exists());
}

#[test]
fn one_turn_at_a_time_and_strangers_are_refused() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let first = host.prompt(&session, "/stall");
    let second = host.prompt(&session, "/say second");
    assert_eq!(host.until_answer(second).1.unwrap_err()["message"], "A turn is already running");
    host.cancel(&session);
    host.until_answer(first).1.unwrap();
    assert_eq!(host.turn("no-such-session", "/say x").1.unwrap_err()["code"], -32002);
    assert_eq!(host.call("no/such/method", json!({})).unwrap_err()["code"], -32601);
    let relative = host.call("session/new", json!({"cwd": "here", "mcpServers": []})).unwrap_err();
    assert_eq!(relative["code"], -32602);
}

#[test]
fn a_command_s_output_is_streamed_and_its_failure_told() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let (updates, _) = host.turn(&session, "/shell echo out; echo err >&2; exit 3\n/shell pwd");
    let ends: Vec<_> = updates.iter().filter(|update| update.get("rawOutput").is_some()).collect();
    assert_eq!(ends[0]["status"], "failed");
    assert_eq!(ends[0]["rawOutput"], json!({"exitCode": 3, "output": "out\nerr\n"}));
    let here = dir.path().canonicalize().unwrap();
    assert_eq!(ends[1]["rawOutput"]["output"], format!("{}\n", here.display()));
}

#[test]
fn a_command_s_leftover_that_holds_its_pipe_does_not_hold_the_turn() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let (updates, _) = host.turn(&session, "/shell sleep 60 & echo $!");
    let ended = updates.iter().find(|update| update.get("rawOutput").is_some()).unwrap();
    let pid = ended["rawOutput"]["output"].as_str().unwrap().trim().to_owned();
    // It still runs, or this fails.
    signal(pid.parse().unwrap(), "KILL");
}

#[test]
fn the_host_s_terminal_and_files_are_used_when_offered() {
    let dir = tempdir().unwrap();
    let mut host = Host::start(&[]);
    host.initialize(json!({"fs": {"readTextFile": true}, "terminal": true}));
    let answer = host.call("session/new", json!({"cwd": dir.path(), "mcpServers": []})).unwrap();
    let session = answer["sessionId"].as_str().unwrap().to_owned();
    let id = host.prompt(&session, "/terminal echo hi\n/read a.txt\n/outside /etc/x");
    let mut asked = Vec::new();
    loop {
        let message = host.message();
        if message["id"] == id && message.get("result").is_some() {
            break;
        }
        let Some(method) = message["method"].as_str().filter(|_| message.get("id").is_some()) else {
            continue;
        };
        asked.push(method.to_owned());
        let answer = match method {
            "terminal/create" => json!({"result": {"terminalId": "t1"}}),
            "terminal/wait_for_exit" => json!({"result": {"exitCode": 0}}),
            "terminal/output" => json!({"result": {"output": "hi\n", "truncated": false}}),
            "fs/read_text_file" => json!({"result": {"content": "from the host"}}),
            "fs/write_text_file" => json!({"error": {"code": -32602, "message": "outside"}}),
            _ => json!({"result": {}}),
        };
        let mut answer = answer;
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = message["id"].clone();
        host.send(&answer);
    }
    let expected = [
        "terminal/create",
        "terminal/wait_for_exit",
        "terminal/output",
        "terminal/release",
        "fs/read_text_file",
        "fs/write_text_file",
    ];
    assert_eq!(asked, expected);
}
