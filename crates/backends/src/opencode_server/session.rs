//! One turn of one conversation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::agent::{AgentUpdate, End, EndedHow, Failure, Notice, NoticeCode, Printed};
use dispatch_core::ports::{AgentSession, Close, Prompt, SessionInfo, SessionSpec};
use dispatch_core::task::TerminalReason;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};

use super::api::Asking;
use super::control::Link;
use super::http::HttpError;
use super::inbox::{Ends, Heard, Mail, Taken};
use super::message_id;
use super::progress::Standing;
use super::server::Server;
use super::snapshot::Snapshot;
use super::start::{self, Ready};
use super::translate::Translator;
use crate::common::drivel::{self, Drivel};
use crate::common::{failure, words};
use crate::pool::Lease;
use crate::registry::AgentEntry;

/// How long it is waited for opencode to clear up, before it is asked whether the turn is over.
const CLEARING_UP: Duration = Duration::from_millis(500);
/// How long it is waited before it is asked again, after an answer that decided nothing, or none.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is asked in vain, once a turn is over, for what may be missing of it.
const LAST_ASKS: u32 = 3;
/// How long a turn that nobody listens to any more may take to obey.
const OBEDIENCE: Duration = Duration::from_secs(5);

/// See [`AgentSession`] for the order of the calls.
pub(super) struct OpencodeSession {
    entry: AgentEntry,
    spec: SessionSpec,
    lease: Lease<Server>,
    link: Arc<Link>,
    ready: Option<Ready>,
    turn: Option<Turn>,
    /// What the server may still do for this turn.
    work: Work,
    /// The turn failed because somebody must log in.
    wants_login: bool,
}

/// What the server may still do for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Nothing: no prompt went out, or its turn is over.
    None,
    /// It works on the prompt, as far as is known.
    Going,
    /// It did not obey.
    CutOff,
    /// The server is gone.
    Lost,
}

/// A turn under way.
struct Turn {
    prompt: String,
    translator: Translator,
    /// A question that is under way: how the conversation stands.
    asking: Option<Aborting<Result<Snapshot, HttpError>>>,
    /// When it is asked next.
    ask_at: Option<Instant>,
    /// A slash command under way.
    command: Option<Aborting<Result<(), HttpError>>>,
    /// Something was lost, and not asked for since the turn was over.
    has_gap: bool,
    asked_in_vain: u32,
    drivel: Drivel,
}

/// A task that ends with its handle.
struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a turn hears next.
enum News {
    Events(Taken),
    Snapshot(Result<Snapshot, HttpError>),
    Command(Result<(), HttpError>),
    TimeToAsk,
}

impl OpencodeSession {
    pub(super) fn new(entry: AgentEntry, spec: SessionSpec, lease: Lease<Server>, link: Arc<Link>) -> Self {
        Self { entry, spec, lease, link, ready: None, turn: None, work: Work::None, wants_login: false }
    }

    /// Sends the prompt, as a command where it is one.
    async fn send(&mut self, text: String) -> Result<(), HttpError> {
        let Some(ready) = &self.ready else { return Ok(()) };
        let prompt = message_id::new();
        let asking = Asking {
            message: prompt.clone(),
            agent: ready.chosen.mode.clone(),
            variant: ready.chosen.variant.clone(),
        };
        ready.listening.inbox.clear();
        self.link.begin(&ready.session, Arc::clone(&ready.listening.inbox));
        let mut turn = Turn {
            translator: Translator::new(&*ready.session, &*prompt, ready.stale.iter().cloned()),
            prompt,
            asking: None,
            ask_at: None,
            command: None,
            has_gap: false,
            asked_in_vain: 0,
            drivel: Drivel::default(),
        };
        self.work = Work::Going;
        let model = ready.chosen.model.clone();
        let sent = match ready.offers.command_in(&text) {
            Some((command, arguments)) => {
                let (link, session) = (Arc::clone(&self.link), ready.session.clone());
                let (command, arguments) = (command.to_owned(), arguments.to_owned());
                turn.command = Some(Aborting(tokio::spawn(async move {
                    link.api.command(&session, &asking, model.as_ref(), &command, &arguments).await
                })));
                Ok(())
            }
            None => self.link.api.prompt(&ready.session, &asking, model.as_ref(), &text).await,
        };
        if matches!(sent, Err(HttpError::Refused { .. })) {
            self.work = Work::None;
        }
        self.turn = Some(turn);
        sent
    }

