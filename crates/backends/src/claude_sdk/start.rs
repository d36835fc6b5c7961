//! From a started process to one that is ready for a prompt.

use std::time::Duration;

use acp_proto::Line;
use dispatch_core::agent::{Failure, Notice, NoticeCode};
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::TerminalReason;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::hello::{DEFAULT_MODE, DEFAULT_MODEL, Hello};
use super::process::{ClaudeProcess, Deaf, Wire};
use super::protocol;
use crate::common::drivel::Drivel;
use crate::common::json::{object, text};
use crate::common::plain::plain_text;
use crate::common::printed::StrayOutput;
use crate::common::{failure, words};

/// How long a request may wait for its answer. The first takes as long as Claude Code takes to start: up to 4 s were
/// recorded.
const ANSWER: Duration = Duration::from_secs(60);
/// Lines that are no messages, before it is taken for another program. A banner is fine.
const MOST_STRAY_LINES: u64 = 1000;
/// What it says of a conversation that it does not have.
const UNKNOWN_CONVERSATION: &str = "No conversation found";

/// Why it does not get ready.
pub(super) enum Trouble {
    /// It ended, or closed its output.
    Closed,
    /// It did not answer a request in time.
    Silent(&'static str),
    /// It prints, and not its protocol.
    Garbage,
    /// It asks, and does not read the answers.
    Deaf,
}

/// A handshake under way.
pub(super) struct Handshake<'a> {
    pub(super) process: &'a ClaudeProcess,
    pub(super) wire: &'a mut Wire,
    pub(super) stray: &'a mut StrayOutput,
    pub(super) requests: &'a mut u64,
}

