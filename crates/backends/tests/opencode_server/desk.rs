//! A fake server, the route to it, and turns.

use std::sync::Arc;

use backends::launch::Launcher;
use backends::opencode_server::{OpencodeServer, OpencodeSettings};
use backends::pool::{Keeper, Pool, PoolSettings};
use backends::process::Supervisor;
use backends::registry::{Registry, UserAgent};
use dispatch_core::agent::Failure;
use dispatch_core::ids::{ChatId, SessionId, TaskId};
use dispatch_core::ports::{Close, SessionSpec};
use dispatch_core::task::Name;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake::{Fake, Manner};
use crate::support::said::text;
use crate::support::spec::spec;
use crate::support::turn::{Turn, assert_nothing_left};
use crate::support::waiting::within;

/// Everything that turns need.
pub struct Desk {
    pub fake: Fake,
    pub pool: Arc<Pool>,
    pub backend: OpencodeServer,
    pub worktree: TempDir,
    spec: SessionSpec,
}

impl Desk {
    pub async fn new(manner: Manner) -> Self {
        Self::with(manner, |_| {}).await
    }

    pub async fn with(manner: Manner, change: impl FnOnce(&mut OpencodeSettings)) -> Self {
        let fake = Fake::start(manner).await;
        let program = Some(fake.program().to_str().unwrap().to_owned());
        let user = UserAgent { program, ..UserAgent::default() };
        let registry = Registry::new([(Name::new("opencode").unwrap(), user)]).unwrap();
        let mut settings = OpencodeSettings::new(Launcher::new(Supervisor::SelfExe));
        change(&mut settings);
        let pool = Pool::new(PoolSettings::default());
        let backend = OpencodeServer::new(Arc::new(registry), settings, Arc::clone(&pool));
        let worktree = tempfile::tempdir().unwrap();
        let spec = SessionSpec { agent: Name::new("opencode"), ..spec(worktree.path()) };
        Self { fake, pool, backend, worktree, spec }
    }

    /// What a turn of the n-th line of work is started for.
    pub fn spec(&self, number: u8) -> SessionSpec {
        SessionSpec {
            task: TaskId::from_random([number; 16]),
            session: SessionId::from_random([number; 16]),
            chat: ChatId::from_random([number; 16]),
            ..self.spec.clone()
        }
    }

    pub async fn start(&self, spec: SessionSpec) -> Result<Turn, Failure> {
        let mut turn = Turn::open(&self.backend, spec).await?;
        match turn.start().await {
            Ok(()) => Ok(turn),
            Err(failure) => {
                turn.close(Close::Return).await;
                Err(failure)
            }
        }
    }

    /// A turn of the n-th line of work, whose prompt has been taken: the turn, and what its server says.
    pub async fn turn(&self, number: u8) -> (Turn, Voice<'_>) {
        let mut turn = self.start(self.spec(number)).await.unwrap();
        let voice = self.prompt(&mut turn, "hello").await;
        voice.take_prompt();
        (turn, voice)
    }

    /// One that has begun to answer, and was heard to say this.
    pub async fn turn_that_said(&self, number: u8, text: &str) -> (Turn, Voice<'_>) {
        let (mut turn, voice) = self.turn(number).await;
        voice.begin_answer("msg_a");
        voice.begin_text("msg_a", "prt_a");
        voice.delta("prt_a", text);
        turn.until_said(text).await;
        (turn, voice)
    }

    pub async fn prompt(&self, turn: &mut Turn, text: &str) -> Voice<'_> {
        let session = turn.info.agent_session.clone().unwrap();
        let call = format!("POST /session/{session}/prompt_async");
        let nth = self.fake.calls(&call) + 1;
        turn.prompt(text).await;
        let body = self.fake.called(&call, nth).await;
        Voice { fake: &self.fake, session, prompt: body["messageID"].as_str().unwrap().to_owned() }
    }

    /// How many servers are kept.
    pub fn servers(&self) -> Vec<u32> {
        self.pool.warm().iter().map(|kept| kept.pid).collect()
    }

    /// Ends what is kept, and looks that nothing is left.
    pub async fn over(self) {
        within(self.pool.shut_down()).await;
        assert_nothing_left(&self.spec.run_tag);
    }
}

impl Turn {
    /// Waits until all of this text was said.
    pub async fn until_said(&mut self, wanted: &str) {
        while text(&self.updates) != wanted {
            let end = within(self.session.next(&mut self.updates)).await;
            assert!(end.is_none(), "ended early: {end:?} after {:?}", self.updates);
            assert!(wanted.starts_with(&text(&self.updates)), "{:?}", text(&self.updates));
        }
    }
}

