//! One conversation: its agent's updates as opencode's events.

use super::stream::Streams;
use crate::{
    args::Args,
    front::host::{Heard, Host, Opening, Said, shown, text, tool_name},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How long an abort is waited for before it is answered all the same.
const TEAR_DOWN: Duration = Duration::from_millis(300);

/// A part of a text is closed after so many bytes, so that it need not be held for ever.
const LONGEST_PART: usize = 64 << 10;

/// Texts of a turn that are kept, the last ones.
const MOST_PARTS: usize = 64;

pub(super) struct Conversation {
    pub id: String,
    pub directory: String,
    streams: Arc<Streams>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    host: Host,
    /// The prompt's request, while a turn runs.
    turn: Option<u64>,
    is_aborted: bool,
    /// The messages of the last turn: the prompt, and the answer with its parts.
    prompt: Value,
    answer: Value,
    parts: Vec<Value>,
    /// Open requests for leave, by our ids: the agent's id, and what is told of them.
    asked: BTreeMap<String, (Value, Value)>,
    /// The part of each open tool call, by the call's id.
    calls: BTreeMap<String, Value>,
    /// How many messages, parts and requests there were.
    ids: u64,
}

/// Events to be told: their kinds and properties. They are told when the state is not locked any more.
type Events = Vec<(&'static str, Value)>;

impl Conversation {
    /// Starts an agent for it.
    ///
    /// # Errors
    /// The agent's own words where it refuses.
    pub fn open(
        args: &Args,
        directory: &str,
        opening: Opening<'_>,
        streams: &Arc<Streams>,
    ) -> io::Result<Result<Arc<Self>, String>> {
        let started = Host::start(args, Path::new(directory), opening)?;
        Ok(started.map(|(host, heard)| {
            let conversation = Arc::new(Self {
                id: host.session.clone(),
                directory: directory.to_owned(),
                streams: Arc::clone(streams),
                state: Mutex::new(State {
                    host,
                    turn: None,
                    is_aborted: false,
                    prompt: Value::Null,
                    answer: Value::Null,
                    parts: Vec::new(),
                    asked: BTreeMap::new(),
                    calls: BTreeMap::new(),
                    ids: 0,
                }),
                changed: Condvar::new(),
            });
            thread::spawn({
                let conversation = Arc::clone(&conversation);
                move || conversation.hear(heard)
            });
            conversation
        }))
    }

    pub fn describe(&self) -> Value {
        json!({"id": self.id, "directory": self.directory, "title": "", "version": env!("CARGO_PKG_VERSION")})
    }

    pub fn is_busy(&self) -> bool {
        self.lock().turn.is_some()
    }

    /// Its messages, as far as they are of the last turn.
    pub fn messages(&self) -> Value {
        let state = self.lock();
        if state.prompt.is_null() {
            return json!([]);
        }
        json!([{"info": state.prompt, "parts": []}, {"info": state.answer, "parts": state.parts}])
    }

    /// The requests for leave that are open.
    pub fn asked(&self) -> Vec<Value> {
        self.lock().asked.values().map(|(_, told)| told.clone()).collect()
    }

    /// Begins a turn.
    pub fn prompt(&self, body: &Value) {
        let mut state = self.lock();
        let texts = body["parts"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
        let prompt = texts.collect::<Vec<_>>().join("\n");
        let message = body["messageID"].as_str().map_or_else(|| state.fresh("msg"), str::to_owned);
        let model = body["model"]["modelID"].as_str().unwrap_or("demo-1");
        state.prompt = json!({"id": message, "sessionID": self.id, "role": "user"});
        state.answer = json!({"id": state.fresh("msg"), "sessionID": self.id, "role": "assistant", "parentID": message,
                              "providerID": "demo", "modelID": model, "time": {"created": 0}});
        (state.parts, state.is_aborted) = (Vec::new(), false);
        state.host.ask("session/set_model", json!({"modelId": model}));
        state.host.ask("session/set_mode", json!({"modeId": mode_of(body)}));
        state.turn = Some(state.host.prompt(&prompt));
        let events = vec![
            ("message.updated", json!({"sessionID": self.id, "info": state.prompt})),
            ("session.status", json!({"sessionID": self.id, "status": {"type": "busy"}})),
            ("message.updated", json!({"sessionID": self.id, "info": state.answer})),
        ];
        // Under the lock, so that nothing of the turn is told before its beginning; the turn waits for the lock.
        self.tell(events);
    }

    /// Ends the turn, and waits a while for its end.
    pub fn abort(&self) {
        let mut state = self.lock();
        if state.turn.is_none() {
            return;
        }
        state.is_aborted = true;
        state.host.cancel();
        for (id, _) in std::mem::take(&mut state.asked).into_values() {
            state.host.decide(&id, None);
        }
        let over = self.changed.wait_timeout_while(state, TEAR_DOWN, |state| state.turn.is_some());
        drop(over.unwrap_or_else(PoisonError::into_inner));
    }

    /// Answers a request for leave, if it is one of this conversation's.
    pub fn reply(&self, request: &str, leave: bool) {
        let mut state = self.lock();
        let Some((id, _)) = state.asked.remove(request) else { return };
        state.host.decide(&id, Some(leave));
        drop(state);
        let reply = if leave { "once" } else { "reject" };
        self.tell(vec![(
            "permission.replied",
            json!({"sessionID": self.id, "requestID": request, "reply": reply}),
        )]);
    }

    fn hear(&self, mut heard: Heard) {
        while let Some(line) = heard.next() {
            let events = self.lock().take(&self.id, &line);
            self.tell(events);
            self.changed.notify_all();
        }
        if let Some(code) = heard.end() {
            process::exit(code.into());
        }
    }

    fn tell(&self, events: Events) {
        for (kind, properties) in events {
            self.streams.tell(&self.directory, kind, &properties);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a line of the agent's.
    fn take(&mut self, session: &str, line: &[u8]) -> Events {
        match Said::read(line) {
            Said::Update(update) if self.turn.is_some() => self.update(&update),
            Said::Ask { id, params } => self.ask(session, id, &params["toolCall"]),
            Said::Answer(number, answer) if self.turn == Some(number) => self.end(session, &answer),
            Said::Request { id, method } => {
                self.host.refuse(&id, &method);
                Events::new()
            }
            Said::Update(_) | Said::Answer(..) | Said::Other | Said::Noise => Events::new(),
        }
    }

    fn update(&mut self, update: &Value) -> Events {
        let kind = update["sessionUpdate"].as_str().unwrap_or_default();
        let mut events = Events::new();
        match kind {
            "agent_message_chunk" => self.chunk("text", text(update), &mut events),
            "agent_thought_chunk" => self.chunk("reasoning", text(update), &mut events),
            "tool_call" | "tool_call_update" => {
                self.close_part(&mut events);
                self.tool(update, &mut events);
            }
            "usage_update" => self.answer["cost"] = update["cost"]["amount"].clone(),
            _ => {}
        }
        events
    }

    fn chunk(&mut self, kind: &str, text: &str, events: &mut Events) {
        let open = self.parts.last().filter(|part| part["type"] == kind && part["time"]["end"].is_null());
        let is_short = open.is_some_and(|part| part["text"].as_str().map_or(0, str::len) < LONGEST_PART);
        if !is_short {
            self.close_part(events);
            let part = self.part(kind, json!({"text": "", "time": {"start": 0}}));
            events.push(("message.part.updated", about(&part)));
            if self.parts.len() == MOST_PARTS {
                self.parts.remove(0);
            }
            self.parts.push(part);
        }
        if let Some(part) = self.parts.last_mut() {
            if let Value::String(whole) = &mut part["text"] {
                whole.push_str(text);
            }
            events.push((
                "message.part.delta",
                json!({"sessionID": part["sessionID"], "messageID": part["messageID"], "partID": part["id"],
                       "field": "text", "delta": text}),
            ));
        }
    }

    /// Tells a text as a whole.
    fn close_part(&mut self, events: &mut Events) {
        let open =
            self.parts.last_mut().filter(|part| part["text"].is_string() && part["time"]["end"].is_null());
        if let Some(part) = open {
            part["time"]["end"] = json!(1);
            let part = part.clone();
            events.push(("message.part.updated", about(&part)));
        }
    }

    fn tool(&mut self, update: &Value, events: &mut Events) {
        let call = update["toolCallId"].as_str().unwrap_or_default().to_owned();
        let mut part = self.calls.remove(&call).unwrap_or_else(|| {
            let state = json!({"status": "running", "input": update["rawInput"], "title": update["title"]});
            self.part(
                "tool",
                json!({"callID": call, "tool": tool_name(update).to_lowercase(), "state": state}),
            )
        });
        match update["status"].as_str() {
            Some("completed") => {
                part["state"]["status"] = json!("completed");
                part["state"]["output"] = json!(shown(update));
            }
            Some("failed") => {
                part["state"]["status"] = json!("error");
                part["state"]["error"] = json!(shown(update));
            }
            _ => drop(self.calls.insert(call, part.clone())),
        }
        events.push(("message.part.updated", about(&part)));
    }

    fn ask(&mut self, session: &str, id: Value, call: &Value) -> Events {
        let ours = self.fresh("per");
        let told = json!({"id": ours, "sessionID": session, "permission": "edit", "patterns": [call["title"]],
                          "metadata": {}, "always": ["*"],
                          "tool": {"messageID": self.answer["id"], "callID": call["toolCallId"]}});
        self.asked.insert(ours, (id, told.clone()));
        vec![("permission.asked", told)]
    }

    /// The last events of a turn.
    fn end(&mut self, session: &str, result: &Result<Value, Value>) -> Events {
        let mut events = Events::new();
        self.close_part(&mut events);
        self.turn = None;
        self.calls.clear();
        let count =
            |key: &str| result.as_ref().map_or(0, |result| result["usage"][key].as_u64().unwrap_or(0));
        let tokens = json!({"input": count("inputTokens"), "output": count("outputTokens"), "reasoning": 0,
                            "cache": {"read": 0, "write": 0}});
        self.answer["tokens"] = tokens;
        self.answer["time"]["completed"] = json!(1);
        let error = match result {
            _ if self.is_aborted => json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}}),
            Ok(_) => Value::Null,
            Err(error) => {
                json!({"name": "APIError", "data": {"message": error["message"], "isRetryable": false}})
            }
        };
        if error.is_null() {
            self.answer["finish"] = json!("stop");
        } else {
            self.answer["error"] = error.clone();
            events.push(("session.error", json!({"sessionID": session, "error": error})));
        }
        events.push(("message.updated", json!({"sessionID": session, "info": self.answer})));
        events.push(("session.status", json!({"sessionID": session, "status": {"type": "idle"}})));
        events.push(("session.idle", json!({"sessionID": session})));
        events
    }

    /// A part of the answer, with what makes it one.
    fn part(&mut self, kind: &str, mut part: Value) -> Value {
        part["id"] = json!(self.fresh("prt"));
        part["type"] = json!(kind);
        part["messageID"] = self.answer["id"].clone();
        part["sessionID"] = self.answer["sessionID"].clone();
        part
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}_{:08}_{}", self.ids, self.host.session)
    }
}

/// The properties of an event about a part.
fn about(part: &Value) -> Value {
    json!({"sessionID": part["sessionID"], "part": part})
}

/// The agent's mode for one of opencode's.
fn mode_of(body: &Value) -> &str {
    if body["agent"] == "plan" { "plan" } else { "default" }
}
