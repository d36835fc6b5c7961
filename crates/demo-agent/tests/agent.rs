//! The agent as a host sees it.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

mod support;

use serde_json::{Value, json};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    time::{Duration, Instant},
};
use support::{Host, text};
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
fn a_cancel_can_be_ignored_or_answered_wrongly() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let id = host.prompt(&session, "/end-turn-when-cancelled\n/say go\n/stall");
    host.until_update(|update| update["content"]["text"] == "go");
    host.cancel("another");
    host.cancel(&session);
    assert_eq!(host.until_answer(id).1.unwrap()["stopReason"], "end_turn");

    let id = host.prompt(&session, "/ignore-cancel\n/say go\n/sleep 300\n/say went on");
    host.until_update(|update| update["content"]["text"] == "go");
    host.cancel(&session);
    let (messages, answer) = host.until_answer(id);
    assert_eq!(answer.unwrap()["stopReason"], "end_turn");
    assert!(messages.iter().any(|message| message["params"]["update"]["content"]["text"] == "went on"));
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

#[test]
fn a_conversation_survives_the_process() {
    let (dir, state) = (tempdir().unwrap(), tempdir().unwrap());
    let args = ["--state", state.path().to_str().unwrap()];
    let (mut host, session) = Host::with_session(&args, dir.path());
    host.turn(&session, "/say I remember").1.unwrap();
    host.prompt(&session, "/say halfway\n/stall");
    host.until_update(|update| update["content"]["text"] == "halfway");
    host.child.kill().unwrap();
    host.exit();

    let mut host = Host::start(&args);
    assert_eq!(host.initialize(json!({}))["agentCapabilities"]["loadSession"], true);
    let params = json!({"sessionId": session, "cwd": dir.path(), "mcpServers": []});
    let id = host.request("session/load", params.clone());
    let (replayed, answer) = host.until_answer(id);
    assert_eq!(answer.unwrap()["modes"]["currentModeId"], "default");
    let kinds: Vec<_> =
        replayed.iter().map(|message| &message["params"]["update"]["sessionUpdate"]).collect();
    assert_eq!(kinds, ["user_message_chunk", "agent_message_chunk", "user_message_chunk"]);
    let id = host.request("session/resume", params);
    host.until_update(|update| update["sessionUpdate"] == "available_commands_update");
    assert_eq!(host.until_answer(id).0.len(), 0, "resume replays nothing");
    host.message();
    let (updates, _) = host.turn(&session, "/history");
    assert_eq!(text(&updates), "prompts: 3\n- /say I remember\n- /say halfway\n- /history\n");
    let mut stranger = json!({"sessionId": "../../etc/passwd", "cwd": dir.path(), "mcpServers": []});
    assert_eq!(host.call("session/load", stranger.clone()).unwrap_err()["code"], -32002);
    stranger["sessionId"] = json!("demo-0-0-0");
    assert_eq!(host.call("session/load", stranger).unwrap_err()["code"], -32002);
}

#[test]
fn the_ledger_has_a_line_for_every_prompt() {
    let dir = tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let (mut host, session) = Host::with_session(&["--ledger", ledger.to_str().unwrap()], dir.path());
    host.turn(&session, "/say one\tand more\nrest").1.unwrap();
    host.turn(&session, "/wrong").1.unwrap_err();
    let text = fs::read_to_string(&ledger).unwrap();
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
    assert_eq!((lines[0][1], lines[0][2], lines[0][4]), (&*session, "22", "/say one and more"));
    assert_ne!(lines[0][3], lines[1][3]);
}