impl Handshake<'_> {
    /// Has it introduce itself, if it has not, and makes the settings that were asked for. Returns what the user should
    /// know.
    pub(super) async fn run(&mut self, spec: &SessionSpec) -> Result<Vec<Notice>, Trouble> {
        let hello = match &self.wire.hello {
            Some(hello) => hello.clone(),
            None => {
                let answer = self.ask("initialize", json!({"subtype": "initialize", "hooks": null})).await?;
                let hello = Hello::read(&answer.unwrap_or_default());
                self.wire.hello = Some(hello.clone());
                hello
            }
        };
        let mut notices = Vec::new();
        notices.extend(self.model(spec, &hello).await?);
        notices.extend(self.mode(spec, &hello).await?);
        Ok(notices)
    }

    async fn model(&mut self, spec: &SessionSpec, hello: &Hello) -> Result<Option<Notice>, Trouble> {
        let wanted = spec.model.as_ref().map(|wanted| hello.model(wanted.as_str()));
        let wanted = wanted.unwrap_or_else(|| DEFAULT_MODEL.to_owned());
        if wanted == self.wire.model {
            return Ok(None);
        }
        let name = (wanted != DEFAULT_MODEL).then_some(&wanted);
        let set = self.ask("set_model", json!({"subtype": "set_model", "model": name})).await?;
        Ok(match set {
            Ok(_) => {
                self.wire.model_is(wanted);
                None
            }
            Err(why) => Some(self.ignored("model", &wanted, &why)),
        })
    }

    async fn mode(&mut self, spec: &SessionSpec, hello: &Hello) -> Result<Option<Notice>, Trouble> {
        let mut notice = None;
        let known = spec.mode.as_ref().and_then(|wanted| {
            let mode = hello.mode(wanted.as_str());
            if mode.is_none() {
                let modes = hello.settings("", "", None).mode.choices;
                let modes: Vec<String> = modes.into_iter().map(|mode| mode.id).collect();
                let why = format!("it is offered {}", modes.join(", "));
                notice = Some(self.ignored("mode", wanted.as_str(), &why));
            }
            mode
        });
        let wanted = match (known, &self.wire.mode) {
            (Some(wanted), _) => wanted,
            // Its own mode, which it is in still.
            (None, None) => return Ok(notice),
            (None, Some(_)) => self.wire.own_mode.clone().unwrap_or_else(|| DEFAULT_MODE.to_owned()),
        };
        if self.wire.mode.as_ref() != Some(&wanted) {
            let set = json!({"subtype": "set_permission_mode", "mode": wanted});
            match self.ask("set_permission_mode", set).await? {
                Ok(_) => self.wire.mode = Some(wanted),
                Err(why) => notice = Some(self.ignored("mode", &wanted, &why)),
            }
        }
        Ok(notice)
    }

    /// Asks and waits for the answer; the inner error is its refusal.
    async fn ask(&mut self, what: &'static str, request: Value) -> Result<Result<Value, String>, Trouble> {
        *self.requests += 1;
        let id = format!("request-{}", self.requests);
        let until = Instant::now() + ANSWER;
        let mut said = Drivel::default();
        let request = protocol::request(&id, request).to_string();
        if timeout_at(until, self.process.outbox.send(request)).await.is_err() {
            return Err(Trouble::Silent(what));
        }
        loop {
            while let Some(line) = self.wire.lines.next_line() {
                if let Some(answer) = self.hear(line, &id) {
                    return Ok(answer);
                }
            }
            let agent = self.process.entry.name.as_str();
            if self.stray.lines() > MOST_STRAY_LINES || said.failure(agent).is_some() {
                return Err(Trouble::Garbage);
            }
            match timeout_at(until, self.wire.read(&self.process.outbox)).await {
                Ok(Ok(0)) => return Err(Trouble::Closed),
                Ok(Ok(length)) => said.add(length),
                Ok(Err(Deaf)) => return Err(Trouble::Deaf),
                Err(_) => return Err(Trouble::Silent(what)),
            }
        }
    }

    /// The answer to a request, if it is one. Whatever else is said belongs to no turn.
    fn hear(&mut self, line: Line, id: &str) -> Option<Result<Value, String>> {
        let Line::Whole(bytes) = line else {
            self.stray.add_text("a line of more than 8 MiB", false);
            return None;
        };
        let Some(mut line) = object(&bytes) else {
            if !bytes.trim_ascii().is_empty() {
                self.stray
                    .add_text(&String::from_utf8_lossy(&bytes[..bytes.len().min(256)]), bytes.len() > 256);
            }
            return None;
        };
        match text(&line, "type") {
            "control_response" => {
                let response = line.get_mut("response").map(Value::take).unwrap_or_default();
                (text(&response, "request_id") == id).then(|| read_answer(response))
            }
            _ => {
                self.wire.pass_over(&line);
                None
            }
        }
    }

    fn ignored(&self, word: &str, wanted: &str, why: &str) -> Notice {
        let text = format!("agent {} goes on without the {word} `{wanted}`: {why}", self.process.entry.name);
        Notice { code: NoticeCode::OptionIgnored, text }
    }
}

fn read_answer(mut response: Value) -> Result<Value, String> {
    match text(&response, "subtype") {
        "success" => Ok(response.get_mut("response").map(Value::take).unwrap_or_default()),
        _ => Err(text(&response, "error").to_owned()),
    }
}

/// Whether it ended because it does not have the conversation that it was to go on with.
pub(super) async fn is_unknown_conversation(trouble: &Trouble, wire: &mut Wire) -> bool {
    if !matches!(trouble, Trouble::Closed) {
        return false;
    }
    // Its last words are there when it has ended.
    wire.exit().await;
    wire.child.stderr_tail().contains(UNKNOWN_CONVERSATION)
}

/// The failure that a trouble makes.
pub(super) async fn failure_of(
    trouble: Trouble,
    agent: &str,
    wire: &mut Wire,
    stray: &StrayOutput,
) -> Failure {
    let said = match trouble {
        Trouble::Closed => format!("{} before it was ready", words::gone(agent, wire.exit().await)),
        Trouble::Silent(what) => {
            format!("agent {agent} did not answer {what} within {}", words::time(ANSWER))
        }
        Trouble::Garbage => format!("agent {agent} prints what is not its control protocol"),
        Trouble::Deaf => words::deaf(agent),
    };
    let stderr = plain_text(&wire.child.stderr_tail());
    let reason = failure::of_message(stderr.lines().last().unwrap_or_default()).reason;
    let reason = if reason == TerminalReason::AgentFailed { TerminalReason::CouldNotStart } else { reason };
    Failure::new(reason, words::with_output(said, stray.text(), &stderr))
}
