//! From a started process to a conversation that is ready for its prompt.

use std::time::Duration;

use acp_proto::client::{CallError, CloseReason, Event};
use acp_proto::schema::{Implementation, InitializeRequest};
use acp_proto::types::{Initialized, SessionOpened};
use acp_proto::{ProtocolVersion, RpcError, method};
use dispatch_core::agent::{Failure, Notice, NoticeCode};
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::TerminalReason;
use tokio::time::{Instant, timeout};

use super::control::Link;
use super::conversation::Conversation;
use super::offers::{Setting, Why};
use super::process::{AcpProcess, BATCH, Wire};
use crate::common::printed::StrayOutput;
use crate::common::{failure, words};
use crate::registry::AgentEntry;

/// How many lines that are no messages are read before the agent has introduced itself. A banner is fine.
const MOST_STRAY_LINES: u64 = 1000;
/// How long an agent that has loaded a conversation is silent before its history is taken to be told; gemini
/// tells it after its answer, without a pause.
const HISTORY_PAUSE: Duration = Duration::from_millis(250);
/// How long a history that is told after the answer is listened to.
const LONGEST_HISTORY: Duration = Duration::from_secs(10);

/// Why an agent does not get ready.
pub(super) enum Trouble {
    /// A call failed.
    Call(CallError),
    /// It prints, and not ACP.
    Garbage,
    /// It speaks another version.
    Version(u16),
    /// It wants somebody to log in; how, and its own words.
    Login(Vec<String>, RpcError),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// An agent that is ready for its prompt.
pub(super) struct Ready {
    pub(super) conversation: Conversation,
    /// What the user should know.
    pub(super) notices: Vec<Notice>,
}

/// A handshake under way.
pub(super) struct Handshake<'a> {
    pub(super) process: &'a AcpProcess,
    pub(super) spec: &'a SessionSpec,
    pub(super) link: &'a Link,
    pub(super) wire: &'a mut Wire,
    pub(super) stray: &'a mut StrayOutput,
    /// What is heard of the conversation that is being opened, or goes on.
    pub(super) conversation: Conversation,
}

