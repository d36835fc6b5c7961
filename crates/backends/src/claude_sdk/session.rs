//! One turn of one process.

use std::ffi::OsString;
use std::sync::Arc;

use acp_proto::Line;
use async_trait::async_trait;
use dispatch_core::agent::{
    AgentUpdate, End, EndedHow, Failure, Notice, NoticeCode, OptionKind, PermissionOption, PermissionRequest,
    Printed, ToolCall, ToolStatus,
};
use dispatch_core::ports::{AgentSession, Close, Prompt, SessionInfo, SessionSpec};
use dispatch_core::task::TerminalReason;
use serde_json::Value;

use super::control::Link;
use super::process::{Conversation, Deaf, refusal};
use super::protocol;
use super::start::{self, Handshake};
use super::starter::{Starter, Used};
use super::translate::Translator;
use crate::common::drivel::Drivel;
use crate::common::json::{object, take, take_text, text};
use crate::common::oddities::Oddities;
use crate::common::plain::plain_text;
use crate::common::printed::StrayOutput;
use crate::common::random_id::random_id;
use crate::common::{failure, named_tool, words};

/// See [`AgentSession`] for the order of the calls.
pub(super) struct ClaudeSession {
    starter: Starter,
    command: Vec<OsString>,
    spec: SessionSpec,
    link: Arc<Link>,
    used: Option<Used>,
    translator: Translator,
    oddities: Oddities,
    stray: StrayOutput,
    drivel: Drivel,
    /// Whether it has begun on the prompt, which it says. What came before belongs to a turn that it had by itself.
    has_begun: bool,
    /// Whether the process was started by an earlier turn.
    was_kept: bool,
    /// Whether it is being made ready.
    is_starting: bool,
    /// Whether the process is known to be idle and in order.
    is_in_order: bool,
    /// Why the process is lost, where it ended by itself.
    loss: Option<String>,
    notices: Vec<Notice>,
    requests: u64,
}

impl ClaudeSession {
    pub(super) fn new(
        starter: Starter,
        command: Vec<OsString>,
        spec: SessionSpec,
        link: Arc<Link>,
        used: Used,
        notices: Vec<Notice>,
    ) -> Self {
        let was_kept = used.wire.hello.is_some();
        Self {
            starter,
            command,
            spec,
            link,
            used: Some(used),
            translator: Translator::default(),
            oddities: Oddities::default(),
            stray: StrayOutput::default(),
            drivel: Drivel::default(),
            has_begun: false,
            was_kept,
            is_starting: false,
            is_in_order: true,
            loss: None,
            notices,
            requests: 0,
        }
    }

    fn agent(&self) -> &str {
        self.starter.entry.name.as_str()
    }

    fn notice(&self, code: NoticeCode, what: &str) -> Notice {
        Notice { code, text: format!("agent {} {what}", self.agent()) }
    }

    /// What the turn is told of a process that was lost since the last one.
    fn restarted(&mut self) -> Vec<Notice> {
        let why = self.used.as_mut().and_then(|used| used.lease.take_lost());
        let what = why.map(|why| format!("{why} since its last turn; it was started again"));
        what.map(|what| self.notice(NoticeCode::BackendRestarted, &what)).into_iter().collect()
    }

