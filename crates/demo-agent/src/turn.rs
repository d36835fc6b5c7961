//! One turn: a script, run against the host.

use crate::{
    agent::{Active, Agent, Prompt, Refusal, Session, Woken},
    friendly,
    history::{Entry, Speaker, enter_in_ledger},
    script::{self, Directive},
    wire::Halt,
};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// What becomes of the turn after a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    End,
}

/// A turn that runs.
pub(crate) struct Turn<'a> {
    pub agent: &'a mut Agent,
    pub session: String,
    /// The request that asked for it, and what it asks.
    id: Value,
    prompt: String,
    /// The request was answered; what is done after that is done between turns.
    answered: bool,
    /// What was said in message chunks, for the conversation's record.
    pub said: String,
    pub stop_reason: String,
    pub refusal: Option<Refusal>,
    pub end_turn_when_cancelled: bool,
    pub answer_twice: bool,
    pub late: Vec<String>,
    pub usage: Usage,
    tools: u64,
}

/// The figures of one turn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub input: u64,
    pub output: u64,
    /// US dollars, zero when free.
    pub cost: f64,
    /// A directive set the figures; else they are guessed from the lengths.
    pub fixed: bool,
}

/// Runs a prompt to its answer and to what comes after that.
pub(crate) fn run(agent: &mut Agent, prompt: Prompt) -> Result<(), Halt> {
    if let Some(Err(err)) =
        agent.args.ledger.as_ref().map(|ledger| enter_in_ledger(ledger, &prompt.session, &prompt.text))
    {
        eprintln!("demo-agent: cannot write the ledger: {err}");
        return Err(Halt::Exit(1));
    }
    agent.active = Some(Active { session: prompt.session.clone(), cancelled: false, ignore_cancel: false });
    let mut turn = Turn {
        agent,
        session: prompt.session,
        id: prompt.id,
        prompt: prompt.text.clone(),
        answered: false,
        said: String::new(),
        stop_reason: "end_turn".to_owned(),
        refusal: None,
        end_turn_when_cancelled: false,
        answer_twice: false,
        late: Vec::new(),
        usage: Usage::default(),
        tools: 0,
    };
    turn.remember(Speaker::User, &prompt.text)?;
    match script::parse(&prompt.text) {
        Ok(script) if script.is_empty() => friendly::run(&mut turn, &prompt.text)?,
        Ok(script) => turn.follow(script)?,
        Err(why) => turn.refusal = Some(Refusal::invalid(why)),
    }
    turn.finish()
}