    /// Waits for news. Cancel-safe.
    async fn news(ready: &Ready, turn: &mut Turn) -> News {
        let ask_at = turn.ask_at;
        let timer = async {
            match ask_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let news = tokio::select! {
            biased;
            taken = ready.listening.inbox.take() => News::Events(taken),
            answer = done(&mut turn.asking) => News::Snapshot(answer.unwrap_or_else(|error| Err(lost(&error)))),
            answer = done(&mut turn.command) => News::Command(answer.unwrap_or_else(|error| Err(lost(&error)))),
            () = timer => News::TimeToAsk,
        };
        match &news {
            News::Events(_) => {}
            News::Snapshot(_) => turn.asking = None,
            News::Command(_) => turn.command = None,
            News::TimeToAsk => turn.ask_at = None,
        }
        news
    }

    /// The end that comes from outside.
    async fn ended_by(&mut self, ends: Ends, into: &mut Vec<AgentUpdate>) -> End {
        let how = match ends {
            Ends::CutOff => {
                self.work = Work::CutOff;
                EndedHow::Cancelled
            }
            Ends::Drivel => {
                self.work = Work::CutOff;
                EndedHow::Failed(drivel::too_much(self.entry.name.as_str()))
            }
            Ends::Lost => {
                let gone = self.lease.warm().gone().await;
                self.work = Work::Lost;
                let text = format!("agent {} {} before its turn was over", self.entry.name, gone.how);
                let text = words::with_output(text, "", &gone.stderr);
                EndedHow::Crashed(Failure::new(TerminalReason::AgentCrashed, text))
            }
        };
        self.finish(Some(how), into)
    }

    /// The turn is over.
    fn finish(&mut self, instead: Option<EndedHow>, into: &mut Vec<AgentUpdate>) -> End {
        self.link.ended.send_replace(true);
        let Some(turn) = &mut self.turn else { return End::new(instead.unwrap_or(EndedHow::Cancelled)) };
        if turn.has_gap {
            turn.translator.oddities.add("text that was lost with a broken connection");
        }
        turn.translator.finish(into);
        let (how, mut usage) = turn.translator.end();
        let size = turn.translator.model().zip(self.ready.as_ref());
        usage.context_size =
            size.and_then(|((provider, model), ready)| ready.offers.context_size(provider, model));
        turn.asking = None;
        let how = instead.unwrap_or(how);
        self.wants_login = failure::wants_login(&how);
        End { how, usage, printed: Printed::default() }
    }

    /// Whether the turn is known to be over, after it was aborted.
    async fn obeys(&self) -> bool {
        let Some(ready) = &self.ready else { return true };
        let api = &self.link.api;
        let asking = async {
            api.abort(&ready.session).await?;
            api.status(&ready.session).await.map(|status| status.is_none())
        };
        matches!(timeout(OBEDIENCE, asking).await, Ok(Ok(true)))
    }
}

impl Turn {
    /// Takes what came; says how the turn ends from outside, if it does.
    fn hear(&mut self, taken: Taken, into: &mut Vec<AgentUpdate>) -> Option<Ends> {
        self.drivel.add(taken.said);
        for mail in taken.mail {
            match mail {
                Mail::Event(Heard { kind, session, properties }) => {
                    self.translator.event(kind, &session, &properties, into);
                }
                Mail::Gap => {
                    self.has_gap = true;
                    self.translator.gap();
                    self.ask_at = Some(Instant::now());
                }
            }
        }
        taken.ends
    }

    /// Asks how the conversation stands.
    fn ask(&mut self, ready: &Ready, link: &Arc<Link>) {
        if self.asking.is_none() {
            let (link, session, prompt) = (Arc::clone(link), ready.session.clone(), self.prompt.clone());
            let ask = async move {
                let _turn = link.server.feed.asking.acquire().await;
                Snapshot::take(&link.api, &session, &prompt).await
            };
            self.asking = Some(Aborting(tokio::spawn(ask)));
        }
    }

    /// Takes the answer to that.
    fn learn(&mut self, answer: Result<Snapshot, HttpError>, ready: &Ready, into: &mut Vec<AgentUpdate>) {
        let Snapshot { status, messages, children, permissions, questions } = match answer {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::debug!(%error, "how the conversation stands is not known");
                return self.ask_again();
            }
        };
        let listening = &ready.listening;
        children.rows.iter().for_each(|child| listening.follow(&child.id));
        let is_idle = status.is_none();
        let is_whole = messages.is_some_and(|messages| self.translator.messages(messages, into));
        if permissions.illegible + questions.illegible > 0 {
            self.translator.oddities.add("requests that could not be read");
        }
        for asked in permissions.rows.iter().filter(|asked| listening.is_about(&asked.session)) {
            self.translator.permission(asked, into);
        }
        for question in questions.rows.into_iter().filter(|question| listening.is_about(&question.session)) {
            self.translator.question(question.id);
        }
        self.translator.asked_for(status, into);
        match self.translator.standing() {
            Standing::Over if is_idle && is_whole => self.has_gap = false,
            Standing::Over => self.ask_again(),
            _ if is_idle => self.ask_at = Some(Instant::now() + ASK_AGAIN),
            _ => self.asked_in_vain = 0,
        }
    }

