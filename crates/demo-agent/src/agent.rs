//! Sessions, and what is not a turn: JSON-RPC methods and their answers.

use crate::{
    args::{Args, Fault, LoadFault},
    history::{Archive, Entry},
    settings::Settings,
    turn,
    wire::{Halt, Ready, Wire},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    os::fd::BorrowedFd,
    path::PathBuf,
    process,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// The whole agent.
pub(crate) struct Agent {
    pub wire: Wire,
    pub args: Args,
    pub archive: Option<Archive>,
    pub sessions: HashMap<String, Session>,
    pub offers: Offers,
    /// The turn that runs.
    pub active: Option<Active>,
    /// The host's answers to our requests, by the id's JSON text.
    pub answers: HashMap<String, Result<Value, Value>>,
}

/// One conversation.
#[derive(Debug)]
pub(crate) struct Session {
    pub cwd: PathBuf,
    pub settings: Settings,
    pub history: Vec<Entry>,
}

/// What the host said that it can do for us.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Offers {
    pub read: bool,
    pub terminal: bool,
}

/// What a message that arrives during a turn can change about it.
#[derive(Debug)]
pub(crate) struct Active {
    pub session: String,
    pub cancelled: bool,
    pub ignore_cancel: bool,
}

/// A prompt that is to be run.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub id: Value,
    pub session: String,
    pub text: String,
}

/// A JSON-RPC error.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub code: i64,
    pub message: String,
}

impl Refusal {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: -32602, message: message.into() }
    }
}

/// What a request leads to.
enum Reaction {
    Answer(Value),
    /// The answer, then updates of that session.
    AnswerThen(Value, String, Vec<Value>),
    Run(Prompt),
    Silence,
}

/// A session that was opened again.
struct Reopened {
    id: String,
    answer: Value,
}

impl Reopened {
    /// The answer, what is told after it, and the commands.
    fn reaction(self, mut told: Vec<Value>) -> Reaction {
        told.push(commands());
        Reaction::AnswerThen(self.answer, self.id, told)
    }
}

type Reacted = Result<Reaction, Refusal>;

impl Agent {
    pub fn new(args: Args, wire: Wire) -> Result<Self, Halt> {
        let archive = match args.state.as_deref().map(Archive::open).transpose() {
            Ok(archive) => archive,
            Err(err) => {
                eprintln!("demo-agent: cannot keep conversations: {err}");
                return Err(Halt::Exit(1));
            }
        };
        Ok(Self {
            wire,
            args,
            archive,
            sessions: HashMap::new(),
            offers: Offers::default(),
            active: None,
            answers: HashMap::new(),
        })
    }

    /// Answers the host until one of both ends.
    pub fn serve(&mut self) -> Result<(), Halt> {
        if self.args.faults.contains(&Fault::Garbage) {
            self.wire.raw(b"Welcome! This is no JSON.\n{\"jsonrpc\": \"2.0\", \n\xff\xfe\n")?;
        }
        loop {
            if let (_, Some(prompt)) = self.wait(None, None)? {
                turn::run(self, prompt)?;
            }
        }
    }

    /// Waits, and handles a message if that is what arrives.
    pub fn wait(
        &mut self,
        deadline: Option<Instant>,
        other: Option<BorrowedFd<'_>>,
    ) -> Result<(Woken, Option<Prompt>), Halt> {
        match self.wire.wait(deadline, other)? {
            Ready::Line(line) => Ok((Woken::Message, self.handle(&line)?)),
            Ready::Other => Ok((Woken::Other, None)),
            Ready::Late => Ok((Woken::Deadline, None)),
        }
    }

