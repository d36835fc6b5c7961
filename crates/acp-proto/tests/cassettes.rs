//! Every recorded conversation is played again through the client connection: the test plays the agent's side
//! by the recording, and the host's side calls what the recorded host called.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;
#[path = "support/transcripts.rs"]
mod transcripts;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acp_proto::client::{Answer, Client, Config, Event, Events, PermissionAnswer, RequestHandler};
use acp_proto::{RawJson, Request, RequestId, RpcError, method};
use async_trait::async_trait;
use serde_json::Value;
use support::{Agent, next, rest, start_with};
use tokio::task::JoinHandle;
use transcripts::{From, Row};

/// Answers the agent's requests with what the recorded host answered.
#[derive(Default)]
struct Recorded {
    answers: HashMap<String, Result<RawJson, RpcError>>,
    opened: Mutex<Vec<String>>,
}

#[async_trait]
impl RequestHandler for Recorded {
    fn session_opened(&self, session_id: &str, _: &Path) {
        self.opened.lock().unwrap().push(session_id.to_owned());
    }

    fn turn_stopped(&self, _: &str) {}

    fn connection_closed(&self) {}

    async fn serve(&self, request: Request) -> Result<Answer, RpcError> {
        match self.answers.get(&request.id.to_string()) {
            Some(answer) => answer.clone().map(Answer::from),
            // The recorded host was killed before it answered.
            None => std::future::pending().await,
        }
    }
}

/// What the agent said, by the event that it must become.
#[derive(Debug, PartialEq)]
enum Said {
    Update(Value),
    Private(Value),
    Permission(Value),
    Ended(Value),
    Answered,
    Stray,
}

struct Player {
    client: Client,
    events: Events,
    agent: Agent,
    /// The id that a recorded call has now.
    calls: HashMap<Value, Value>,
    /// What the host wrote and the recording has not come to yet.
    heard: Vec<Value>,
    /// Calls that are awaited, with the recorded id.
    waiting: Vec<(Value, JoinHandle<Result<Value, Value>>)>,
    /// What each awaited call must come to.
    outcomes: HashMap<Value, Result<Value, Value>>,
    said: Vec<Said>,
    seen: Vec<Said>,
    cancelling: Vec<String>,
}

fn raw(json: &Value) -> RawJson {
    RawJson::encode(json).unwrap()
}

fn parsed(raw: &RawJson) -> Value {
    raw.decode().unwrap()
}

fn seen(event: &Event) -> Said {
    match event {
        Event::Update(update) => Said::Update(parsed(update.raw())),
        Event::Notification(it) => Said::Private(parsed(it.params.as_ref().unwrap())),
        Event::Permission { request, .. } => Said::Permission(parsed(request.raw())),
        Event::TurnEnded { outcome, .. } => Said::Ended(match outcome {
            Ok(end) => parsed(end.raw()),
            Err(error) => error.agent_error().map_or(Value::Null, |error| error.code.into()),
        }),
        Event::Answered { .. } => Said::Answered,
        Event::Stray(_) => Said::Stray,
        other => panic!("{other:?}"),
    }
}

impl Player {
    /// A process of the agent, for the rows up to the next one.
    fn start(rows: &[Row]) -> Self {
        let requests: Vec<Value> = rows
            .iter()
            .filter(|row| row.from == From::Agent)
            .filter_map(Row::json)
            .filter(is_request)
            .collect();
        let answers = rows.iter().filter(|row| row.from == From::Host).filter_map(Row::json);
        let answers = answers.filter(|json| json.get("method").is_none()).map(|json| {
            let id = requests.iter().find(|request| request["id"] == json["id"]).unwrap()["id"].to_string();
            let code = json["error"]["code"].as_i64();
            (id, code.map_or_else(|| Ok(raw(&json["result"])), |code| Err(RpcError::new(code, "recorded"))))
        });
        let recorded = Recorded { answers: answers.collect(), opened: Mutex::default() };
        let (client, events, agent) = start_with(Config::default(), Arc::new(recorded));
        Self {
            client,
            events,
            agent,
            calls: HashMap::new(),
            heard: Vec::new(),
            waiting: Vec::new(),
            outcomes: HashMap::new(),
            said: Vec::new(),
            seen: Vec::new(),
            cancelling: Vec::new(),
        }
    }

