//! The front: what the host says, what the agent says, one after the other.

use super::options::Options;
use crate::front::host::{Heard, Host, Opening, Said, shown, text, tool_name};
use crate::{args::Args, wire::Halt};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io::{self, BufRead as _, Read as _, Write as _},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// Lines that may wait between the threads.
const WAITING: usize = 64;

/// A block of text is closed after so many bytes, so that it need not be held for ever.
const LONGEST_BLOCK: usize = 64 << 10;

/// Runs until the host closes stdin, or one prompt is done.
pub(crate) fn run(args: Args, options: Options) -> Result<(), Halt> {
    let cwd = std::env::current_dir()?;
    let opening = match &options.resume {
        Some(id) => Opening::Kept(id),
        None => Opening::New(options.session.as_deref()),
    };
    let (host, heard) = match Host::start(&args, &cwd, opening)? {
        Ok(started) => started,
        Err(why) => {
            let id = options.resume.as_deref().unwrap_or_default();
            eprintln!("No conversation found with session ID: {id} ({why})");
            return Err(Halt::Exit(1));
        }
    };
    let (events, coming) = sync_channel(WAITING);
    thread::spawn({
        let events = events.clone();
        move || hear(heard, &events)
    });
    let mut front = Front::new(host, options);
    if front.options.is_streaming {
        thread::spawn(move || read(&events));
    } else {
        let mut prompt = Vec::new();
        io::stdin().read_to_end(&mut prompt)?;
        front.prompts.push_back(String::from_utf8_lossy(&prompt).into_owned());
        front.begin()?;
    }
    front.run(&coming)
}

/// What happens next, in one order.
enum Event {
    Host(Vec<u8>),
    HostGone,
    Agent(Vec<u8>),
    /// The agent says nothing more.
    AgentClosed,
    /// It has ended, with this exit code of its own.
    AgentGone(Option<u8>),
}

fn hear(mut heard: Heard, events: &SyncSender<Event>) {
    while let Some(line) = heard.next() {
        if events.send(Event::Agent(line)).is_err() {
            return;
        }
    }
    if events.send(Event::AgentClosed).is_ok() {
        let _ = events.send(Event::AgentGone(heard.end()));
    }
}

fn read(events: &SyncSender<Event>) {
    for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
        if events.send(Event::Host(line)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::HostGone);
}

struct Front {
    host: Host,
    options: Options,
    /// Prompts that wait for the turn before them.
    prompts: VecDeque<String>,
    /// The prompt's request, while a turn runs.
    turn: Option<u64>,
    is_interrupted: bool,
    /// Requests for leave that are open: our id, and the agent's.
    asked: Vec<(String, Value)>,
    requests: u64,
    turns: u64,
    /// The block of text that is being told.
    block: String,
    /// Dollars of all turns.
    cost: f64,
    has_failed: bool,
}

impl Front {
    fn new(host: Host, options: Options) -> Self {
        Self {
            host,
            options,
            prompts: VecDeque::new(),
            turn: None,
            is_interrupted: false,
            asked: Vec::new(),
            requests: 0,
            turns: 0,
            block: String::new(),
            cost: 0.0,
            has_failed: false,
        }
    }

    fn run(mut self, coming: &Receiver<Event>) -> Result<(), Halt> {
        while let Ok(event) = coming.recv() {
            match event {
                Event::Host(line) => self.take(&line)?,
                Event::HostGone => self.host.hang_up(),
                Event::Agent(line) => self.tell(&line)?,
                Event::AgentClosed => {
                    let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
                    nix::unistd::dup2_stdout(nowhere).map_err(Halt::Broken)?;
                }
                Event::AgentGone(Some(code)) => return Err(Halt::Exit(code)),
                Event::AgentGone(None) => break,
            }
            if !self.options.is_streaming && self.turn.is_none() {
                break;
            }
        }
        if self.has_failed { Err(Halt::Exit(1)) } else { Ok(()) }
    }