    /// Gets the process ready; starts another one where the conversation that was to be gone on with is not there.
    async fn get_ready(&mut self) -> Result<Vec<Notice>, Failure> {
        let gone = || Failure::new(TerminalReason::Internal, "the agent's process was given up");
        let used = self.used.as_mut().ok_or_else(gone)?;
        let is_resumed = used.wire.hello.is_none() && self.spec.resume.is_some();
        let trouble = match self.handshake().await? {
            Ok(notices) => {
                if is_resumed {
                    self.notices
                        .push(self.notice(NoticeCode::SessionLoaded, "goes on with its conversation"));
                }
                return Ok(notices);
            }
            Err(trouble) => trouble,
        };
        let used = self.used.as_mut().ok_or_else(gone)?;
        if !is_resumed || !start::is_unknown_conversation(&trouble, &mut used.wire).await {
            return Err(start::failure_of(
                trouble,
                self.starter.entry.name.as_str(),
                &mut used.wire,
                &self.stray,
            )
            .await);
        }
        self.begin_anew().await?;
        let what = "begins a new conversation: it does not have the earlier one any more";
        self.notices.push(self.notice(NoticeCode::SessionNew, what));
        let handshake = self.handshake().await?;
        match handshake {
            Ok(notices) => Ok(notices),
            Err(trouble) => {
                let used = self.used.as_mut().ok_or_else(gone)?;
                let agent = self.starter.entry.name.as_str();
                Err(start::failure_of(trouble, agent, &mut used.wire, &self.stray).await)
            }
        }
    }

    async fn handshake(&mut self) -> Result<Result<Vec<Notice>, start::Trouble>, Failure> {
        let Some(Used { lease, wire }) = &mut self.used else {
            return Err(Failure::new(TerminalReason::Internal, "the agent's process was given up"));
        };
        let mut handshake =
            Handshake { process: lease.warm(), wire, stray: &mut self.stray, requests: &mut self.requests };
        Ok(handshake.run(&self.spec).await)
    }

    async fn begin_anew(&mut self) -> Result<(), Failure> {
        if let Some(used) = &mut self.used {
            used.lease.end(None).await;
        }
        self.used = None;
        self.spec.resume = None;
        let conversation = Conversation::Begin(random_id());
        let used = self.starter.lend(&self.command, &self.spec, conversation).await?;
        self.link.replace(used.process());
        self.used = Some(used);
        Ok(())
    }

    /// Takes what it said; whether the turn has ended by that.
    fn digest(&mut self, into: &mut Vec<AgentUpdate>) -> bool {
        while let Some(line) = self.used.as_mut().and_then(|used| used.wire.lines.next_line()) {
            match line {
                Line::Whole(line) => match object(&line) {
                    Some(line) => self.hear(line, into),
                    None if line.trim_ascii().is_empty() => {}
                    None => {
                        self.oddities.add("lines that are not of its protocol");
                        let excerpt = String::from_utf8_lossy(&line[..line.len().min(256)]);
                        self.stray.add_text(&excerpt, line.len() > 256);
                    }
                },
                Line::TooLong { .. } => self.oddities.add("lines of more than 8 MiB"),
            }
            if self.translator.outcome().is_some() {
                return true;
            }
        }
        false
    }

    fn hear(&mut self, mut line: Value, into: &mut Vec<AgentUpdate>) {
        let kind = text(&line, "type");
        let is_init = kind == "system" && text(&line, "subtype") == "init";
        self.has_begun |= is_init;
        // It had begun a turn of its own just before it read the prompt, which is next.
        self.has_begun &= !(kind == "result" && is_own_turn(&line));
        let Some(Used { lease, wire }) = &mut self.used else { return };
        if !self.has_begun {
            if kind == "result" {
                self.oddities.add("ends of turns that were not asked for");
            }
            return wire.pass_over(&line);
        }
        match kind {
            // Each turn begins by naming its conversation, and ends by its last line, whatever that names.
            "assistant" | "user" | "stream_event" | "system"
                if !is_init && lease.warm().is_elsewhere(text(&line, "session_id")) =>
            {
                self.oddities.add("lines of another conversation");
            }
            "control_request"
                if line.get("request").is_some_and(|it| text(it, "subtype") == "can_use_tool") =>
            {
                let id = take_text(&mut line, "request_id").unwrap_or_default();
                self.permission(&id, take(&mut line, "request").unwrap_or_default(), into);
            }
            "control_request" => wire.answer(&refusal(&line)),
            "control_cancel_request" => {
                let withdrawn = self.link.withdraw(text(&line, "request_id"));
                into.extend(withdrawn.into_iter().map(AgentUpdate::PermissionWithdrawn));
            }
            // To an interrupt, which shows in how the turn ends.
            "control_response" => {}
            _ => {
                if is_init && lease.warm().moves_to(text(&line, "session_id")) {
                    into.push(AgentUpdate::Conversation(lease.warm().conversation().clone()));
                    if self.spec.resume.is_some() {
                        let what = "begins a new conversation: it does not go on with the earlier one";
                        let text = format!("agent {} {what}", self.starter.entry.name);
                        into.push(AgentUpdate::Notice(Notice { code: NoticeCode::SessionNew, text }));
                    }
                }
                if kind == "system" {
                    let before = (wire.mode.clone(), wire.model.clone());
                    wire.learn(&line);
                    if before != (wire.mode.clone(), wire.model.clone()) {
                        into.push(AgentUpdate::Settings(wire.settings(lease.warm().effort.as_deref())));
                    }
                }
                let before = into.len();
                self.translator.line(line, into, &mut self.oddities);
                // It has told them with all that belongs to them.
                let mut told = into.split_off(before);
                told.retain(|update| !matches!(update, AgentUpdate::Commands(_)));
                into.append(&mut told);
            }
        }
    }