    /// Waits until the host has written a line like this.
    async fn hear(&mut self, like: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(at) = self.heard.iter().position(&like) {
                return self.heard.remove(at);
            }
            let line = self.agent.hear().await;
            self.heard.push(line);
        }
    }

    async fn host(&mut self, json: Value) {
        let method = json["method"].as_str().map(str::to_owned);
        match method.as_deref() {
            Some(method::SESSION_CANCEL) => {
                let session = json["params"]["sessionId"].as_str().unwrap().to_owned();
                // A permission that is asked after the cancel is no event.
                self.catch_up().await;
                self.client.cancel(&session).await.unwrap();
                let sent = self.hear(|line| line["method"] == method::SESSION_CANCEL).await;
                assert_eq!(sent["params"], json["params"]);
                self.cancelling.push(session);
            }
            Some(method) => self.call(method.to_owned(), &json).await,
            None => self.answer(&json).await,
        }
    }

    async fn call(&mut self, method: String, json: &Value) {
        let params = json["params"].clone();
        let prompt = serde_json::from_value::<Vec<_>>(params["prompt"].clone());
        match (method.as_str(), prompt) {
            (method::SESSION_PROMPT, Ok(prompt)) => {
                let session = params["sessionId"].as_str().unwrap();
                self.cancelling.retain(|cancelling| cancelling != session);
                self.client.prompt(session, &prompt).await.unwrap();
            }
            _ => {
                let (client, params, method) = (self.client.clone(), raw(&params), method.clone());
                let call = async move {
                    let result = client.request(&method, params, Duration::from_secs(600)).await;
                    result.map(|it| parsed(&it)).map_err(|error| error.agent_error().map(|it| it.code).into())
                };
                self.waiting.push((json["id"].clone(), tokio::spawn(call)));
            }
        }
        let sent = self.hear(|line| line["method"] == *method).await;
        assert_eq!(sent["params"], json["params"]);
        self.calls.insert(json["id"].clone(), sent["id"].clone());
    }

    /// The recorded host answered a request of the agent.
    async fn answer(&mut self, json: &Value) {
        if let Some(outcome) = json["result"].get("outcome") {
            let id: RequestId = match &json["id"] {
                Value::Number(id) => id.as_i64().unwrap().into(),
                id => id.as_str().unwrap().into(),
            };
            let answer = match outcome["optionId"].as_str() {
                Some(option) => PermissionAnswer::Selected(option.to_owned()),
                None => PermissionAnswer::Cancelled,
            };
            self.catch_up().await;
            let answered = self.client.answer_permission(&id, answer).await;
            // Only a cancel may have been faster, and it says the same.
            assert!(answered.is_ok() || outcome["outcome"] == "cancelled", "{json}");
        }
        let sent = self.hear(|line| line.get("method").is_none() && line["id"] == json["id"]).await;
        assert_eq!(sent["result"], json["result"]);
        assert_eq!(sent["error"]["code"], json["error"]["code"]);
    }

    async fn agent(&mut self, mut json: Value) {
        let session = json["params"]["sessionId"].as_str().unwrap_or_default();
        let said = match (json["method"].as_str(), is_request(&json)) {
            (Some(method::REQUEST_PERMISSION), _) if self.cancelling.iter().any(|it| it == session) => None,
            (Some(method::REQUEST_PERMISSION), _) => Some(Said::Permission(json["params"].clone())),
            (Some(_), true) => None,
            (Some(method::SESSION_UPDATE), _) => Some(Said::Update(json["params"].clone())),
            (Some(_), _) => Some(Said::Private(json["params"].clone())),
            (None, _) => Some(self.answered(&mut json)),
        };
        self.said.extend(said);
        self.agent.say(json).await;
    }

    /// Gives an answer the id that its call has now.
    fn answered(&mut self, json: &mut Value) -> Said {
        let recorded = json["id"].clone();
        let Some(id) = self.calls.remove(&recorded) else { return Said::Stray };
        json["id"] = id;
        let code = json["error"]["code"].clone();
        if self.waiting.iter().any(|(id, _)| *id == recorded) {
            let outcome = if code.is_null() { Ok(json["result"].clone()) } else { Err(code) };
            self.outcomes.insert(recorded, outcome);
            return Said::Answered;
        }
        let ended = if code.is_null() { json["result"].clone() } else { code };
        if ended.get("stopReason").is_some_and(|reason| reason == "cancelled") {
            self.cancelling.clear();
        }
        Said::Ended(ended)
    }

    /// Takes as many events as the agent has caused.
    async fn catch_up(&mut self) {
        while self.seen.len() < self.said.len() {
            let event = next(&mut self.events).await;
            self.seen.push(seen(&event));
        }
    }

    async fn finish(mut self, name: &str) {
        self.catch_up().await;
        self.agent.exit().await;
        let mut last = rest(&mut self.events).await;
        assert!(matches!(last.pop(), Some(Event::Closed { .. })), "{name}");
        // What the recorded agent never answered, or the recording did not wait for.
        assert!(
            last.iter().all(|event| matches!(
                event,
                Event::TurnEnded { outcome: Err(_), .. } | Event::Answered { .. }
            )),
            "{name}: {last:?}"
        );
        assert_eq!(self.seen, self.said, "{name}");
        for (id, call) in self.waiting {
            let outcome = call.await.unwrap();
            assert_eq!(outcome, self.outcomes.remove(&id).unwrap_or(Err(Value::Null)), "{name}");
        }
    }
}

fn is_request(json: &Value) -> bool {
    json.get("method").is_some() && json.get("id").is_some()
}

#[tokio::test]
async fn every_recorded_conversation_can_be_had_again() {
    let mut processes = 0;
    for scenario in transcripts::all() {
        for rows in scenario.rows.split(|row| row.from == From::Spawn).filter(|rows| !rows.is_empty()) {
            eprintln!("{}", scenario.name);
            let mut player = Player::start(rows);
            for row in rows {
                // Two lines of the host are no JSON; this host sends none.
                let Some(json) = row.json() else { continue };
                match row.from {
                    From::Host => player.host(json).await,
                    From::Agent => player.agent(json).await,
                    From::Spawn => unreachable!("rows are split there"),
                }
            }
            player.finish(&scenario.name).await;
            processes += 1;
        }
    }
    assert_eq!(processes, 215);
}