#[test]
fn faults_from_the_start() {
    let mut host = Host::start(&["--fault", "stderr=cannot find my model", "--fault", "exit=7"]);
    assert_eq!(host.exit().code(), Some(7));
    assert_eq!(host.stderr(), "cannot find my model\n");

    let mut host = Host::start(&["--fault", "garbage"]);
    host.request("initialize", json!({}));
    assert_eq!(host.line().unwrap(), b"Welcome! This is no JSON.\n");
    assert!(serde_json::from_slice::<Value>(&host.line().unwrap()).is_err());

    let mut host = Host::start(&["--fault", "silent"]);
    host.request("initialize", json!({}));
    assert!(host.silent_for(Duration::from_millis(200)));

    let mut host = Host::start(&["--fault", "version=99", "--fault", "slow=100", "--fault", "no-session"]);
    let since = Instant::now();
    assert_eq!(host.initialize(json!({}))["protocolVersion"], 99);
    assert!(since.elapsed() >= Duration::from_millis(100));
    let refused = host.call("session/new", json!({"cwd": "/", "mcpServers": []})).unwrap_err();
    assert_eq!(refused["message"], "this agent makes no sessions");

    let mut host = Host::start(&["--fault", "nonsense"]);
    assert_eq!(host.exit().code(), Some(2));
    assert!(host.stderr().contains("unknown fault \"nonsense\""));
}

#[test]
fn it_ends_as_told() {
    let dir = tempdir().unwrap();
    for (prompt, code, signal) in [
        ("/exit 9", Some(9), None),
        ("/crash", None, Some(11)),
        ("/crash SIGABRT", None, Some(6)),
        ("/crash SIGKILL", None, Some(9)),
    ] {
        let (mut host, session) = Host::with_session(&[], dir.path());
        host.prompt(&session, &format!("/say last words\n{prompt}"));
        assert_eq!(host.message()["params"]["update"]["content"]["text"], "last words", "{prompt}");
        let status = host.exit();
        assert_eq!((status.code(), status.signal()), (code, signal), "{prompt}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no core file");
}

#[test]
fn closing_stdin_ends_it_in_the_middle_of_a_turn_unless_ignored() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    host.prompt(&session, "/say go\n/stall");
    host.until_update(|update| update["content"]["text"] == "go");
    host.close_stdin();
    assert_eq!(host.exit().code(), Some(0));

    let (mut host, session) = Host::with_session(&[], dir.path());
    let id = host.prompt(&session, "/ignore-eof\n/ignore-signals\n/say go\n/sleep 300\n/say still here");
    host.until_update(|update| update["content"]["text"] == "go");
    host.close_stdin();
    signal(host.child.id(), "TERM");
    let (messages, answer) = host.until_answer(id);
    assert!(messages.iter().any(|message| message["params"]["update"]["content"]["text"] == "still here"));
    answer.unwrap();
    assert!(host.child.try_wait().unwrap().is_none());
}

#[test]
fn closed_stdout_is_the_end_of_its_output_but_not_of_it() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    host.prompt(&session, "/say go\n/close-stdout\n/say unheard\n/stall");
    host.until_update(|update| update["content"]["text"] == "go");
    assert_eq!(host.line(), None);
    assert!(host.child.try_wait().unwrap().is_none());
}

#[test]
fn hostile_children_escape_and_are_named() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let (updates, _) = host.turn(&session, "/fork 5");
    let text = text(&updates);
    let children: Vec<(&str, u32)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(kind, pid)| (kind, pid.parse().unwrap()))
        .collect();
    let mut seen = Vec::new();
    for &(kind, pid) in &children {
        signal(pid, "TERM");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u32> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .take(3)
            .map(|f| f.parse().unwrap())
            .collect();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let [parent, group, leader] = fields[..] else { panic!("{stat}") };
        seen.push((kind, parent == host.child.id(), group == pid, leader == pid, environment.is_empty()));
    }
    for (_, pid) in children {
        signal(pid, "KILL");
    }
    assert_eq!(
        seen,
        [
            ("plain", true, false, false, false),
            ("group", true, true, false, false),
            ("session", true, true, true, false),
            ("daemon", false, false, false, false),
            ("cleared", true, false, false, true),
        ]
    );
}

