//! One turn's conversation with one agent.

use std::sync::Arc;
use std::time::Duration;

use acp_proto::client::{CallError, CallId, Event};
use acp_proto::schema::{ContentBlock, TextContent};
use acp_proto::types::{TurnEnd, Update};
use async_trait::async_trait;
use dispatch_core::agent::{AgentUpdate, End, EndedHow, Failure, Notice, NoticeCode, Printed, Usage};
use dispatch_core::ports::{AgentSession, Close, Prompt, SessionInfo, SessionSpec};
use dispatch_core::task::TerminalReason;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use super::control::Link;
use super::process::{AcpProcess, BATCH, Wire};
use super::start::{self, Handshake, Ready};
use super::translate::Translator;
use crate::common::drivel::Drivel;
use crate::common::printed::StrayOutput;
use crate::common::{failure, words};
use crate::pool::Lease;

/// How long an agent that is silent after its answer is listened to; vibe reports its usage then.
const QUIET: Duration = Duration::from_millis(20);
/// How long one that goes on talking is.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How many batches are passed over before the prompt goes out; one that says more is not waited for.
const PASSED_OVER: usize = 16;

/// See [`AgentSession`] for the order of the calls.
pub(super) struct AcpSession {
    process: Arc<AcpProcess>,
    /// The pool's right to the process; none, where it is this turn's own.
    lease: Option<Lease<AcpProcess>>,
    wire: OwnedMutexGuard<Wire>,
    spec: SessionSpec,
    link: Arc<Link>,
    translator: Translator,
    stray: StrayOutput,
    phase: Phase,
    /// It was started by an earlier turn.
    was_kept: bool,
    ended: Option<Ended>,
    drivel: Drivel,
    /// How much of what the agent said is counted, in bytes.
    counted: u64,
    /// It is known how the turn ended, and another one may follow it in the same process.
    may_go_on: bool,
}

/// How far a turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was said to the agent.
    New,
    /// Something was, and nobody knows how it took that.
    Starting,
    /// It waits for the prompt.
    Ready,
    /// The prompt may have gone out.
    Prompting(Option<CallId>),
}

/// The prompt was answered, or never will be.
struct Ended {
    outcome: Result<TurnEnd, CallError>,
    listen_until: Instant,
}

impl AcpSession {
    pub(super) async fn new(
        process: Arc<AcpProcess>,
        lease: Option<Lease<AcpProcess>>,
        spec: SessionSpec,
        link: Arc<Link>,
    ) -> Self {
        let wire = Arc::clone(&process.wire).lock_owned().await;
        let translator = Translator::new(String::new(), &process.entry.quirks);
        let (stray, phase) = (StrayOutput::default(), Phase::New);
        let was_kept = wire.hello.is_some();
        Self {
            process,
            lease,
            wire,
            spec,
            link,
            translator,
            stray,
            phase,
            was_kept,
            ended: None,
            drivel: Drivel::default(),
            counted: 0,
            may_go_on: false,
        }
    }

    fn agent(&self) -> &str {
        self.process.entry.name.as_str()
    }

    /// What the turn is told of a process that was lost since the last one.
    fn restarted(&mut self) -> Option<Notice> {
        let why = self.lease.as_mut()?.take_lost()?;
        let text = format!("agent {} {why} since its last turn; it was started again", self.agent());
        Some(Notice { code: NoticeCode::BackendRestarted, text })
    }

    /// What an agent says before the prompt is no part of this turn, but for what lasts.
    fn pass_over(&mut self) {
        for _ in 0..PASSED_OVER {
            let mut events = Vec::new();
            if self.wire.events.try_recv_many(&mut events, BATCH) == 0 {
                return;
            }
            for event in events {
                match event {
                    Event::Update(update) if !lasts(&update.update) => self.translator.learn(&update),
                    Event::Permission { id, .. } => self.link.cancel_permission(id),
                    event => self.wire.taken.push(event),
                }
            }
        }
    }

    /// Translates what was taken.
    fn digest(&mut self, into: &mut Vec<AgentUpdate>) {
        let mut taken = std::mem::take(&mut self.wire.taken);
        for event in taken.drain(..) {
            self.hear(event, into);
        }
        self.wire.taken = taken;
        self.translator.tell_settings(into);
    }

