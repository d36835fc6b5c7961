//! claude's control protocol: prompts on standard input, any number of them.

use boocoder_tests::{
    model_server::{Call, Ending, ModelServer, Moment, Reply, Script},
    real_agents::{Approval, CLAUDE, Site},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::spawn,
};
use tempfile::TempDir;

use super::{PATIENCE, scratch};

/// A claude that has told that it is ready.
struct Claude {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    server: ModelServer,
    repository: PathBuf,
    _dir: TempDir,
}

impl Claude {
    fn start() -> Self {
        let (server, dir, repository) = scratch();
        let site = Site { model_url: &server.url(), dir: dir.path(), approval: Approval::Ask };
        let mut command = CLAUDE.stream(&site).unwrap().to_command();
        let log = fs::File::create(dir.path().join("stderr")).unwrap();
        command.current_dir(&repository).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                if send.send(serde_json::from_slice(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        let mut claude = Self { child, stdin, lines, server, repository, _dir: dir };
        claude.ask("ready", json!({"subtype": "initialize", "hooks": null}));
        claude
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    /// A control request that must succeed; what comes before its answer is lost.
    fn ask(&mut self, id: &str, request: Value) {
        self.send(&json!({"type": "control_request", "request_id": id, "request": request}));
        let answer = self.wait_for(|line| line["response"]["request_id"] == id);
        assert_eq!(answer["response"]["subtype"], "success", "{answer}");
    }

    fn prompt(&mut self, text: &str) {
        let message = json!({"role": "user", "content": text});
        self.send(&json!({"type": "user", "message": message, "parent_tool_use_id": null, "session_id": ""}));
    }

    fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("claude says something");
            if wanted(&line) {
                return line;
            }
        }
    }
}

impl Drop for Claude {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn real_agent_claude_takes_prompts_permissions_and_interrupts() {
    let mut claude = Claude::start();
    let write = Reply::new().reasoning(["hm"]).call(Call::write("new.txt", "one\n"));
    claude.server.when("make the file", Script::new().then(write).then(Reply::text("Done.").usage(2000, 30)));
    claude.prompt("make the file");
    let asked = claude.wait_for(|line| line["type"] == "control_request");
    let request = &asked["request"];
    assert_eq!((&request["subtype"], &request["tool_name"]), (&json!("can_use_tool"), &json!("Write")));
    let allowed = json!({"behavior": "allow", "updatedInput": request["input"]});
    let response = json!({"subtype": "success", "request_id": asked["request_id"], "response": allowed});
    claude.send(&json!({"type": "control_response", "response": response}));
    let result = claude.wait_for(|line| line["type"] == "result");
    assert_eq!((&result["is_error"], &result["result"]), (&json!(false), &json!("Done.")), "{result}");
    assert_eq!(fs::read_to_string(claude.repository.join("new.txt")).unwrap(), "one\n");

    claude.server.when("talk", Script::new().then(Reply::words(2).ending(Ending::Stall)));
    claude.prompt("talk");
    claude.server.wait_for(Moment::Streamed, "talk");
    claude.ask("stop", json!({"subtype": "interrupt"}));
    let result = claude.wait_for(|line| line["type"] == "result");
    assert_eq!(result["subtype"], "error_during_execution", "{result}");
    claude.server.wait_for(Moment::HungUp, "talk");

    // What it has not answered before an interrupt may be part of the prompt that follows.
    claude.server.when("hello again", Script::new().then(Reply::words(3)));
    claude.prompt("hello again");
    let result = claude.wait_for(|line| line["type"] == "result");
    assert_eq!(result["result"], "word1 word2 word3 ", "{result}");
    drop(claude.stdin.take());
    assert!(claude.child.wait().unwrap().success());
}