    fn handle(&mut self, line: &[u8]) -> Result<Option<Prompt>, Halt> {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            self.refuse(&Value::Null, &Refusal { code: -32700, message: "Parse error".into() })?;
            return Ok(None);
        };
        let (id, params) = (message.get("id"), &message["params"]);
        match (message["method"].as_str(), id) {
            (Some(method), Some(id)) => return self.request(id, method, params),
            (Some("session/cancel"), None) => self.cancel(params),
            (Some(_), None) => {}
            (None, Some(id)) => {
                let answer = match message.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(message["result"].clone()),
                };
                self.answers.insert(id.to_string(), answer);
            }
            (None, None) => {
                let message = "neither a method nor an id".into();
                self.refuse(&Value::Null, &Refusal { code: -32600, message })?;
            }
        }
        Ok(None)
    }

    fn cancel(&mut self, params: &Value) {
        if let Some(active) = &mut self.active {
            active.cancelled |= params["sessionId"] == active.session.as_str() && !active.ignore_cancel;
        }
    }

    fn request(&mut self, id: &Value, method: &str, params: &Value) -> Result<Option<Prompt>, Halt> {
        let reacted = match method {
            "initialize" => self.initialize(params)?,
            "authenticate" => Ok(Reaction::Answer(json!({}))),
            "session/new" => self.new_session(params),
            "session/load" => self.load_session(params)?,
            "session/resume" => self.reopen(params).map(|opened| opened.reaction(Vec::new())),
            "session/close" => self.close(params),
            "session/prompt" => self.prompt(id, params),
            "session/set_mode" => self.set(params, "mode", &params["modeId"]),
            "session/set_model" => self.set(params, "model", &params["modelId"]),
            "session/set_config_option" => {
                self.set(params, params["configId"].as_str().unwrap_or(""), &params["value"])
            }
            _ => Err(Refusal { code: -32601, message: format!("Method not found: {method}") }),
        };
        match reacted {
            Ok(Reaction::Answer(result)) => self.answer(id, &result)?,
            Ok(Reaction::AnswerThen(result, session, updates)) => {
                self.answer(id, &result)?;
                for update in updates {
                    self.update(&session, &update)?;
                }
            }
            Ok(Reaction::Run(prompt)) => return Ok(Some(prompt)),
            Ok(Reaction::Silence) => {}
            Err(refusal) => self.refuse(id, &refusal)?,
        }
        Ok(None)
    }

    pub fn answer(&mut self, id: &Value, result: &Value) -> Result<(), Halt> {
        self.wire.send(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    pub fn refuse(&mut self, id: &Value, refusal: &Refusal) -> Result<(), Halt> {
        let error = json!({"code": refusal.code, "message": refusal.message});
        self.wire.send(&json!({"jsonrpc": "2.0", "id": id, "error": error}))
    }

    pub fn update(&mut self, session: &str, update: &Value) -> Result<(), Halt> {
        let params = json!({"sessionId": session, "update": update});
        self.wire.send(&json!({"jsonrpc": "2.0", "method": "session/update", "params": params}))
    }

    fn initialize(&mut self, params: &Value) -> Result<Reacted, Halt> {
        let mut version = 1;
        for fault in &self.args.faults {
            match fault {
                Fault::Silent | Fault::Garbage => return Ok(Ok(Reaction::Silence)),
                Fault::Slow(time) => std::thread::sleep(*time),
                Fault::Version(wrong) => version = *wrong,
                Fault::Exit(_) | Fault::Stderr(_) | Fault::NoSession | Fault::Load(_) => {}
            }
        }
        let can = |value: &Value| value.as_bool().unwrap_or(false);
        let host = &params["clientCapabilities"];
        self.offers = Offers { read: can(&host["fs"]["readTextFile"]), terminal: can(&host["terminal"]) };
        let remembers = self.archive.is_some();
        // What is wrong with loading is to be seen, so that no other way is offered then.
        let has_fault = self.args.faults.iter().any(|fault| matches!(fault, Fault::Load(_)));
        let sessions = match remembers {
            true if has_fault => json!({"close": {}}),
            true => json!({"close": {}, "resume": {}}),
            false => json!({}),
        };
        Ok(Ok(Reaction::Answer(json!({
            "protocolVersion": version,
            "agentCapabilities": {
                "loadSession": remembers,
                "promptCapabilities": {"image": false, "audio": false, "embeddedContext": true},
                "mcpCapabilities": {"http": false, "sse": false},
                "sessionCapabilities": sessions,
            },
            "authMethods": [],
            "agentInfo": {"name": "demo-agent", "title": "Demo agent", "version": env!("CARGO_PKG_VERSION")},
        }))))
    }

    fn new_session(&mut self, params: &Value) -> Reacted {
        if self.args.faults.contains(&Fault::NoSession) {
            return Err(Refusal { code: -32603, message: "this agent makes no sessions".into() });
        }
        let cwd = working_directory(params)?;
        // A front's host may choose the id.
        let chosen = params["_meta"]["sessionId"].as_str().map(str::to_owned);
        let id = chosen.unwrap_or_else(|| self.fresh_id());
        if let Some(Err(err)) = self.archive.as_ref().map(|archive| archive.create(&id)) {
            return Err(Refusal { code: -32603, message: format!("cannot keep the conversation: {err}") });
        }
        let session = Session { cwd, settings: Settings::default(), history: Vec::new() };
        let mut answer = session.settings.describe();
        answer["sessionId"] = json!(id);
        self.sessions.insert(id.clone(), session);
        Ok(Reaction::AnswerThen(answer, id, vec![commands()]))
    }

    /// Unique between all agents that share a state directory.
    fn fresh_id(&self) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        format!("demo-{since:x}-{:x}-{}", process::id(), self.sessions.len())
    }

    /// Goes on with a conversation that was kept, and tells it.
    fn load_session(&mut self, params: &Value) -> Result<Reacted, Halt> {
        let fault = self.args.faults.iter().find_map(|fault| match fault {
            Fault::Load(fault) => Some(*fault),
            _ => None,
        });
        match fault {
            Some(LoadFault::Refuse) => {
                return Ok(Err(Refusal { code: -32603, message: "this agent loads no sessions".into() }));
            }
            Some(LoadFault::Silent) => return Ok(Ok(Reaction::Silence)),
            Some(LoadFault::Exit) => return Err(Halt::Exit(9)),
            Some(LoadFault::Late) | None => {}
        }
        let opened = match self.reopen(params) {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let told = self.sessions[&opened.id].history.iter().map(Entry::to_update).collect::<Vec<_>>();
        if fault == Some(LoadFault::Late) {
            return Ok(Ok(opened.reaction(told)));
        }
        for update in told {
            self.update(&opened.id, &update)?;
        }
        Ok(Ok(opened.reaction(Vec::new())))
    }

    fn reopen(&mut self, params: &Value) -> Result<Reopened, Refusal> {
        let id = params["sessionId"].as_str().unwrap_or("").to_owned();
        let cwd = working_directory(params)?;
        let Some(Ok(history)) = self.archive.as_ref().map(|archive| archive.load(&id)) else {
            return Err(Refusal { code: -32002, message: format!("Session not found: {id}") });
        };
        let mut settings = Settings::default();
        for (option, value) in self.archive.iter().flat_map(|archive| archive.settings(&id)).flatten() {
            // One that is known no more stays as it is without.
            let _ = settings.set(&option, &value);
        }
        let session = Session { cwd, settings, history };
        let answer = session.settings.describe();
        self.sessions.insert(id.clone(), session);
        Ok(Reopened { id, answer })
    }

    /// Forgets a conversation until it is opened again; a kept one stays kept, and is marked as closed.
    fn close(&mut self, params: &Value) -> Reacted {
        let id = params["sessionId"].as_str().unwrap_or("");
        if self.sessions.remove(id).is_none() {
            return Err(Refusal { code: -32002, message: format!("Session not found: {id}") });
        }
        match self.archive.as_ref().map(|archive| archive.close(id)) {
            Some(Err(err)) => Err(Refusal { code: -32603, message: format!("cannot mark it: {err}") }),
            _ => Ok(Reaction::Answer(json!({}))),
        }
    }

    fn prompt(&mut self, id: &Value, params: &Value) -> Reacted {
        let session = params["sessionId"].as_str().unwrap_or("").to_owned();
        if !self.sessions.contains_key(&session) {
            return Err(Refusal { code: -32002, message: format!("Session not found: {session}") });
        }
        if self.active.is_some() {
            return Err(Refusal { code: -32603, message: "A turn is already running".into() });
        }
        let Some(blocks) = params["prompt"].as_array() else {
            return Err(Refusal::invalid("prompt is no list"));
        };
        let texts = blocks.iter().map(|block| match block["type"].as_str() {
            Some("resource") => block["resource"]["text"].as_str().unwrap_or(""),
            Some("resource_link") => block["uri"].as_str().unwrap_or(""),
            _ => block["text"].as_str().unwrap_or(""),
        });
        let text = texts.collect::<Vec<_>>().join("\n");
        Ok(Reaction::Run(Prompt { id: id.clone(), session, text }))
    }

    fn set(&mut self, params: &Value, option: &str, value: &Value) -> Reacted {
        let id = params["sessionId"].as_str().unwrap_or("").to_owned();
        let Some(session) = self.sessions.get_mut(&id) else {
            return Err(Refusal { code: -32002, message: format!("Session not found: {id}") });
        };
        let value = value.as_str().unwrap_or("");
        if !session.settings.set(option, value) {
            return Err(Refusal::invalid(format!("no {option} is called {value:?}")));
        }
        if let Some(Err(err)) = self.archive.as_ref().map(|archive| archive.set(&id, option, value)) {
            return Err(Refusal { code: -32603, message: format!("cannot keep the setting: {err}") });
        }
        let options = session.settings.options();
        let mut updates = vec![json!({"sessionUpdate": "config_option_update", "configOptions": options})];
        if option == "mode" {
            updates.push(json!({"sessionUpdate": "current_mode_update", "currentModeId": value}));
        }
        let answer =
            if params.get("configId").is_some() { json!({"configOptions": options}) } else { json!({}) };
        Ok(Reaction::AnswerThen(answer, id, updates))
    }
}

/// What [`Agent::wait`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    Message,
    Other,
    Deadline,
}

fn working_directory(params: &Value) -> Result<PathBuf, Refusal> {
    if !params["mcpServers"].is_array() {
        return Err(Refusal::invalid("mcpServers is missing"));
    }
    let cwd = PathBuf::from(params["cwd"].as_str().unwrap_or(""));
    if !cwd.is_absolute() {
        return Err(Refusal::invalid("cwd is no absolute path"));
    }
    if !cwd.is_dir() {
        return Err(Refusal::invalid(format!("cwd {} is no directory", cwd.display())));
    }
    Ok(cwd)
}

fn commands() -> Value {
    let command = |name: &str, text: &str| json!({"name": name, "description": text});
    json!({"sessionUpdate": "available_commands_update", "availableCommands": [
        command("help", "What this agent can be told to do"),
        command("write", "Write a file: /write PATH TEXT"),
        command("shell", "Run a command: /shell CMD"),
    ]})
}