    fn permission(&mut self, id: &str, mut request: Value, into: &mut Vec<AgentUpdate>) {
        let name = take_text(&mut request, "tool_name").unwrap_or_default();
        let call = take_text(&mut request, "tool_use_id").unwrap_or_else(|| id.to_owned());
        let input = take(&mut request, "input").unwrap_or_default();
        let Some(ours) = self.link.expect_answer(id, &input) else {
            self.oddities.add("more requests for leave than are heard");
            if let Some(used) = &mut self.used {
                used.wire.answer(&protocol::deny(id, "too many requests are open"));
            }
            return;
        };
        let patch = named_tool::announced(call, &name, input);
        let tool_call = ToolCall { status: ToolStatus::Pending, ..ToolCall::begin(patch) };
        let option =
            |id: &str, name: &str, kind| PermissionOption { id: id.to_owned(), name: name.to_owned(), kind };
        // What it suggests besides lasts for the process, so that is not offered.
        let options = vec![
            option("allow", "Allow once", OptionKind::AllowOnce),
            option("deny", "Refuse", OptionKind::RejectOnce),
        ];
        into.push(AgentUpdate::Permission(PermissionRequest {
            id: ours,
            tool_call,
            options,
            paths: Vec::new(),
        }));
    }

    /// The end of a turn by its last line.
    fn conclude(&mut self, into: &mut Vec<AgentUpdate>) -> End {
        self.link.over();
        into.extend(self.oddities.take_notice().map(AgentUpdate::Notice));
        let Some((outcome, used)) = self.translator.outcome().cloned().zip(self.used.as_mut()) else {
            return End::new(EndedHow::Cancelled);
        };
        let usage = outcome.usage_after(used.wire.cost);
        used.wire.cost = outcome.total_cost.unwrap_or(used.wire.cost);
        self.is_in_order = !(self.link.is_ending() || failure::wants_login(&outcome.how));
        let how = if self.link.is_stopped() { EndedHow::Cancelled } else { outcome.how };
        // What is on standard error may be of earlier turns.
        let printed = Printed { stdout: self.stray.text().to_owned(), stderr: String::new() };
        End { how, usage, printed }
    }

    /// The end of a turn that is not listened to any longer.
    fn given_up(&mut self, failure: Failure, into: &mut Vec<AgentUpdate>) -> End {
        self.link.over();
        into.extend(self.oddities.take_notice().map(AgentUpdate::Notice));
        let how = if self.link.is_stopped() { EndedHow::Cancelled } else { EndedHow::Failed(failure) };
        let printed = Printed { stdout: self.stray.text().to_owned(), stderr: String::new() };
        End { printed, ..End::new(how) }
    }

