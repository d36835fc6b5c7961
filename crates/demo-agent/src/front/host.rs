//! The host's side of ACP, before an agent that runs on a thread of this process.

use crate::{
    agent::Agent,
    args::Args,
    wire::{Halt, Wire},
};
use serde_json::{Value, json};
use std::{
    io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Write as _},
    path::Path,
    thread::{self, JoinHandle},
};

/// Which conversation an agent begins with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Opening<'a> {
    /// A new one, under this id or one of the agent's own.
    New(Option<&'a str>),
    /// One that was kept.
    Kept(&'a str),
}

/// An agent, with one conversation.
pub(super) struct Host {
    to: Option<PipeWriter>,
    pub session: String,
    requests: u64,
}

/// What the agent says, line by line, and how it ends.
pub(super) struct Heard {
    lines: BufReader<PipeReader>,
    agent: JoinHandle<Result<(), Halt>>,
}

/// One line of the agent's.
pub(super) enum Said {
    /// Something happened in the turn: the value of `update`.
    Update(Value),
    /// The agent asks leave, by a request of this id.
    Ask { id: Value, params: Value },
    /// The answer to our request of this number.
    Answer(u64, Result<Value, Value>),
    /// A request that no front serves.
    Request { id: Value, method: String },
    /// A notification that no front knows.
    Other,
    /// No JSON at all.
    Noise,
}

impl Host {
    /// Starts an agent whose conversation works in `cwd`.
    ///
    /// # Errors
    /// The agent's own words where it refuses.
    pub fn start(args: &Args, cwd: &Path, opening: Opening<'_>) -> io::Result<Result<(Self, Heard), String>> {
        let (reader, to) = io::pipe()?;
        let (from, writer) = io::pipe()?;
        let args = args.clone();
        let agent = thread::spawn(move || {
            let wire = Wire::new(reader.into(), writer.into());
            Agent::new(args, wire).and_then(|mut agent| agent.serve())
        });
        let mut host = Self { to: Some(to), session: String::new(), requests: 0 };
        let mut heard = Heard { lines: BufReader::new(from), agent };
        Ok(host.open(&mut heard, cwd, opening).map(|()| (host, heard)))
    }

    fn open(&mut self, heard: &mut Heard, cwd: &Path, opening: Opening<'_>) -> Result<(), String> {
        self.call(heard, "initialize", json!({"protocolVersion": 1, "clientCapabilities": {}}))?;
        let mut params = json!({"cwd": cwd, "mcpServers": []});
        match opening {
            Opening::New(id) => {
                params["_meta"] = json!({"sessionId": id});
                let answer = self.call(heard, "session/new", params)?;
                self.session = answer["sessionId"].as_str().unwrap_or_default().to_owned();
            }
            Opening::Kept(id) => {
                params["sessionId"] = json!(id);
                self.call(heard, "session/resume", params)?;
                self.session = id.to_owned();
            }
        }
        Ok(())
    }

    fn call(&mut self, heard: &mut Heard, method: &str, params: Value) -> Result<Value, String> {
        let number = self.request(method, params);
        while let Some(line) = heard.next() {
            if let Said::Answer(answered, result) = Said::read(&line)
                && answered == number
            {
                return result.map_err(|error| error["message"].as_str().unwrap_or_default().to_owned());
            }
        }
        Err("the agent has ended".to_owned())
    }

    /// Asks the agent something about its conversation; returns the request's number.
    pub fn ask(&mut self, method: &str, mut params: Value) -> u64 {
        params["sessionId"] = json!(self.session);
        self.request(method, params)
    }

    /// Sends a prompt; returns the request's number.
    pub fn prompt(&mut self, text: &str) -> u64 {
        self.ask("session/prompt", json!({"prompt": [{"type": "text", "text": text}]}))
    }

    /// Cancels the turn.
    pub fn cancel(&mut self) {
        let params = json!({"sessionId": self.session});
        self.send(&json!({"jsonrpc": "2.0", "method": "session/cancel", "params": params}));
    }

    /// Answers a request for leave: it is given or refused, or the turn is cancelled.
    pub fn decide(&mut self, id: &Value, leave: Option<bool>) {
        let outcome = match leave {
            Some(true) => json!({"outcome": "selected", "optionId": "demo-once"}),
            Some(false) => json!({"outcome": "selected", "optionId": "demo-reject"}),
            None => json!({"outcome": "cancelled"}),
        };
        self.send(&json!({"jsonrpc": "2.0", "id": id, "result": {"outcome": outcome}}));
    }

    /// Refuses a request that the front does not serve.
    pub fn refuse(&mut self, id: &Value, method: &str) {
        let error = json!({"code": -32601, "message": format!("Method not found: {method}")});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
    }

    /// Tells the agent that nobody speaks to it any more.
    pub fn hang_up(&mut self) {
        self.to = None;
    }

    fn request(&mut self, method: &str, params: Value) -> u64 {
        self.requests += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": self.requests, "method": method, "params": params}));
        self.requests
    }

    fn send(&mut self, message: &Value) {
        if let Some(to) = &mut self.to {
            // An agent that is gone says so by the end of what it says.
            let _ = to.write_all(format!("{message}\n").as_bytes());
        }
    }
}

impl Heard {
    /// The next line, without its end; `None` when the agent says nothing more.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let length = self.lines.read_until(b'\n', &mut line).ok()?;
        line.pop_if(|last| *last == b'\n');
        (length > 0).then_some(line)
    }

    /// Waits for the agent's end, which may come long after its last word. The exit code, where it ended by itself:
    /// it means the process, since it has none of its own.
    pub fn end(self) -> Option<u8> {
        match self.agent.join() {
            Ok(Ok(()) | Err(Halt::HostGone)) => None,
            Ok(Err(why)) => Some(why.code()),
            Err(_) => Some(1),
        }
    }
}

impl Said {
    /// What a line means.
    pub fn read(line: &[u8]) -> Self {
        let Ok(message @ Value::Object(_)) = serde_json::from_slice(line) else { return Self::Noise };
        let (id, params) = (message["id"].clone(), &message["params"]);
        match (message["method"].as_str(), id) {
            (Some("session/update"), Value::Null) => Self::Update(params["update"].clone()),
            (Some("session/request_permission"), id) => Self::Ask { id, params: params.clone() },
            (Some(_), Value::Null) => Self::Other,
            (Some(method), id) => Self::Request { id, method: method.to_owned() },
            (None, id) => {
                let answer = match message.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(message["result"].clone()),
                };
                id.as_u64().map_or(Self::Noise, |number| Self::Answer(number, answer))
            }
        }
    }
}

/// The text of an update's content.
pub(super) fn text(update: &Value) -> &str {
    update["content"]["text"].as_str().unwrap_or_default()
}

/// What a tool call's update shows, as text.
pub(super) fn shown(update: &Value) -> String {
    let blocks = update["content"].as_array().into_iter().flatten();
    let texts: Vec<_> = blocks.filter_map(|block| block["content"]["text"].as_str()).collect();
    texts.join("\n")
}

/// The name that other agents have for a tool of this kind; its title where they have none.
pub(super) fn tool_name(call: &Value) -> &str {
    match call["kind"].as_str() {
        Some("execute") => "Bash",
        Some("edit") => "Write",
        Some("read") => "Read",
        _ => call["title"].as_str().unwrap_or("Tool"),
    }
}