impl Handshake<'_> {
    /// Introduces us, opens a conversation, and makes the settings that were asked for: as far as an earlier turn of
    /// the same process has not done so.
    pub(super) async fn run(mut self) -> Result<Ready, Trouble> {
        let hello = match self.wire.hello.clone() {
            Some(hello) => hello,
            None => self.introduce().await?,
        };
        let mut notices = Vec::new();
        match self.wire.conversation.take() {
            // One that nobody has recorded was never prompted.
            Some(known) if self.spec.resume.as_ref().is_none_or(|wanted| *wanted == known.id) => {
                self.conversation = known;
            }
            _ => {
                let (opened, notice) = match &self.spec.resume {
                    Some(earlier) => self.resume(earlier, &hello).await?,
                    None => (self.begin(&hello).await?, None),
                };
                self.conversation.open(opened);
                if notice.as_ref().is_some_and(|notice| notice.code == NoticeCode::SessionLoaded) {
                    self.conversation.offers.goes_on(self.spec.own.clone());
                }
                notices.extend(notice);
            }
        }
        self.link.set_session(&self.conversation.id);
        notices.extend(self.settings().await?);
        Ok(Ready { conversation: self.conversation, notices })
    }

    async fn introduce(&mut self) -> Result<Initialized, Trouble> {
        let us = Implementation::new("boocoder", env!("CARGO_PKG_VERSION")).title("boocoder".to_owned());
        let capabilities = self.process.capabilities.clone();
        let hello =
            InitializeRequest::new(ProtocolVersion::V1).client_capabilities(capabilities).client_info(us);
        let client = self.link.client.clone();
        let initialized = self.listening(client.initialize(&hello)).await??;
        let version = initialized.agent.protocol_version;
        if version != ProtocolVersion::V1 {
            return Err(Trouble::Version(version.as_u16()));
        }
        self.wire.hello = Some(initialized.clone());
        Ok(initialized)
    }

    /// Begins a conversation.
    async fn begin(&mut self, hello: &Initialized) -> Result<SessionOpened, Trouble> {
        let client = self.link.client.clone();
        let opened = self.listening(client.new_session(&self.spec.cwd, &[])).await?;
        opened.map_err(|error| login_wanted(error, hello))
    }

    /// Goes on with an earlier conversation if the agent can, and says whether it does.
    async fn resume(
        &mut self,
        earlier: &str,
        hello: &Initialized,
    ) -> Result<(SessionOpened, Option<Notice>), Trouble> {
        let agent = &self.process.entry.name;
        let why = match self.reopen(earlier, hello).await? {
            Ok(opened) => {
                let text = format!("agent {agent} goes on with its conversation");
                return Ok((opened, Some(Notice { code: NoticeCode::SessionLoaded, text })));
            }
            Err(why) => why,
        };
        let text = format!("agent {agent} begins a new conversation: {why}");
        // What was heard meanwhile is not of this one.
        self.conversation = Conversation::default();
        Ok((self.begin(hello).await?, Some(Notice { code: NoticeCode::SessionNew, text })))
    }

    /// Opens an earlier conversation: without its history where the agent can. The inner error says why not.
    async fn reopen(
        &mut self,
        earlier: &str,
        hello: &Initialized,
    ) -> Result<Result<SessionOpened, String>, Trouble> {
        let (client, cwd) = (self.link.client.clone(), self.spec.cwd.clone());
        let capabilities = &hello.agent.agent_capabilities;
        let mut why = "it cannot load earlier ones".to_owned();
        if capabilities.session_capabilities.resume.is_some() {
            match self.listening(client.resume_session(earlier, &cwd, &[])).await? {
                Ok(opened) => return Ok(Ok(opened)),
                Err(error) => why = refusal(error)?,
            }
        }
        if capabilities.load_session {
            match self.listening(client.load_session(earlier, &cwd, &[])).await? {
                Ok(opened) => {
                    self.hear_history_out().await;
                    return Ok(Ok(opened));
                }
                Err(error) => why = refusal(error)?,
            }
        }
        Ok(Err(why))
    }

    /// Listens until the agent has told a history that it tells after its answer. What comes still later is
    /// passed over when the prompt goes out.
    async fn hear_history_out(&mut self) {
        let mut events = Vec::new();
        let until = Instant::now() + LONGEST_HISTORY;
        while Instant::now() < until {
            let heard = timeout(HISTORY_PAUSE, self.wire.events.recv_many(&mut events, BATCH)).await;
            if !heard.is_ok_and(|count| count > 0) {
                return;
            }
            self.hear(&mut events);
        }
    }

    /// Makes the settings that the task asks for. Where it asks for none, one that an earlier turn made is taken back.
    async fn settings(&mut self) -> Result<Vec<Notice>, Trouble> {
        let entry = &self.process.entry;
        let mut notices = Vec::new();
        for setting in Setting::ALL {
            let named = match setting {
                Setting::Model => self.spec.model.as_ref().map(|model| entry.quirks.full_model(model)),
                Setting::Thinking => self.spec.thinking.as_ref().map(|name| name.as_str().to_owned()),
                Setting::Mode => self.spec.mode.as_ref().map(|name| name.as_str().to_owned()),
            };
            let usual = entry.quirks.start_mode.clone().filter(|_| setting == Setting::Mode);
            let before = || Some((self.conversation.offers.before(setting)?, Why::TakenBack));
            let named = named.map(|name| (name, Why::Asked)).or(usual.map(|mode| (mode, Why::Usual)));
            let Some((wanted, why)) = named.or_else(before) else { continue };
            let notice = self.apply(setting, (&wanted, why)).await?;
            match (notice, why) {
                (Some(notice), Why::Usual) => {
                    tracing::warn!(agent = %entry.name, notice.text, "an agent's usual mode could not be made");
                }
                (Some(Notice { code, text }), Why::TakenBack) => {
                    let text = format!("{text}; it stays as an earlier task of the chat had it");
                    notices.push(Notice { code, text });
                }
                (notice, _) => notices.extend(notice),
            }
        }
        Ok(notices)
    }

    /// Makes one, while listening: the offers are lent to the call and learn what is heard afterwards.
    async fn apply(&mut self, setting: Setting, wanted: (&str, Why)) -> Result<Option<Notice>, Trouble> {
        let (client, agent) = (self.link.client.clone(), &self.process.entry.name);
        let session = self.conversation.id.clone();
        let mut offers = std::mem::take(&mut self.conversation.offers);
        let applied = self.listening(offers.apply(&client, &session, agent, setting, wanted)).await?;
        self.conversation.offers = offers;
        Ok(applied?)
    }

    /// Awaits a call while listening to the agent, whose words would fill memory otherwise.
    async fn listening<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Trouble> {
        let mut call = std::pin::pin!(call);
        let mut events = Vec::new();
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                done = &mut call => {
                    // What came before the answer belongs before it.
                    self.wire.events.try_recv_many(&mut events, BATCH);
                    self.hear(&mut events);
                    return Ok(done);
                }
                taken = self.wire.events.recv_many(&mut events, BATCH), if is_open => is_open = taken > 0,
            }
            self.hear(&mut events);
            if self.stray.lines() > MOST_STRAY_LINES {
                return Err(Trouble::Garbage);
            }
        }
    }

    /// Before its prompt an agent says nothing that belongs to the turn, but for what lasts.
    fn hear(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Malformed(malformed) => self.stray.add(&malformed),
                Event::Update(update) => drop(self.conversation.learn(&update)),
                Event::Notification(notification) => drop(self.conversation.notified(&notification)),
                Event::Permission { id, .. } => self.link.cancel_permission(id),
                event => {
                    tracing::debug!(agent = %self.process.entry.name, ?event, "heard before the prompt");
                }
            }
        }
    }
}