#[test]
fn hostile_lines_are_what_they_say() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let id = host.prompt(&session, "/garbage 5\n/long-line 3000000\n/text 2\n/bad-utf8\n/nul\n/raw hello\n\
                                    /update {\"sessionUpdate\":\"demo_unknown\"}\n/wrong-session x\n/answer-twice\n/late y");
    for _ in 0..5 {
        assert!(serde_json::from_slice::<Value>(&host.line().unwrap()).is_err());
    }
    assert_eq!(host.line().unwrap().len(), 3_000_001);
    assert_eq!(host.message()["params"]["update"]["content"]["text"].as_str().unwrap().len(), 2 << 20);
    let bad = host.line().unwrap();
    assert!(std::str::from_utf8(&bad).is_err() && serde_json::from_slice::<Value>(&bad).is_err());
    assert_eq!(host.message()["params"]["update"]["content"]["text"], "a nul: \0.");
    assert!(host.line().unwrap().windows(6).any(|bytes| bytes == b"\\ud800"));
    assert_eq!(host.line().unwrap(), b"hello\n");
    assert_eq!(host.message()["params"]["update"]["sessionUpdate"], "demo_unknown");
    assert_eq!(host.message()["params"]["sessionId"], "somebody-elses-session");
    host.until_answer(id).1.unwrap();
    host.until_answer(id).1.unwrap();
    assert_eq!(host.message()["params"]["update"]["content"]["text"], "y");
}

#[test]
fn it_asks_the_host_anything_and_tells_the_answer() {
    let dir = tempdir().unwrap();
    let (mut host, session) = Host::with_session(&[], dir.path());
    let id = host.prompt(&session, "/notify x/y {\"a\":1}\n/request craft/drain {\"b\":2}");
    assert_eq!(host.message(), json!({"jsonrpc": "2.0", "method": "x/y", "params": {"a": 1}}));
    assert_eq!(
        host.message(),
        json!({"jsonrpc": "2.0", "id": 0, "method": "craft/drain", "params": {"b": 2}})
    );
    host.send(&json!({"jsonrpc": "2.0", "id": 0, "error": {"code": -32601, "message": "no"}}));
    let said = host.message()["params"]["update"]["content"]["text"].clone();
    assert_eq!(said, "craft/drain refused {\"code\":-32601,\"message\":\"no\"}\n");
    host.until_answer(id).1.unwrap();
}

#[test]
fn it_tells_what_it_can_see() {
    let dir = tempdir().unwrap();
    let mut host = Host::start_with(&[], |command| {
        command.env_clear().env("ONLY_THIS", "value").current_dir("/");
    });
    host.initialize(json!({}));
    let answer = host.call("session/new", json!({"cwd": dir.path(), "mcpServers": []})).unwrap();
    let session = answer["sessionId"].as_str().unwrap().to_owned();
    host.message();
    let (updates, _) = host.turn(&session, "/env\n/env ONLY_THIS\n/env OTHER\n/pwd\n/fds");
    let text = text(&updates);
    let expected = format!(
        "ONLY_THIS\nONLY_THIS=value\nOTHER is not set\nprocess: /\nsession: {}\n",
        dir.path().display()
    );
    let open = text.strip_prefix(&expected).unwrap_or_else(|| panic!("{text}"));
    let (own, inherited): (Vec<_>, Vec<_>) =
        open.lines().map(|line| line.split_once(' ').unwrap()).partition(|(number, _)| number.len() == 1);
    assert_eq!(own.iter().map(|(number, _)| *number).collect::<Vec<_>>(), ["0", "1", "2"], "{open}");
    for (number, target) in inherited {
        let ours = fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
        assert_eq!(ours.to_str().unwrap(), target, "a file of its own stays open");
    }
}

#[test]
fn the_help_lists_the_language() {
    let mut host = Host::start(&["--help"]);
    assert_eq!(host.exit().code(), Some(0));
    let mut help = String::new();
    while let Some(line) = host.line() {
        help += std::str::from_utf8(&line).unwrap();
    }
    assert!(help.contains("--fault FAULT") && help.contains("/write PATH TEXT"), "{help}");
}

/// Sends a signal to a process that must exist.
fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
}
