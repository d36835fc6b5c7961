//! As opencode's host sees it.

use crate::support::Host;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
};
use tempfile::tempdir;

/// `opencode:secret`, as HTTP's Basic authorization has it.
const BASIC: &str = "Basic b3BlbmNvZGU6c2VjcmV0";

struct Server {
    _host: Host,
    address: String,
    directory: String,
}

impl Server {
    fn start(directory: &Path, args: &[&str]) -> Self {
        let args = [args, &["serve", "--hostname", "127.0.0.1", "--port", "0"]].concat();
        let host = Host::start_with(&args, |command| {
            command.env("OPENCODE_SERVER_PASSWORD", "secret");
        });
        let line = String::from_utf8(host.line().unwrap()).unwrap();
        let address = line.trim().strip_prefix("opencode server listening on http://").unwrap().to_owned();
        Self { _host: host, address, directory: directory.display().to_string() }
    }

    fn send(&self, method: &str, path: &str, authorization: &str, body: &Value) -> BufReader<TcpStream> {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let target = format!("{path}?directory={}", self.directory.replace('/', "%2F"));
        let head = format!(
            "{method} {target} HTTP/1.1\r\nauthorization: {authorization}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all((head + &body).as_bytes()).unwrap();
        BufReader::new(connection)
    }

    fn answer(&self, method: &str, path: &str, authorization: &str, body: &Value) -> (u16, Value) {
        let mut answer = self.send(method, path, authorization, body);
        let (status, length) = head(&mut answer);
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn get(&self, path: &str) -> Value {
        self.answer("GET", path, BASIC, &Value::Null).1
    }

    fn post(&self, path: &str, body: Value) -> Value {
        self.answer("POST", path, BASIC, &body).1
    }

    /// The stream of events, from now on.
    fn events(&self) -> Events {
        let mut events = Events(self.send("GET", "/global/event", BASIC, &Value::Null));
        head(&mut events.0);
        assert_eq!(events.next()["type"], "server.connected");
        events
    }

    fn session(&self) -> String {
        self.post("/session", json!({"title": "t"}))["id"].as_str().unwrap().to_owned()
    }

    fn prompt(&self, session: &str, text: &str) {
        let body = json!({"messageID": "msg_mine", "parts": [{"type": "text", "text": text}]});
        let sent = self.answer("POST", &format!("/session/{session}/prompt_async"), BASIC, &body);
        assert_eq!(sent, (204, Value::Null));
    }
}

/// The status and the length of the body.
fn head(answer: &mut impl BufRead) -> (u16, usize) {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            None if line.starts_with("HTTP/1.1 ") => status = line[9..12].parse().unwrap(),
            None if line.trim_end().is_empty() => return (status, length),
            _ => {}
        }
    }
}

struct Events(BufReader<TcpStream>);

impl Events {
    fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str::<Value>(data).unwrap()["payload"].take();
            }
        }
    }

    /// Events up to the first of this kind.
    fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = vec![self.next()];
        while events.last().is_none_or(|event| event["type"] != kind) {
            events.push(self.next());
        }
        events
    }
}

#[test]
fn whoever_has_no_password_gets_nothing() {
    let dir = tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    for wrong in ["", "Basic b3BlbmNvZGU6c2VjcmV1"] {
        assert_eq!(server.answer("GET", "/global/health", wrong, &Value::Null).0, 401);
    }
    assert_eq!(server.get("/global/health")["healthy"], true);
    assert_eq!(server.get("/config/providers")["default"]["demo"], "demo-1");
}

#[test]
fn a_turn_is_told_in_opencodes_order() {
    let dir = tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let session = server.session();
    let mut events = server.events();
    server.prompt(&session, "/say hello\n/write a.txt x\n/usage 700 30 0.25");
    let told = events.until("session.idle");
    let kinds: Vec<_> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "message.updated",
            "session.status",
            "message.updated",
            "message.part.updated",
            "message.part.delta",
            "message.part.updated",
            "message.part.updated",
            "message.part.updated",
            "message.updated",
            "session.status",
            "session.idle"
        ]
    );
    let [asked, delta, running, done, answer] = [0, 4, 6, 7, 8].map(|at| &told[at]["properties"]);
    assert_eq!((&asked["info"]["id"], &asked["info"]["role"]), (&json!("msg_mine"), &json!("user")));
    assert_eq!((&delta["delta"], &delta["field"]), (&json!("hello"), &json!("text")));
    assert_eq!(
        (&running["part"]["state"]["status"], &done["part"]["state"]["status"]),
        (&json!("running"), &json!("completed"))
    );
    assert_eq!(running["part"]["id"], done["part"]["id"]);
    assert_eq!((&answer["info"]["finish"], &answer["info"]["cost"]), (&json!("stop"), &json!(0.25)));
    assert!(dir.path().join("a.txt").exists());
    let messages = server.get(&format!("/session/{session}/message"));
    assert_eq!(
        (&messages[0]["info"]["id"], &messages[1]["parts"][0]["text"]),
        (&json!("msg_mine"), &json!("hello"))
    );
    assert_eq!(server.get("/session/status"), json!({}));
}

#[test]
fn an_abort_ends_a_turn_and_what_it_asks() {
    let dir = tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let session = server.session();
    let mut events = server.events();
    for reply in ["once", "reject"] {
        server.prompt(&session, &format!("/ask May I?\n/write {reply}.txt x"));
        let asked = events.until("permission.asked").pop().unwrap()["properties"].take();
        assert_eq!(server.get("/permission")[0]["id"], asked["id"]);
        server.post(&format!("/permission/{}/reply", asked["id"].as_str().unwrap()), json!({"reply": reply}));
        events.until("session.idle");
        assert_eq!(dir.path().join(format!("{reply}.txt")).exists(), reply == "once");
    }
    for prompt in ["/say go\n/stall", "/ask May I?\n/write no.txt x"] {
        server.prompt(&session, prompt);
        events.until(if prompt.contains("ask") { "permission.asked" } else { "message.part.delta" });
        assert_eq!(server.get("/session/status")[&session]["type"], "busy");
        assert_eq!(server.post(&format!("/session/{session}/abort"), json!({})), true);
        let error = events.until("session.error").pop().unwrap();
        assert_eq!(error["properties"]["error"]["name"], "MessageAbortedError");
        events.until("session.idle");
    }
    assert_eq!(server.get("/permission"), json!([]));
}

#[test]
fn a_conversation_outlives_its_server() {
    let (dir, state) = (tempdir().unwrap(), tempdir().unwrap());
    let args = ["--state", state.path().to_str().unwrap()];
    let server = Server::start(dir.path(), &args);
    let session = server.session();
    let mut events = server.events();
    server.prompt(&session, "/say I remember");
    events.until("session.idle");
    drop(server);
    let server = Server::start(dir.path(), &args);
    assert_eq!(server.answer("GET", "/session/demo-none", BASIC, &Value::Null).0, 404);
    assert_eq!(server.get(&format!("/session/{session}"))["id"], session);
    let mut events = server.events();
    server.prompt(&session, "/history");
    let told = events.until("session.idle");
    assert!(
        told.iter().any(|event| event["properties"]["delta"]
            .as_str()
            .is_some_and(|text| text.contains("prompts: 2")))
    );
}