    /// The end of a turn by the end of its process.
    async fn crashed(&mut self, into: &mut Vec<AgentUpdate>) -> End {
        let (exit, stderr) = match &mut self.used {
            Some(used) => (used.wire.exit().await, plain_text(&used.wire.child.stderr_tail())),
            None => (None, String::new()),
        };
        self.link.over();
        into.extend(self.oddities.take_notice().map(AgentUpdate::Notice));
        if self.link.is_stopped() {
            return End::new(EndedHow::Cancelled);
        }
        self.loss = Some(words::ending(exit));
        let said = format!("{} before its turn was over", words::gone(self.agent(), exit));
        let text = words::with_output(said, self.stray.text(), &stderr);
        let printed = Printed { stdout: self.stray.text().to_owned(), stderr };
        End { printed, ..End::new(EndedHow::Crashed(Failure::new(TerminalReason::AgentCrashed, text))) }
    }
}

/// Whether a turn that has ended so was about a command that it had left running (seen of 2.1.197). Prompts have no such
/// origin.
fn is_own_turn(result: &Value) -> bool {
    result.get("origin").is_some_and(|origin| text(origin, "kind") == "task-notification")
}

#[async_trait]
impl AgentSession for ClaudeSession {
    async fn start(&mut self) -> Result<SessionInfo, Failure> {
        // Given up half way, nobody knows what it still answers.
        (self.is_starting, self.is_in_order) = (true, false);
        let ready = self.get_ready().await;
        self.is_starting = false;
        let options = ready?;
        self.is_in_order = true;
        let notices = [self.restarted(), std::mem::take(&mut self.notices), options].concat();
        let Some(Used { lease, wire }) = &self.used else { return Ok(SessionInfo::default()) };
        let process = lease.warm();
        Ok(SessionInfo {
            agent_session: Some(process.conversation().clone()),
            settings: wire.settings(process.effort.as_deref()),
            commands: wire.hello.as_ref().map(|hello| hello.commands.clone()).unwrap_or_default(),
            notices,
            ..SessionInfo::default()
        })
    }

    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure> {
        let Some(used) = &mut self.used else {
            return Err(Failure::new(TerminalReason::Internal, "the agent's process was given up"));
        };
        // One that has ended says so after the prompt, too.
        used.wire.catch_up().await;
        self.is_in_order = false;
        used.lease.begin();
        let outbox = used.process().outbox.clone();
        if std::mem::take(&mut used.wire.has_own_turn) {
            outbox.send(protocol::interrupt("interrupt-own").to_string()).await;
        }
        outbox.send(protocol::user(&prompt.text).to_string()).await;
        Ok(())
    }

    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End> {
        let before = into.len();
        loop {
            if self.digest(into) {
                return Some(self.conclude(into));
            }
            if into.len() > before {
                self.drivel.end();
                return None;
            }
            let read = match &mut self.used {
                Some(Used { lease, wire }) => wire.read(&lease.warm().outbox).await,
                None => Ok(0),
            };
            let failure = match read {
                Ok(0) => return Some(self.crashed(into).await),
                Ok(length) => {
                    self.drivel.add(length);
                    self.drivel.failure(self.agent())
                }
                Err(Deaf) => Some(Failure::new(TerminalReason::AgentFailed, words::deaf(self.agent()))),
            };
            if let Some(failure) = failure {
                return Some(self.given_up(failure, into));
            }
        }
    }

    async fn close(mut self: Box<Self>, how: Close) {
        self.link.over();
        self.link.settled().await;
        let Some(Used { mut lease, wire }) = self.used.take() else {
            // Another one was being started when the turn was given up.
            return self.starter.launcher.undone().await;
        };
        drop(wire);
        if how == Close::Return && self.is_in_order && !self.link.is_ending() {
            return lease.give_back().await;
        }
        if how == Close::Return && self.is_starting && self.was_kept {
            self.loss = Some(words::STOPPED_EARLY.to_owned());
        }
        lease.end(self.loss.take()).await;
    }
}