    /// The answer decided nothing, or there was none.
    fn ask_again(&mut self) {
        self.asked_in_vain += 1;
        self.ask_at = Some(Instant::now() + ASK_AGAIN);
    }

    /// A command has failed, or has been done, which its events tell as well.
    fn commanded(&mut self, answer: Result<(), HttpError>) {
        match answer {
            Ok(()) => {}
            Err(HttpError::Refused { text, .. }) => self.translator.refused(text),
            // It may go on all the same.
            Err(error) => {
                tracing::debug!(%error, "the answer to a command was lost");
                self.ask_at = Some(Instant::now() + ASK_AGAIN);
            }
        }
    }

    /// Whether nothing is missing any more.
    fn is_over(&mut self) -> bool {
        match self.translator.standing() {
            Standing::Running => false,
            Standing::Unsure => {
                self.ask_at.get_or_insert_with(|| Instant::now() + CLEARING_UP);
                false
            }
            Standing::Over if self.has_gap && self.asked_in_vain < LAST_ASKS => {
                if self.asking.is_none() {
                    self.ask_at.get_or_insert_with(Instant::now);
                }
                false
            }
            Standing::Over => true,
        }
    }
}

/// Waits for a task, if there is one.
async fn done<T>(task: &mut Option<Aborting<T>>) -> Result<T, JoinError> {
    match task {
        Some(Aborting(task)) => task.await,
        None => std::future::pending().await,
    }
}

/// A task that panicked; the panic's own words are in the log.
fn lost(error: &JoinError) -> HttpError {
    HttpError::Unreachable(error.to_string())
}

#[async_trait]
impl AgentSession for OpencodeSession {
    async fn start(&mut self) -> Result<SessionInfo, Failure> {
        let mut ready = start::run(&self.entry, &self.spec, self.lease.warm(), &self.link.api).await?;
        let mut info = std::mem::take(&mut ready.info);
        if let Some(why) = self.lease.take_lost() {
            let text = format!("the server of agent {} was started again: it {why}", self.entry.name);
            info.notices.insert(0, Notice { code: NoticeCode::BackendRestarted, text });
        }
        self.ready = Some(ready);
        Ok(info)
    }

    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure> {
        self.send(prompt.text).await.map_err(|error| {
            let text = format!("agent {}: the prompt could not be sent: {error}", self.entry.name);
            Failure::new(TerminalReason::AgentCrashed, text)
        })
    }

    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End> {
        let (Some(ready), Some(turn)) = (&self.ready, &mut self.turn) else {
            return Some(End::new(EndedHow::Cancelled));
        };
        let before = into.len();
        let mut ends = None;
        if !turn.is_over() {
            match Self::news(ready, turn).await {
                News::Events(taken) => ends = turn.hear(taken, into),
                News::Snapshot(answer) => turn.learn(answer, ready, into),
                News::Command(answer) => turn.commanded(answer),
                News::TimeToAsk => turn.ask(ready, &self.link),
            }
        }
        let mut heard = into.split_off(before);
        heard.retain(|update| match update {
            AgentUpdate::Permission(request) => {
                self.link.expect_answer(request.id.clone());
                true
            }
            // Our own answers are told, too.
            AgentUpdate::PermissionWithdrawn(id) => self.link.forget(id),
            _ => true,
        });
        if !heard.is_empty() {
            turn.drivel.end();
        }
        into.append(&mut heard);
        turn.translator.take_questions().into_iter().for_each(|question| self.link.decline(question));
        if turn.is_over() {
            self.work = Work::None;
            return Some(self.finish(None, into));
        }
        if let Some(failure) = turn.drivel.failure(self.entry.name.as_str()) {
            return Some(self.finish(Some(EndedHow::Failed(failure)), into));
        }
        match ends {
            Some(ends) => Some(self.ended_by(ends, into).await),
            None => None,
        }
    }

    async fn close(mut self: Box<Self>, _how: Close) {
        // A turn that is over, or was never begun, leaves nothing: the server is in order, however this is to end.
        if self.work == Work::Going && self.obeys().await {
            self.work = Work::None;
        }
        if !self.link.over(OBEDIENCE).await && self.work == Work::None {
            self.work = Work::CutOff;
        }
        let Self { mut lease, work, ready, spec, wants_login, .. } = *self;
        drop(ready);
        if wants_login {
            lease.doom();
        }
        match work {
            Work::None => {
                lease.warm().not_cut_off(spec.session);
                lease.give_back().await;
            }
            Work::Going | Work::CutOff => {
                lease.warm().cut_off(spec.session);
                lease.doom();
                lease.give_back().await;
            }
            Work::Lost => {
                let why = lease.warm().gone().await.how;
                lease.end(Some(why)).await;
            }
        }
    }
}
