//! Start, end, and what lasts longer than the process.

use crate::support::{Host, signal, text};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};
use tempfile::tempdir;

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
fn the_help_lists_the_language() {
    let mut host = Host::start(&["--help"]);
    assert_eq!(host.exit().code(), Some(0));
    let mut help = String::new();
    while let Some(line) = host.line() {
        help += std::str::from_utf8(&line).unwrap();
    }
    assert!(help.contains("--fault FAULT") && help.contains("/write PATH TEXT"), "{help}");
}