/// What a server says of one turn.
pub struct Voice<'a> {
    pub fake: &'a Fake,
    pub session: String,
    pub prompt: String,
}

impl Voice<'_> {
    pub fn say(&self, kind: &str, mut properties: Value) {
        properties["sessionID"] = json!(self.session);
        self.fake.event(kind, properties);
    }

    pub fn status(&self, kind: &str) {
        self.say("session.status", json!({"status": {"type": kind}}));
    }

    pub fn idle(&self) {
        self.status("idle");
        self.say("session.idle", json!({}));
    }

    pub fn take_prompt(&self) {
        self.say("message.updated", json!({"info": {"id": self.prompt, "role": "user"}}));
        self.status("busy");
    }

    pub fn begin_answer(&self, message: &str) {
        self.say("message.updated", json!({"info": self.answer(message, false)}));
    }

    pub fn end_answer(&self, message: &str) {
        self.say("message.updated", json!({"info": self.answer(message, true)}));
    }

    pub fn begin_text(&self, message: &str, part: &str) {
        self.say("message.part.updated", json!({"part": text_part(message, part, "", false)}));
    }

    pub fn delta(&self, part: &str, text: &str) {
        self.say(
            "message.part.delta",
            json!({"messageID": "", "partID": part, "field": "text", "delta": text}),
        );
    }

    pub fn end_text(&self, message: &str, part: &str, text: &str) {
        self.say("message.part.updated", json!({"part": text_part(message, part, text, true)}));
    }

    /// A whole answer and the end.
    pub fn answer_with(&self, text: &str) {
        self.begin_answer("msg_a");
        self.begin_text("msg_a", "prt_a");
        self.delta("prt_a", text);
        self.end_text("msg_a", "prt_a", text);
        self.end_answer("msg_a");
        self.idle();
    }

    pub fn answer(&self, message: &str, is_complete: bool) -> Value {
        let mut info = json!({"id": message, "role": "assistant", "parentID": self.prompt,
                              "providerID": "p", "modelID": "m", "time": {"created": 1}});
        if is_complete {
            info["time"]["completed"] = json!(2);
            info["finish"] = json!("stop");
            info["tokens"] =
                json!({"input": 3, "output": 2, "reasoning": 0, "cache": {"read": 0, "write": 0}});
            info["cost"] = json!(0.25);
        }
        info
    }

    /// What `GET …/message` is to answer from now on: the prompt, and answers with one part of text each.
    pub fn store(&self, answers: &[(&str, &str, &str, bool)]) {
        let prompt = json!({"info": {"id": self.prompt, "role": "user"}, "parts": []});
        let answers = answers.iter().map(|answer| self.stored(*answer));
        let messages: Vec<Value> = std::iter::once(prompt).chain(answers).collect();
        self.fake.answer(&format!("GET /session/{}/message", self.session), json!(messages));
    }

    /// What it is to answer when it is asked with this query; the prompt is not among it.
    pub fn store_without_prompt(&self, query: &str, answers: &[(&str, &str, &str, bool)]) {
        let messages: Vec<Value> = answers.iter().map(|answer| self.stored(*answer)).collect();
        self.fake.answer(&format!("GET /session/{}/message?{query}", self.session), json!(messages));
    }

    fn stored(&self, (message, part, text, is_complete): (&str, &str, &str, bool)) -> Value {
        json!({"info": self.answer(message, is_complete), "parts": [text_part(message, part, text, is_complete)]})
    }

    pub fn is_busy(&self, is_busy: bool) {
        let statuses = if is_busy { json!({&self.session: {"type": "busy"}}) } else { json!({}) };
        self.fake.answer("GET /session/status", statuses);
    }

    pub fn ask(&self, id: &str, session: &str) {
        let asked = permission(id, session);
        self.fake.event("permission.asked", asked);
    }
}

pub fn permission(id: &str, session: &str) -> Value {
    json!({"id": id, "sessionID": session, "permission": "bash", "patterns": ["ls"],
           "metadata": {"command": "ls"}, "always": ["ls *"]})
}

fn text_part(message: &str, part: &str, text: &str, is_complete: bool) -> Value {
    let time = if is_complete { json!({"start": 1, "end": 2}) } else { json!({"start": 1}) };
    json!({"id": part, "messageID": message, "type": "text", "text": text, "time": time})
}