impl Turn<'_> {
    fn follow(&mut self, script: Vec<Directive>) -> Result<(), Halt> {
        for directive in script {
            if self.cancelled()? || self.run(directive)? == Flow::End {
                break;
            }
        }
        Ok(())
    }

    fn run(&mut self, directive: Directive) -> Result<Flow, Halt> {
        use Directive as D;
        match directive {
            D::Write { path, text, append } => self.write(&path, &text, append)?,
            D::Read(path) => self.read(&path)?,
            D::Delete(path) => self.delete(&path)?,
            D::Rename(from, to) => self.rename(&from, &to)?,
            D::Mkdir(path) => self.mkdir(&path)?,
            D::Chmod(mode, path) => self.chmod(mode, &path)?,
            D::Symlink { target, path } => self.symlink(&target, &path)?,
            D::Outside(path) => self.outside(&path)?,
            D::Say(text) => self.say(&text)?,
            D::Think(text) => self.think(&text)?,
            D::Stream { count, bytes } => self.stream(count, bytes)?,
            D::BigText { bytes } => self.big_text(bytes)?,
            D::Plan(steps) => self.plan(&steps)?,
            D::Commands(names) => self.commands(&names)?,
            D::Usage { input, output, cost } => self.usage = Usage { input, output, cost, fixed: true },
            D::Tool { name, text } => self.tool(&name, &text)?,
            D::Ask { title, announced } => return self.ask(&title, announced),
            D::History => self.say_history()?,
            D::Prompt => self.say(&self.prompt.clone())?,
            D::Settings => self.say_settings()?,
            D::Help => self.say(&crate::manual())?,
            D::Shell(command) => self.shell(&command)?,
            D::Terminal(command) => self.terminal(&command)?,
            D::Sleep(time) => self.sleep(time)?,
            D::Stall => while !self.pause(Duration::from_secs(3600))? {},
            D::Env(name) => self.say_env(name.as_deref())?,
            D::Pwd => self.say_pwd()?,
            D::Fds => self.say_fds()?,
            D::Pid => self.say(&format!("{}\n", std::process::id()))?,
            D::Misbehave(misbehaviour) => return self.misbehave(misbehaviour),
        }
        Ok(Flow::Next)
    }

    fn finish(mut self) -> Result<(), Halt> {
        self.answer_now()?;
        self.agent.active = None;
        for text in std::mem::take(&mut self.late) {
            self.update(json!({"sessionUpdate": "agent_message_chunk", "content": text_block(&text)}))?;
        }
        // In one write with the answer: what is late by the time of a busy machine would be said between turns.
        self.agent.wire.flush()
    }

    /// Answers the prompt, the first time.
    pub fn answer_now(&mut self) -> Result<(), Halt> {
        if self.answered {
            return Ok(());
        }
        self.answered = true;
        let cancelled = self.cancelled()?;
        let said = std::mem::take(&mut self.said);
        if !said.is_empty() {
            self.remember(Speaker::Agent, &said)?;
        }
        if !self.usage.fixed {
            self.usage.input = self.prompt.len() as u64 / 4;
            self.usage.output = said.len() as u64 / 4;
        }
        if self.refusal.is_none() && !cancelled {
            self.send_usage()?;
        }
        let id = self.id.clone();
        for _ in 0..=u8::from(self.answer_twice) {
            self.answer(&id, cancelled)?;
        }
        Ok(())
    }

    fn answer(&mut self, id: &Value, cancelled: bool) -> Result<(), Halt> {
        if let Some(refusal) = &self.refusal {
            return self.agent.refuse(id, refusal);
        }
        if cancelled && !self.end_turn_when_cancelled {
            return self.agent.answer(id, &json!({"stopReason": "cancelled"}));
        }
        let Usage { input, output, .. } = self.usage;
        let usage = json!({"inputTokens": input, "outputTokens": output, "totalTokens": input + output});
        self.agent.answer(id, &json!({"stopReason": self.stop_reason, "usage": usage}))
    }

    fn send_usage(&mut self) -> Result<(), Halt> {
        let Usage { input, output, cost, .. } = self.usage;
        let mut update =
            json!({"sessionUpdate": "usage_update", "used": input.saturating_add(output), "size": 100_000});
        if cost > 0.0 {
            update["cost"] = json!({"amount": cost, "currency": "USD"});
        }
        self.update(update)
    }

    /// Keeps what was said, here and in the archive.
    fn remember(&mut self, speaker: Speaker, text: &str) -> Result<(), Halt> {
        let entry = Entry { speaker, text: text.to_owned() };
        if let Some(Err(err)) =
            self.agent.archive.as_ref().map(|archive| archive.append(&self.session, &entry))
        {
            eprintln!("demo-agent: cannot keep the conversation: {err}");
            return Err(Halt::Exit(1));
        }
        self.here().history.push(entry);
        Ok(())
    }

    pub fn here(&mut self) -> &mut Session {
        self.agent
            .sessions
            .get_mut(&self.session)
            .expect("because a prompt for an unknown session is refused")
    }

    pub fn path(&mut self, path: &str) -> PathBuf {
        self.here().cwd.join(path)
    }

    pub fn update(&mut self, update: Value) -> Result<(), Halt> {
        self.agent.update(&self.session, &update)
    }

    /// Whether the turn is cancelled, by all that the host has said until now.
    pub fn cancelled(&mut self) -> Result<bool, Halt> {
        self.pause(Duration::ZERO)
    }

    /// Waits that long, or until the turn is cancelled; says which.
    pub fn pause(&mut self, time: Duration) -> Result<bool, Halt> {
        let deadline = Instant::now() + time;
        while !self.is_cancelled() {
            if self.agent.wait(Some(deadline), None)?.0 == Woken::Deadline {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the turn is cancelled, by what has been read.
    pub fn is_cancelled(&self) -> bool {
        self.active().cancelled
    }

    pub fn active(&self) -> &Active {
        self.agent.active.as_ref().expect("because a turn is running")
    }

    pub fn active_mut(&mut self) -> &mut Active {
        self.agent.active.as_mut().expect("because a turn is running")
    }

    /// Asks the host and waits for its answer, even if the turn is cancelled meanwhile.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Result<Value, Value>, Halt> {
        let id = self.agent.wire.request(method, params)?;
        loop {
            if let Some(answer) = self.agent.answers.remove(&id.to_string()) {
                return Ok(answer);
            }
            self.agent.wait(None, None)?;
        }
    }

    /// Announces a tool call that has begun, and returns its id.
    pub fn begin_tool(&mut self, title: &str, kind: &str, input: Value) -> Result<String, Halt> {
        self.tool_call(title, kind, "in_progress", input)
    }

    pub fn tool_call(&mut self, title: &str, kind: &str, status: &str, input: Value) -> Result<String, Halt> {
        let id = self.tool_id();
        self.update(json!({"sessionUpdate": "tool_call", "toolCallId": id, "title": title, "kind": kind,
                           "status": status, "rawInput": input}))?;
        Ok(id)
    }

    /// A new tool call's id.
    pub fn tool_id(&mut self) -> String {
        self.tools += 1;
        format!("call_{}_{}", self.here().history.len(), self.tools)
    }

    /// Reports how a tool call ended.
    pub fn end_tool(&mut self, id: &str, status: &str, content: Value) -> Result<(), Halt> {
        self.update(json!({"sessionUpdate": "tool_call_update", "toolCallId": id, "status": status,
                           "content": content}))
    }
}

/// A content block with text.
pub(crate) fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A tool call's content that is text.
pub(crate) fn text_content(text: &str) -> Value {
    json!([{"type": "content", "content": text_block(text)}])
}