    /// Takes a line of the host's.
    fn take(&mut self, line: &[u8]) -> Result<(), Halt> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            eprintln!("Error parsing streaming input line");
            return Err(Halt::Exit(1));
        };
        match message["type"].as_str() {
            Some("user") => {
                self.prompts.push_back(prompt_text(&message["message"]["content"]));
                self.begin()
            }
            Some("control_request") => self.obey(&message["request_id"], &message["request"]),
            Some("control_response") => {
                self.decide(&message["response"]);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn obey(&mut self, id: &Value, request: &Value) -> Result<(), Halt> {
        let subtype = request["subtype"].as_str().unwrap_or_default();
        let answer = match subtype {
            "initialize" => hello(),
            "interrupt" => {
                self.interrupt()?;
                Value::Null
            }
            "set_model" => {
                self.options.model = request["model"].as_str().map(str::to_owned);
                let model = self.options.model.as_deref().unwrap_or("demo-1");
                self.host.ask("session/set_model", json!({"modelId": model}));
                Value::Null
            }
            "set_permission_mode" => {
                self.options.mode = request["mode"].as_str().map(str::to_owned);
                self.host.ask("session/set_mode", json!({"modeId": request["mode"]}));
                Value::Null
            }
            _ => {
                let error = format!("Unsupported control request subtype: {subtype}");
                let response = json!({"subtype": "error", "request_id": id, "error": error});
                return say(&json!({"type": "control_response", "response": response}));
            }
        };
        let response = json!({"subtype": "success", "request_id": id, "response": answer});
        say(&json!({"type": "control_response", "response": response}))
    }

    /// Cancels the turn, and what it asks leave for.
    fn interrupt(&mut self) -> Result<(), Halt> {
        if self.turn.is_none() {
            return Ok(());
        }
        self.is_interrupted = true;
        self.host.cancel();
        for (ours, id) in std::mem::take(&mut self.asked) {
            say(&json!({"type": "control_cancel_request", "request_id": ours}))?;
            self.host.decide(&id, None);
        }
        Ok(())
    }

    fn decide(&mut self, response: &Value) {
        let known = self.asked.iter().position(|(ours, _)| response["request_id"] == ours.as_str());
        if let Some(at) = known {
            let (_, id) = self.asked.swap_remove(at);
            self.host.decide(&id, Some(response["response"]["behavior"] == "allow"));
        }
    }

    /// Begins a turn, if one waits and none runs.
    fn begin(&mut self) -> Result<(), Halt> {
        if self.turn.is_some() {
            return Ok(());
        }
        let Some(prompt) = self.prompts.pop_front() else { return Ok(()) };
        self.is_interrupted = false;
        self.turns += 1;
        say(&json!({
            "type": "system", "subtype": "init", "session_id": self.host.session, "cwd": std::env::current_dir()?,
            "model": self.model(), "permissionMode": self.options.mode.as_deref().unwrap_or("default"),
            "tools": ["Bash", "Write", "Read"], "mcp_servers": [], "slash_commands": ["help"],
            "claude_code_version": env!("CARGO_PKG_VERSION"), "apiKeySource": "none",
        }))?;
        self.turn = Some(self.host.prompt(&prompt));
        Ok(())
    }

    fn model(&self) -> &str {
        self.options.model.as_deref().unwrap_or("demo-1")
    }

    /// Tells the host what the agent says.
    fn tell(&mut self, line: &[u8]) -> Result<(), Halt> {
        match Said::read(line) {
            Said::Update(update) => self.update(&update),
            Said::Ask { id, params } => self.ask(id, &params["toolCall"]),
            Said::Answer(number, answer) if self.turn == Some(number) => self.end(&answer),
            Said::Answer(..) | Said::Other => Ok(()),
            Said::Request { id, method } => {
                self.host.refuse(&id, &method);
                Ok(())
            }
            Said::Noise => {
                io::stdout().write_all(line)?;
                Ok(io::stdout().write_all(b"\n")?)
            }
        }
    }

    fn update(&mut self, update: &Value) -> Result<(), Halt> {
        let kind = update["sessionUpdate"].as_str().unwrap_or_default();
        if kind == "agent_message_chunk" {
            return self.chunk(text(update));
        }
        self.close_block()?;
        match (kind, update["status"].as_str()) {
            ("agent_thought_chunk", _) => {
                self.message(json!({"type": "thinking", "thinking": text(update), "signature": ""}))
            }
            ("tool_call", _) => self.message(json!({"type": "tool_use", "id": update["toolCallId"],
                                                    "name": tool_name(update), "input": update["rawInput"]})),
            ("tool_call_update", Some(status @ ("completed" | "failed"))) => {
                let result = json!({"type": "tool_result", "tool_use_id": update["toolCallId"],
                                    "content": shown(update), "is_error": status == "failed"});
                self.user(json!([result]))
            }
            ("usage_update", _) => {
                self.cost += update["cost"]["amount"].as_f64().unwrap_or(0.0);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn chunk(&mut self, text: &str) -> Result<(), Halt> {
        if self.options.has_partials {
            if self.block.is_empty() {
                self.event(json!({"type": "content_block_start", "index": 0,
                                  "content_block": {"type": "text", "text": ""}}))?;
            }
            let delta = json!({"type": "text_delta", "text": text});
            self.event(json!({"type": "content_block_delta", "index": 0, "delta": delta}))?;
        }
        self.block.push_str(text);
        if self.block.len() > LONGEST_BLOCK { self.close_block() } else { Ok(()) }
    }

    /// Tells a block of text as a whole.
    fn close_block(&mut self) -> Result<(), Halt> {
        if self.block.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.block);
        self.message(json!({"type": "text", "text": text}))?;
        if self.options.has_partials {
            self.event(json!({"type": "content_block_stop", "index": 0}))?;
        }
        Ok(())
    }

    fn ask(&mut self, id: Value, call: &Value) -> Result<(), Halt> {
        self.close_block()?;
        self.requests += 1;
        let ours = format!("{}-{}", self.host.session, self.requests);
        let request = json!({"subtype": "can_use_tool", "tool_name": tool_name(call), "input": call["rawInput"],
                             "description": call["title"], "tool_use_id": call["toolCallId"]});
        self.asked.push((ours.clone(), id));
        say(&json!({"type": "control_request", "request_id": ours, "request": request}))
    }

    /// The last lines of a turn; then the next one begins.
    fn end(&mut self, answer: &Result<Value, Value>) -> Result<(), Halt> {
        self.close_block()?;
        self.turn = None;
        let count =
            |key: &str| answer.as_ref().map_or(0, |answer| answer["usage"][key].as_u64().unwrap_or(0));
        let mut result = json!({
            "type": "result", "session_id": self.host.session, "num_turns": self.turns,
            "total_cost_usd": self.cost, "permission_denials": [],
            "usage": {"input_tokens": count("inputTokens"), "output_tokens": count("outputTokens")},
            "modelUsage": {self.model(): {"contextWindow": 100_000}},
        });
        let was_cancelled =
            self.is_interrupted || matches!(answer, Ok(answer) if answer["stopReason"] == "cancelled");
        let how = match answer {
            _ if was_cancelled => {
                self.user(json!([{"type": "text", "text": "[Request interrupted by user]"}]))?;
                json!({"subtype": "error_during_execution", "is_error": true, "errors": [],
                       "terminal_reason": "aborted_streaming"})
            }
            Ok(answer) => json!({"subtype": "success", "is_error": false, "result": "",
                                 "stop_reason": answer["stopReason"], "terminal_reason": "completed"}),
            Err(error) => json!({"subtype": "success", "is_error": true,
                                 "result": format!("API Error: {}", error["message"].as_str().unwrap_or_default())}),
        };
        for (key, value) in how.as_object().into_iter().flatten() {
            result[key] = value.clone();
        }
        self.has_failed = how["is_error"] == true;
        say(&result)?;
        self.begin()
    }

    fn message(&self, block: Value) -> Result<(), Halt> {
        let message = json!({"id": format!("msg_{}", self.turns), "role": "assistant", "model": self.model(),
                             "content": [block], "stop_reason": null});
        say(&json!({"type": "assistant", "message": message, "parent_tool_use_id": null,
                    "session_id": self.host.session}))
    }

    fn user(&self, content: Value) -> Result<(), Halt> {
        say(&json!({"type": "user", "message": {"role": "user", "content": content},
                    "parent_tool_use_id": null, "session_id": self.host.session}))
    }

    fn event(&self, event: Value) -> Result<(), Halt> {
        say(&json!({"type": "stream_event", "event": event, "parent_tool_use_id": null,
                    "session_id": self.host.session}))
    }
}

/// The answer to `initialize`.
fn hello() -> Value {
    let model = |value: &str, name: &str| json!({"value": value, "displayName": name, "description": name});
    json!({
        "commands": [{"name": "help", "description": "What this agent can be told to do", "argumentHint": ""}],
        "models": [model("default", "Demo One"), model("demo-2", "Demo Two")],
        "agents": [], "account": {}, "output_style": "default", "available_output_styles": ["default"],
        "pid": std::process::id(),
    })
}

/// A prompt's text: a string, or the text of its blocks.
fn prompt_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        blocks => {
            let texts = blocks.as_array().into_iter().flatten().filter_map(|block| block["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Prints a line.
fn say(message: &Value) -> Result<(), Halt> {
    Ok(io::stdout().write_all(format!("{message}\n").as_bytes())?)
}
