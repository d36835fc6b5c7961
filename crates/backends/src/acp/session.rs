//! One turn's conversation with one agent.

use std::sync::Arc;
use std::time::Duration;

use acp_proto::client::{CallError, CallId, Event, Events};
use acp_proto::schema::{ClientCapabilities, ContentBlock, TextContent};
use acp_proto::types::{TurnEnd, Update};
use async_trait::async_trait;
use dispatch_core::agent::{AgentUpdate, End, EndedHow, Failure, Printed, Usage};
use dispatch_core::ports::{AgentSession, Close, Prompt, SessionInfo, SessionSpec};
use dispatch_core::task::TerminalReason;
use tokio::time::{Instant, timeout};

use super::control::Link;
use super::printed::StrayOutput;
use super::start::{self, Handshake, Ready};
use super::translate::Translator;
use super::words;
use crate::agents::KnownCommands;
use crate::process::{Child, Exit, Rung};
use crate::registry::AgentEntry;

/// How many events are taken at once.
const BATCH: usize = 256;
/// How long an agent that is silent after its answer is listened to; vibe reports its usage then.
const QUIET: Duration = Duration::from_millis(20);
/// How long one that goes on talking is.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long an agent that closed its output may take to end.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);
/// How long an agent may take to end when its turn is over and its standard input closed, and after SIGTERM.
const LET_GO: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How often a process that cannot be killed is complained about.
const COMPLAINT: Duration = Duration::from_secs(30);

/// See [`AgentSession`] for the order of the calls.
pub(super) struct AcpSession {
    entry: AgentEntry,
    spec: SessionSpec,
    child: Child,
    events: Events,
    link: Arc<Link>,
    capabilities: ClientCapabilities,
    commands: Arc<KnownCommands>,
    translator: Translator,
    stray: StrayOutput,
    /// Events taken and not yet translated.
    taken: Vec<Event>,
    /// Whether the conversation is an earlier one, whose history the agent tells.
    is_loaded: bool,
    prompt: Option<CallId>,
    ended: Option<Ended>,
}

/// The prompt was answered, or never will be.
struct Ended {
    outcome: Result<TurnEnd, CallError>,
    listen_until: Instant,
}

impl AcpSession {
    pub(super) fn new(
        entry: AgentEntry,
        spec: SessionSpec,
        child: Child,
        events: Events,
        link: Arc<Link>,
        capabilities: ClientCapabilities,
        commands: Arc<KnownCommands>,
    ) -> Self {
        let translator = Translator::new(String::new(), &entry.quirks);
        Self {
            entry,
            spec,
            child,
            events,
            link,
            capabilities,
            commands,
            translator,
            stray: StrayOutput::default(),
            taken: Vec::new(),
            is_loaded: false,
            prompt: None,
            ended: None,
        }
    }

    /// How the process ended; `None` when it goes on.
    async fn exit(&mut self) -> Option<Exit> {
        timeout(EXIT_PATIENCE, self.child.wait()).await.ok()
    }

    /// Before the prompt an agent tells what was: no part of this turn, but for its commands.
    fn pass_over_history(&mut self) {
        while self.events.try_recv_many(&mut self.taken, BATCH) > 0 {
            self.taken.retain(|event| match event {
                Event::Update(update) => matches!(update.update, Update::AvailableCommands(_)),
                _ => true,
            });
        }
    }

    /// Translates what was taken.
    fn digest(&mut self, into: &mut Vec<AgentUpdate>) {
        let mut taken = std::mem::take(&mut self.taken);
        for event in taken.drain(..) {
            self.hear(event, into);
        }
        self.taken = taken;
    }

    fn hear(&mut self, event: Event, into: &mut Vec<AgentUpdate>) {
        match event {
            Event::Update(update) => {
                let before = into.len();
                self.translator.update(update, into);
                if let Some(AgentUpdate::Commands(commands)) = into.get(before..).and_then(<[_]>::last) {
                    self.commands.learn(&self.entry.name, commands);
                }
            }
            Event::Permission { id, request } if request.session_id != self.translator.session => {
                self.translator.oddities.add("permission requests for another conversation");
                self.link.cancel_permission(id);
            }
            Event::Permission { id, request } => {
                let request = self.translator.permission(self.link.next_permission(), &request, into);
                self.link.expect_answer(id, request);
            }
            Event::TurnEnded { call, outcome } if Some(call) == self.prompt => self.end(outcome),
            Event::Malformed(malformed) => {
                self.stray.add(&malformed);
                self.translator.oddities.add("lines that are no messages");
            }
            Event::Stray(_) => self.translator.oddities.add("answers to nothing that was asked"),
            Event::Notification(notification) => {
                tracing::debug!(agent = %self.entry.name, method = %notification.method, "a private notification");
            }
            Event::Answered { .. } | Event::TurnEnded { .. } | Event::Closed { .. } => {}
        }
    }

