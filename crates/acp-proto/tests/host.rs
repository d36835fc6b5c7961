//! The host's files and terminals behind a connection.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/processes.rs"]
mod processes;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acp_proto::client::{Client, Config, Event, Events};
use acp_proto::host::{FileLimits, Host, MissingFile, TerminalLimits};
use acp_proto::schema::ContentBlock;
use processes::Processes;
use serde_json::{Value, json};
use support::{Agent, DEADLINE, next, start_with};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::OpenOptions;
use tokio::time::timeout;

struct Ground {
    _temporary: TempDir,
    root: PathBuf,
    client: Client,
    events: Events,
    agent: Agent,
}

/// A session `s1` in a folder of its own.
async fn ground(host: Host) -> Ground {
    let temporary = TempDir::new().unwrap();
    let root = temporary.path().canonicalize().unwrap();
    let (client, events, mut agent) = start_with(Config::default(), Arc::new(host));
    let opening = tokio::spawn({
        let (client, root) = (client.clone(), root.clone());
        async move { client.new_session(&root, &[]).await }
    });
    let (id, _) = agent.hear_call("session/new").await;
    agent.answer(&id, json!({"sessionId": "s1"})).await;
    // At once: the session must be known although its caller has not heard of it.
    let mut ground = Ground { _temporary: temporary, root, client, events, agent };
    let missing = ground.path("not-there");
    let early = ground.ask("fs/read_text_file", json!({"sessionId": "s1", "path": missing})).await;
    assert!(
        early.get("result").is_some()
            || early["error"]["message"].as_str().unwrap().contains("does not exist"),
        "{early}"
    );
    opening.await.unwrap().unwrap();
    ground
}

