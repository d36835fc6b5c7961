//! ACP, with a host that does no more than it must.

use boocoder_tests::{
    model_server::{Call, Ending, ModelError, ModelServer, Moment, Reply, Script},
    real_agents::{Approval, GOOSE, OPENCODE, RealAgent, Site},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::spawn,
    time::Duration,
};
use tempfile::TempDir;

use super::{PATIENCE, scratch};

/// An agent with a session in a scratch repository.
struct Host {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Value>,
    next_id: u64,
    session: String,
    /// Permission requests that were answered with "allow once".
    allowed: usize,
    /// All text that the agent said.
    said: String,
    server: ModelServer,
    dir: TempDir,
}

impl Host {
    fn start(agent: &RealAgent, approval: Approval) -> Self {
        let (server, dir, repository) = scratch();
        let mut command =
            agent.acp(&Site { model_url: &server.url(), dir: dir.path(), approval }).to_command();
        command.current_dir(&repository).process_group(0);
        let log = fs::File::create(dir.path().join("stderr")).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                let message = serde_json::from_slice(&line).unwrap();
                if send.send(message).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take().unwrap();
        let (session, said) = (String::new(), String::new());
        let mut host = Self { child, stdin, lines, next_id: 1, session, allowed: 0, said, server, dir };
        host.call("initialize", json!({"protocolVersion": 1, "clientCapabilities": {}})).unwrap();
        let session = host.call("session/new", json!({"cwd": repository, "mcpServers": []})).unwrap();
        host.session = session["sessionId"].as_str().unwrap().to_owned();
        host
    }

    fn send(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    fn request(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    fn prompt(&mut self, text: &str) -> u64 {
        let prompt = json!([{"type": "text", "text": text}]);
        let session = self.session.clone();
        self.request("session/prompt", json!({"sessionId": session, "prompt": prompt}))
    }

    fn message(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|err| {
            let stderr = fs::read_to_string(self.dir.path().join("stderr")).unwrap();
            panic!("the agent is silent: {err}; it said on stderr:\n{stderr}");
        })
    }

    /// Serves the agent until it has said this.
    fn hear(&mut self, text: &str) {
        while !self.said.contains(text) {
            let message = self.message();
            self.serve(&message);
        }
    }

    /// Serves the agent until it answers request `id`.
    fn answer(&mut self, id: u64) -> Result<Value, Value> {
        loop {
            let message = self.message();
            if message.get("method").is_some() {
                self.serve(&message);
            } else if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(message["result"].clone()),
                };
            }
        }
    }

    fn serve(&mut self, message: &Value) {
        let update = &message["params"]["update"];
        if update["sessionUpdate"] == "agent_message_chunk" {
            self.said += update["content"]["text"].as_str().unwrap();
        }
        let Some(id) = message.get("id") else { return };
        let reply = match message["method"].as_str().unwrap() {
            "session/request_permission" => {
                self.allowed += 1;
                let options = message["params"]["options"].as_array().unwrap();
                let once = options.iter().find(|option| option["kind"] == "allow_once").unwrap();
                let outcome = json!({"outcome": "selected", "optionId": once["optionId"]});
                json!({"jsonrpc": "2.0", "id": id, "result": {"outcome": outcome}})
            }
            // opencode tells what it has written, even to a host that offers no files.
            "fs/write_text_file" => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
            _ => json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "not here"}}),
        };
        self.send(&reply);
    }

    fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.request(method, params);
        self.answer(id)
    }

    fn turn(&mut self, text: &str) -> Result<Value, Value> {
        let id = self.prompt(text);
        self.answer(id)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("repository").join(name)).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let kill = format!("kill -KILL -{}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        let _ = self.child.wait();
    }
}

/// Writes, edits and runs a command as the script says, each after one permission, then talks.
fn works_through_a_script(agent: &RealAgent) {
    let mut host = Host::start(agent, Approval::Ask);
    let script = Script::new()
        .then(Reply::new().reasoning(["First ", "I write."]).call(Call::write("new.txt", "one\n")))
        .then(Reply::text("Now I edit. ").call(Call::edit("new.txt", "one", "two")))
        .then(Reply::new().call(Call::shell("echo three >> new.txt")))
        .then(Reply::new().and_text(["All ", "done."]));
    host.server.when("make the file", script);
    let answer = host.turn("please make the file").unwrap();
    assert_eq!(answer["stopReason"], "end_turn");
    assert_eq!(host.file("new.txt"), "two\nthree\n");
    assert_eq!(host.allowed, 3);
    assert!(host.said.ends_with("All done."), "{}", host.said);

    host.server.when("talk", Script::new().then(Reply::words(4)));
    host.said.clear();
    assert_eq!(host.turn("now talk").unwrap()["stopReason"], "end_turn");
    assert_eq!(host.said, "word1 word2 word3 word4 ");
}

/// A cancel ends the turn and the connection to the model, and the next turn works.
fn cancel_reaches_the_model(agent: &RealAgent, reply: Reply) {
    let mut host = Host::start(agent, Approval::Ask);
    host.server.when("talk", Script::new().then(reply));
    let id = host.prompt("please talk");
    host.hear("word2 ");
    let session = host.session.clone();
    host.send(&json!({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": session}}));
    let reason = host.answer(id).unwrap()["stopReason"].clone();
    assert!(reason == "cancelled" || reason == "end_turn", "{reason}");
    host.server.wait_for(Moment::HungUp, "talk");
    host.said.clear();
    host.turn("hello again").unwrap();
    assert_eq!(host.said, "word1 word2 word3 ");
}

/// Without approval nothing is asked, and the file is there all the same.
fn asks_nothing_when_allowed(agent: &RealAgent) {
    let mut host = Host::start(agent, Approval::Allow);
    let script =
        Script::new().then(Reply::new().call(Call::write("new.txt", "one\n"))).then(Reply::text("Done."));
    host.server.when("make the file", script);
    assert_eq!(host.turn("make the file").unwrap()["stopReason"], "end_turn");
    assert_eq!((host.file("new.txt").as_str(), host.allowed), ("one\n", 0));
}

#[test]
fn real_agent_opencode_asks_nothing_when_allowed() {
    asks_nothing_when_allowed(&OPENCODE);
}

#[test]
fn real_agent_goose_asks_nothing_when_allowed() {
    asks_nothing_when_allowed(&GOOSE);
}

#[test]
fn real_agent_opencode_works_through_a_script() {
    works_through_a_script(&OPENCODE);
}

#[test]
fn real_agent_goose_works_through_a_script() {
    works_through_a_script(&GOOSE);
}

#[test]
fn real_agent_opencode_cancel_reaches_a_silent_model() {
    cancel_reaches_the_model(&OPENCODE, Reply::words(2).ending(Ending::Stall));
}

#[test]
fn real_agent_goose_cancel_reaches_a_talking_model() {
    cancel_reaches_the_model(&GOOSE, Reply::words(600).pace(Duration::from_millis(100)));
}

#[test]
fn real_agent_opencode_reports_a_refused_key() {
    let mut host = Host::start(&OPENCODE, Approval::Ask);
    host.server.when("hello", Script::new().then(ModelError::Unauthorised));
    let error = host.turn("hello").unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("Incorrect API key"), "{error}");
}

#[test]
fn real_agent_goose_tells_a_refused_key_as_text() {
    let mut host = Host::start(&GOOSE, Approval::Ask);
    host.server.when("hello", Script::new().then(ModelError::Unauthorised));
    assert_eq!(host.turn("hello").unwrap()["stopReason"], "end_turn");
    assert!(host.said.contains("Ran into this error"), "{}", host.said);
}