    fn end(&mut self, outcome: Result<TurnEnd, CallError>) {
        self.link.ended.send_replace(true);
        self.ended = Some(Ended { outcome, listen_until: Instant::now() + LAST_WORDS });
    }

    /// Takes what the agent says after the answer; `false` when there is no more.
    async fn take_last_words(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let heard = timeout(left.min(QUIET), self.events.recv_many(&mut self.taken, BATCH)).await;
        heard.is_ok_and(|count| count > 0)
    }

    /// How the turn ended.
    async fn conclude(&mut self) -> (EndedHow, Usage) {
        let answer = match self.ended.as_ref().map(|ended| ended.outcome.clone()) {
            Some(Ok(end)) => Ok(end),
            Some(Err(CallError::Agent { error, .. })) => Err(error),
            Some(Err(_)) | None => {
                let exit = self.exit().await;
                let gone = words::gone(self.entry.name.as_str(), exit);
                let text = format!("{gone} before its turn was over");
                let text = words::with_output(text, "", &self.child.stderr_tail());
                return (
                    EndedHow::Crashed(Failure::new(TerminalReason::AgentCrashed, text)),
                    Usage::default(),
                );
            }
        };
        self.translator.end(&answer)
    }

    fn printed(&self) -> Printed {
        Printed { stdout: self.stray.text().to_owned(), stderr: self.child.stderr_tail() }
    }

    /// Lets the process end by itself, then ends it; listens meanwhile, since one that is not heard cannot end.
    async fn let_go(&mut self) {
        let eof = if self.entry.quirks.ignores_eof { Duration::ZERO } else { LET_GO[0] };
        let process = self.link.process.clone();
        let ladder = [(Rung::Ask, eof), (Rung::Terminate, LET_GO[1])];
        let mut stopping = std::pin::pin!(process.stop_ladder(&ladder));
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                _ = &mut stopping => return,
                taken = self.events.recv_many(&mut self.taken, BATCH), if is_open => {
                    is_open = taken > 0;
                    self.taken.clear();
                }
            }
        }
    }

    async fn kill(&self) {
        self.link.process.kill();
        while timeout(COMPLAINT, self.link.process.wait_tree_empty()).await.is_err() {
            tracing::error!(agent = %self.entry.name, pid = self.child.id(), "a process of the agent cannot be killed");
        }
    }
}

#[async_trait]
impl AgentSession for AcpSession {
    async fn start(&mut self) -> Result<SessionInfo, Failure> {
        let mut handshake = Handshake {
            entry: &self.entry,
            spec: &self.spec,
            link: &self.link,
            events: &mut self.events,
            stray: &mut self.stray,
            commands: Vec::new(),
        };
        let trouble = match handshake.run(self.capabilities.clone()).await {
            Ok(Ready { info, is_loaded }) => {
                self.is_loaded = is_loaded;
                let session = info.agent_session.clone().unwrap_or_default();
                self.translator = Translator::new(session, &self.entry.quirks);
                self.commands.learn(&self.entry.name, &info.commands);
                return Ok(info);
            }
            Err(trouble) => trouble,
        };
        let exit = if start::is_closed(&trouble) { self.exit().await } else { None };
        let gone = words::gone(self.entry.name.as_str(), exit);
        let failure = start::failure_of(&self.entry, &trouble, &gone, &self.stray);
        let text = words::with_output(failure.text, self.stray.text(), &self.child.stderr_tail());
        Err(Failure::new(failure.reason, text))
    }

    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure> {
        let session = self.link.session().unwrap_or_default();
        if self.is_loaded {
            self.pass_over_history();
        }
        let text = [ContentBlock::Text(TextContent::new(prompt.text))];
        match self.link.client.prompt(&session, &text).await {
            Ok(call) => {
                self.prompt = Some(call);
                Ok(())
            }
            Err(error) => {
                let exit = self.exit().await;
                let gone = words::gone(self.entry.name.as_str(), exit);
                let text = format!("{gone}; the prompt could not be sent: {error}");
                let text = words::with_output(text, self.stray.text(), &self.child.stderr_tail());
                Err(Failure::new(TerminalReason::AgentCrashed, text))
            }
        }
    }

    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End> {
        let before = into.len();
        loop {
            match self.ended.as_ref().map(|ended| ended.listen_until) {
                None => {
                    let is_over =
                        self.taken.is_empty() && self.events.recv_many(&mut self.taken, BATCH).await == 0;
                    self.digest(into);
                    if is_over && self.ended.is_none() {
                        break;
                    }
                }
                Some(until) if self.take_last_words(until).await => self.digest(into),
                Some(_) => break,
            }
            if into.len() > before {
                return None;
            }
        }
        let (how, usage) = self.conclude().await;
        self.translator.finish(into);
        Some(End { how, usage, printed: self.printed() })
    }

    async fn close(mut self: Box<Self>, how: Close) {
        self.link.ended.send_replace(true);
        if how == Close::Return {
            self.let_go().await;
        }
        self.kill().await;
        self.link.terminals.close().await;
    }
}