/// Why an agent does not open an earlier conversation.
///
/// # Errors
/// The connection is gone.
fn refusal(error: CallError) -> Result<String, CallError> {
    match error {
        CallError::Closed { .. } => Err(error),
        CallError::Agent { error, .. } => Ok(error.useful_text().to_owned()),
        CallError::TimeLimit { limit, .. } => Ok(format!("it did not answer within {}", words::time(limit))),
        error => Ok(error.to_string()),
    }
}

/// Tells an agent that wants a login from one that fails otherwise. Logging in is for a person to do: most methods
/// open a browser.
fn login_wanted(error: CallError, initialized: &Initialized) -> Trouble {
    match error {
        CallError::Agent { error, .. }
            if failure::of_error(&error).reason == TerminalReason::Unauthorised =>
        {
            let methods = initialized.agent.auth_methods.iter().map(|method| method.name().to_owned());
            Trouble::Login(methods.collect(), error)
        }
        error => Trouble::Call(error),
    }
}

/// Whether there is nobody to talk to any more.
pub(super) fn is_closed(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Call(CallError::Closed { .. }))
}

/// The failure that a trouble makes. `gone` says how the process ended, if it did.
pub(super) fn failure_of(entry: &AgentEntry, trouble: &Trouble, gone: &str, stray: &StrayOutput) -> Failure {
    let agent = &entry.name;
    let could_not_start = |text: String| Failure::new(TerminalReason::CouldNotStart, text);
    let has_garbage = stray.lines() > 0;
    match trouble {
        Trouble::Call(CallError::Closed { method, reason }) => {
            let why = match reason {
                CloseReason::WriteStalled(limit) => {
                    format!("agent {agent} read nothing for {}", words::time(*limit))
                }
                _ => gone.to_owned(),
            };
            could_not_start(format!("{why} before it answered {method}"))
        }
        Trouble::Call(CallError::TimeLimit { method, limit }) => {
            let limit = words::time(*limit);
            let prints = if has_garbage { "; what it prints is not ACP" } else { "" };
            could_not_start(format!("agent {agent} did not answer {method} within {limit}{prints}"))
        }
        Trouble::Call(CallError::Agent { method, error }) => {
            let Failure { reason, text } = failure::of_error(error);
            let reason =
                if reason == TerminalReason::AgentFailed { TerminalReason::CouldNotStart } else { reason };
            Failure::new(reason, format!("agent {agent} refused {method}: {text}"))
        }
        Trouble::Call(error) => could_not_start(format!("agent {agent}: {error}")),
        Trouble::Garbage => could_not_start(format!(
            "agent {agent} prints what is not ACP: more than {MOST_STRAY_LINES} lines before it answered {}",
            method::INITIALIZE
        )),
        Trouble::Version(version) => could_not_start(format!(
            "agent {agent} speaks version {version} of ACP; this build speaks version 1"
        )),
        Trouble::Login(methods, error) => {
            let how = if methods.is_empty() { String::new() } else { format!(" ({})", methods.join(", ")) };
            let text = failure::of_error(error).text;
            let text = format!("agent {agent} wants you to log in{how}: {text}; start it by hand to do so");
            Failure::new(TerminalReason::Unauthorised, text)
        }
    }
}
