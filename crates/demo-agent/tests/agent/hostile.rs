//! Misbehaviour, and what a hostile agent could see.

use crate::support::{Host, signal, text};
use serde_json::{Value, json};
use std::fs;
use tempfile::tempdir;

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