    fn hear(&mut self, event: Event, into: &mut Vec<AgentUpdate>) {
        match event {
            Event::Update(update) => self.translator.update(update, into),
            Event::Permission { id, request } if request.session_id != self.translator.session() => {
                self.translator.oddities.add("permission requests for another conversation");
                self.link.cancel_permission(id);
            }
            Event::Permission { id, request } => {
                let request = self.translator.permission(self.link.next_permission(), &request, into);
                self.link.expect_answer(id, request);
            }
            Event::TurnEnded { call, outcome } if self.phase == Phase::Prompting(Some(call)) => {
                self.end(outcome);
            }
            Event::Malformed(malformed) => {
                self.stray.add(&malformed);
                self.translator.oddities.add("lines that are no messages");
            }
            Event::Stray(_) => self.translator.oddities.add("answers to nothing that was asked"),
            Event::Notification(notification) => {
                tracing::debug!(agent = self.agent(), method = %notification.method, "a private notification");
                self.translator.notified(&notification);
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
        let Wire { events, taken, .. } = &mut *self.wire;
        let heard = timeout(left.min(QUIET), events.recv_many(taken, BATCH)).await;
        heard.is_ok_and(|count| count > 0)
    }

    /// Why nothing more is heard of a turn that has not ended: nothing of what was said made sense for too long.
    fn drivel(&mut self, has_news: bool) -> Option<Failure> {
        let said = self.process.read.bytes();
        let more = said - std::mem::replace(&mut self.counted, said);
        self.drivel.add(usize::try_from(more).unwrap_or(usize::MAX));
        if has_news {
            self.drivel.end();
        }
        self.drivel.failure(self.agent()).filter(|_| self.ended.is_none())
    }

    /// How the turn ended.
    async fn conclude(&mut self) -> (EndedHow, Usage) {
        let answer = match self.ended.as_ref().map(|ended| ended.outcome.clone()) {
            Some(Ok(end)) => Ok(end),
            Some(Err(CallError::Agent { error, .. })) => Err(error),
            Some(Err(_)) | None => {
                let gone = words::gone(self.process.entry.name.as_str(), self.wire.exit().await);
                let text = format!("{gone} before its turn was over");
                let text = words::with_output(text, "", &self.wire.child.stderr_tail());
                return (
                    EndedHow::Crashed(Failure::new(TerminalReason::AgentCrashed, text)),
                    Usage::default(),
                );
            }
        };
        match self.translator.end(&answer) {
            // Nobody cancelled it, and other agents end such a turn as any other.
            (EndedHow::Cancelled, usage) if self.link.was_only_refused() => (EndedHow::Completed, usage),
            end => end,
        }
    }

    fn printed(&self) -> Printed {
        Printed { stdout: self.stray.text().to_owned(), stderr: self.wire.child.stderr_tail() }
    }

    /// Whether the agent is idle and in order, so that another turn can use it.
    fn is_in_order(&self) -> bool {
        match (self.phase, &self.ended) {
            (Phase::New | Phase::Ready, _) => true,
            (Phase::Prompting(_), Some(Ended { outcome: Ok(_) | Err(CallError::Agent { .. }), .. })) => {
                let quirks = &self.process.entry.quirks;
                let has_left_commands = quirks.cancel_leaves_commands && self.link.was_asked();
                self.may_go_on && !has_left_commands
            }
            _ => false,
        }
    }

    /// Why the process is lost, if it was lost in this turn without being told to end.
    async fn loss(&mut self) -> Option<String> {
        let is_closed = matches!(&self.ended, Some(Ended { outcome: Err(CallError::Closed { .. }), .. }));
        if !is_closed {
            return None;
        }
        Some(words::ending(self.wire.exit().await))
    }

    /// Gives the process back to the pool, or ends it.
    async fn hand_back(mut self, mut lease: Lease<AcpProcess>, how: Close) {
        let is_in_order = self.is_in_order();
        let is_given_up = how == Close::Return && self.phase == Phase::Starting;
        let is_ending = self.link.release().await;
        if how == Close::Return && is_in_order && !is_ending {
            self.process.terminals.close().await;
            if self.phase != Phase::New {
                self.wire.conversation = Some(self.translator.leave());
            }
            drop(self.wire);
            return lease.give_back().await;
        }
        let loss = match is_given_up {
            // Half way, nobody knows what it has made of what it was told.
            true => self.was_kept.then(|| words::STOPPED_EARLY.to_owned()),
            false if is_ending => None,
            false => self.loss().await,
        };
        drop(self.wire);
        lease.end(loss).await;
    }
}

/// Whether an update says what lasts beyond a turn.
fn lasts(update: &Update) -> bool {
    matches!(update, Update::AvailableCommands(_) | Update::CurrentMode(_) | Update::ConfigOptions(_))
}

#[async_trait]
impl AgentSession for AcpSession {
    async fn start(&mut self) -> Result<SessionInfo, Failure> {
        if let Some(lease) = &mut self.lease {
            lease.begin();
        }
        self.phase = Phase::Starting;
        let handshake = Handshake {
            process: &self.process,
            spec: &self.spec,
            link: &self.link,
            wire: &mut self.wire,
            stray: &mut self.stray,
            conversation: Default::default(),
        };
        let trouble = match handshake.run().await {
            Ok(Ready { conversation, notices }) => {
                self.phase = Phase::Ready;
                let info = SessionInfo {
                    agent_session: Some(conversation.id.clone()),
                    commands: conversation.commands.clone(),
                    own: conversation.offers.own().clone(),
                    settings: conversation.offers.settings(),
                    notices: self.restarted().into_iter().chain(notices).collect(),
                };
                self.translator = Translator::within(conversation, &self.process.entry.quirks);
                return Ok(info);
            }
            Err(trouble) => trouble,
        };
        let exit = if start::is_closed(&trouble) { self.wire.exit().await } else { None };
        let gone = words::gone(self.agent(), exit);
        let failure = start::failure_of(&self.process.entry, &trouble, &gone, &self.stray);
        let text = words::with_output(failure.text, self.stray.text(), &self.wire.child.stderr_tail());
        Err(Failure::new(failure.reason, text))
    }

    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure> {
        let session = self.link.session().unwrap_or_default();
        self.pass_over();
        self.counted = self.process.read.bytes();
        self.phase = Phase::Prompting(None);
        let text = [ContentBlock::Text(TextContent::new(prompt.text))];
        match self.link.client.prompt(&session, &text).await {
            Ok(call) => {
                self.phase = Phase::Prompting(Some(call));
                Ok(())
            }
            Err(error) => {
                let gone = words::gone(self.process.entry.name.as_str(), self.wire.exit().await);
                let text = format!("{gone}; the prompt could not be sent: {error}");
                let text = words::with_output(text, self.stray.text(), &self.wire.child.stderr_tail());
                self.ended = Some(Ended { outcome: Err(error), listen_until: Instant::now() });
                Err(Failure::new(TerminalReason::AgentCrashed, text))
            }
        }
    }

    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End> {
        let before = into.len();
        loop {
            match self.ended.as_ref().map(|ended| ended.listen_until) {
                None => {
                    let is_over = self.wire.taken.is_empty() && !self.wire.listen().await;
                    self.digest(into);
                    if is_over && self.ended.is_none() {
                        break;
                    }
                }
                Some(until) if self.take_last_words(until).await => self.digest(into),
                Some(_) => break,
            }
            let has_news = into.len() > before;
            if let Some(failure) = self.drivel(has_news) {
                self.translator.finish(into);
                return Some(End { printed: self.printed(), ..End::new(EndedHow::Failed(failure)) });
            }
            if has_news {
                return None;
            }
        }
        let (how, usage) = self.conclude().await;
        self.may_go_on = !failure::wants_login(&how);
        self.translator.finish(into);
        Some(End { how, usage, printed: self.printed() })
    }

    async fn close(mut self: Box<Self>, how: Close) {
        if let Some(lease) = self.lease.take() {
            return self.hand_back(lease, how).await;
        }
        self.link.ended.send_replace(true);
        let is_started = !matches!(self.phase, Phase::New | Phase::Starting);
        if how == Close::Return && is_started {
            let process = Arc::clone(&self.process);
            process.let_go(&mut self.wire).await;
        }
        self.process.kill().await;
    }
}