impl Ground {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A request of the agent, and the host's answer.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.agent.say(json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params})).await;
        let answer = self.agent.hear().await;
        assert_eq!(answer["id"], method);
        answer
    }

    async fn result(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params).await;
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].take()
    }

    async fn error(&mut self, method: &str, params: Value) -> (i64, String) {
        let answer = self.ask(method, params).await;
        let error = &answer["error"];
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn files_are_served_inside_the_session_and_refusals_do_not_end_the_turn() {
    let mut ground = ground(Host::new(MissingFile::Refuse)).await;
    let path = ground.path("dir/new.txt");
    let write = json!({"sessionId": "s1", "path": path, "content": "a\nb\nc\n"});
    assert_eq!(ground.result("fs/write_text_file", write).await, json!({}));
    let read = json!({"sessionId": "s1", "path": path, "line": 2, "limit": 1});
    assert_eq!(ground.result("fs/read_text_file", read).await, json!({"content": "b\n"}));

    let (code, message) = ground.error("fs/read_text_file", json!({"sessionId": "s2", "path": path})).await;
    assert_eq!((code, message.as_str()), (-32002, "no session has the id s2"));
    let outside = json!({"sessionId": "s1", "path": "/etc/passwd"});
    assert_eq!(ground.error("fs/read_text_file", outside).await.0, -32602);
    let missing = json!({"sessionId": "s1", "path": ground.path("none")});
    assert_eq!(ground.error("fs/read_text_file", missing).await.0, -32002);
    assert_eq!(ground.error("fs/read_text_file", json!({"path": 1})).await.0, -32602);
    assert_eq!(
        ground.error("terminal/create", json!({"sessionId": "s1", "command": "true"})).await.0,
        -32601
    );
    assert_eq!(ground.error("no/such_method", json!({})).await.0, -32601);

    ground.agent.text("s1", "goes on").await;
    assert!(matches!(next(&mut ground.events).await, Event::Answered { .. }));
    assert!(matches!(next(&mut ground.events).await, Event::Update(_)));
}

#[tokio::test]
async fn a_missing_file_is_empty_for_agents_that_need_it() {
    let mut ground = ground(Host::new(MissingFile::Empty)).await;
    let missing = json!({"sessionId": "s1", "path": ground.path("new.txt")});
    assert_eq!(ground.result("fs/read_text_file", missing).await, json!({"content": ""}));
}

#[tokio::test]
async fn a_terminal_as_goose_uses_it() {
    let mut ground =
        ground(Host::new(MissingFile::Refuse).with_terminals(Arc::new(Processes::default()))).await;
    let create = json!({"sessionId": "s1", "command": "echo hi && pwd", "cwd": ground.root, "outputByteLimit": 50_000});
    let created = ground.result("terminal/create", create).await;
    let terminal = json!({"sessionId": "s1", "terminalId": created["terminalId"]});
    let exit = json!({"exitCode": 0, "signal": null});
    assert_eq!(ground.result("terminal/wait_for_exit", terminal.clone()).await, exit);
    let text = format!("hi\n{}\n", ground.root.display());
    let output = json!({"output": text, "truncated": false, "exitStatus": exit});
    assert_eq!(ground.result("terminal/output", terminal.clone()).await, output);
    assert_eq!(ground.result("terminal/kill", terminal.clone()).await, json!({}));
    assert_eq!(ground.result("terminal/release", terminal.clone()).await, json!({}));
    assert_eq!(ground.error("terminal/output", terminal).await.0, -32002);
    let elsewhere = json!({"sessionId": "s1", "command": "pwd", "cwd": "/"});
    assert_eq!(ground.error("terminal/create", elsewhere).await.0, -32602);
}

#[tokio::test]
async fn a_cancel_kills_the_terminals_of_the_session_and_answers_who_waits() {
    let mut ground =
        ground(Host::new(MissingFile::Refuse).with_terminals(Arc::new(Processes::default()))).await;
    ground.client.prompt("s1", &[ContentBlock::from("run it")]).await.unwrap();
    ground.agent.hear_call("session/prompt").await;
    let create = json!({"sessionId": "s1", "command": "exec sleep 600"});
    let created = ground.result("terminal/create", create).await;
    let terminal = json!({"sessionId": "s1", "terminalId": created["terminalId"]});
    let running = ground.result("terminal/output", terminal.clone()).await;
    assert_eq!(running, json!({"output": "", "truncated": false}));
    let wait = json!({"jsonrpc": "2.0", "id": 7, "method": "terminal/wait_for_exit", "params": terminal});
    ground.agent.say(wait).await;
    ground.client.cancel("s1").await.unwrap();
    let heard = [ground.agent.hear().await, ground.agent.hear().await];
    assert!(heard.iter().any(|line| line["method"] == "session/cancel"), "{heard:?}");
    // Killed while it was waited for, or gone before.
    let answer = heard.iter().find(|line| line["id"] == 7).unwrap();
    assert!(answer["result"]["signal"].is_string() || answer["error"]["code"] == -32002, "{answer}");
}

#[tokio::test]
async fn a_connection_that_is_dropped_takes_its_terminals_along() {
    let Ground { _temporary, root, client, events, mut agent } =
        ground(Host::new(MissingFile::Refuse).with_terminals(Arc::new(Processes::default()))).await;
    // A pipe that the command holds open as long as it lives.
    let fifo = root.join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut alive = OpenOptions::new().open_receiver(&fifo).unwrap();
    let params = json!({"sessionId": "s1", "command": "exec > fifo; echo up; exec sleep 600"});
    agent.say(json!({"jsonrpc": "2.0", "id": 1, "method": "terminal/create", "params": params})).await;
    let mut up = [0; 3];
    timeout(DEADLINE, agent.hear()).await.expect("an answer in time");
    timeout(DEADLINE, alive.readable()).await.expect("a start in time").unwrap();
    while alive.try_read(&mut up).is_err() {
        timeout(DEADLINE, alive.readable()).await.expect("a start in time").unwrap();
    }
    assert_eq!(&up, b"up\n");
    drop(events);
    let mut rest = Vec::new();
    timeout(DEADLINE, alive.read_to_end(&mut rest)).await.expect("an end in time").unwrap();
    drop(client);
}

#[tokio::test]
async fn what_the_host_announces_is_what_it_serves() {
    let plain = serde_json::to_value(Host::new(MissingFile::Refuse).capabilities()).unwrap();
    assert_eq!(plain["fs"], json!({"readTextFile": true, "writeTextFile": true}));
    assert_eq!(plain["terminal"], false);
    let limits = (FileLimits { read: 1, write: 1 }, TerminalLimits::default());
    let host = Host::new(MissingFile::Refuse).with_terminals(Arc::new(Processes::default()));
    let mut ground = ground(host.with_limits(limits.0, limits.1)).await;
    let long = json!({"sessionId": "s1", "path": ground.path("f"), "content": "xy"});
    let (code, message) = ground.error("fs/write_text_file", long).await;
    assert_eq!(code, -32602);
    assert!(message.contains("more than 1 bytes"), "{message}");
    assert!(!Path::new(&ground.path("f")).exists());
}
