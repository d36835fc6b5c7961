//! From a started process to a conversation that is ready for its prompt.

use std::time::Duration;

use acp_proto::client::{CallError, CloseReason, Event, Events};
use acp_proto::schema::{ClientCapabilities, Implementation, InitializeRequest};
use acp_proto::types::{Initialized, SessionOpened, Update};
use acp_proto::{ProtocolVersion, RpcError, method};
use dispatch_core::agent::{AgentCommand, Failure, Notice, NoticeCode};
use dispatch_core::ports::{SessionInfo, SessionSpec};
use dispatch_core::task::{Name, TerminalReason};
use tokio::time::{Instant, timeout};

use super::control::Link;
use super::options::{Offers, Setting};
use super::printed::StrayOutput;
use super::{failure, translate, words};
use crate::registry::AgentEntry;

/// How many lines that are no messages are read before the agent has introduced itself. A banner is fine.
const MOST_STRAY_LINES: u64 = 1000;
/// How many events are taken at once.
const BATCH: usize = 256;
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
    pub(super) info: SessionInfo,
    /// Whether it goes on with an earlier conversation. What it says of that may still come.
    pub(super) is_loaded: bool,
}

/// A handshake under way.
pub(super) struct Handshake<'a> {
    pub(super) entry: &'a AgentEntry,
    pub(super) spec: &'a SessionSpec,
    pub(super) link: &'a Link,
    pub(super) events: &'a mut Events,
    pub(super) stray: &'a mut StrayOutput,
    pub(super) commands: Vec<AgentCommand>,
}

impl Handshake<'_> {
    /// Introduces us, opens a conversation, and makes the settings that were asked for.
    pub(super) async fn run(&mut self, capabilities: ClientCapabilities) -> Result<Ready, Trouble> {
        let us = Implementation::new("boocoder", env!("CARGO_PKG_VERSION")).title("boocoder".to_owned());
        let hello =
            InitializeRequest::new(ProtocolVersion::V1).client_capabilities(capabilities).client_info(us);
        let client = self.link.client.clone();
        let initialized = self.listening(client.initialize(&hello)).await??;
        let version = initialized.agent.protocol_version;
        if version != ProtocolVersion::V1 {
            return Err(Trouble::Version(version.as_u16()));
        }
        let (opened, notice) = match &self.spec.resume {
            Some(earlier) => self.resume(earlier, &initialized).await?,
            None => (self.begin(&initialized).await?, None),
        };
        let session = opened.session_id.clone();
        self.link.set_session(&session);
        let is_loaded = notice.as_ref().is_some_and(|notice| notice.code == NoticeCode::SessionLoaded);
        let mut notices = Vec::from_iter(notice);
        notices.extend(self.settings(Offers::new(opened)).await?);
        let commands = std::mem::take(&mut self.commands);
        Ok(Ready { info: SessionInfo { agent_session: Some(session), commands, notices }, is_loaded })
    }

    /// Begins a conversation.
    async fn begin(&mut self, initialized: &Initialized) -> Result<SessionOpened, Trouble> {
        let client = self.link.client.clone();
        let opened = self.listening(client.new_session(&self.spec.cwd, &[])).await?;
        opened.map_err(|error| login_wanted(error, initialized))
    }

    /// Goes on with an earlier conversation if the agent can, and says whether it does.
    async fn resume(
        &mut self,
        earlier: &str,
        initialized: &Initialized,
    ) -> Result<(SessionOpened, Option<Notice>), Trouble> {
        let agent = &self.entry.name;
        let why = if initialized.agent.agent_capabilities.load_session {
            let client = self.link.client.clone();
            match self.listening(client.load_session(earlier, &self.spec.cwd, &[])).await? {
                Ok(opened) => {
                    self.hear_history_out().await;
                    let text = format!("agent {agent} goes on with its conversation");
                    return Ok((opened, Some(Notice { code: NoticeCode::SessionLoaded, text })));
                }
                Err(error @ CallError::Closed { .. }) => return Err(error.into()),
                Err(CallError::Agent { error, .. }) => error.useful_text().to_owned(),
                Err(CallError::TimeLimit { limit, .. }) => {
                    format!("it did not answer within {}", words::time(limit))
                }
                Err(error) => error.to_string(),
            }
        } else {
            "it cannot load earlier ones".to_owned()
        };
        let text = format!("agent {agent} begins a new conversation: {why}");
        Ok((self.begin(initialized).await?, Some(Notice { code: NoticeCode::SessionNew, text })))
    }

    /// Listens until the agent has told a history that it tells after its answer. What comes still later is
    /// passed over when the prompt goes out.
    async fn hear_history_out(&mut self) {
        let mut events = Vec::new();
        let until = Instant::now() + LONGEST_HISTORY;
        while Instant::now() < until {
            let heard = timeout(HISTORY_PAUSE, self.events.recv_many(&mut events, BATCH)).await;
            if !heard.is_ok_and(|count| count > 0) {
                return;
            }
            self.hear(&mut events);
        }
    }

    /// The model first: the other settings may depend on it.
    async fn settings(&mut self, mut offers: Offers) -> Result<Vec<Notice>, Trouble> {
        let (client, agent) = (self.link.client.clone(), &self.entry.name);
        let model = self.spec.model.as_ref().map(|model| self.full_model(model));
        let named = |name: &Option<Name>| name.as_ref().map(|name| name.as_str().to_owned());
        let wanted = [
            (Setting::Model, model),
            (Setting::Thinking, named(&self.spec.thinking)),
            (Setting::Mode, named(&self.spec.mode)),
        ];
        let mut notices = Vec::new();
        for (setting, wanted) in wanted {
            if let Some(wanted) = wanted {
                let applied = self.listening(offers.apply(&client, agent, setting, &wanted)).await?;
                notices.extend(applied?);
            }
        }
        Ok(notices)
    }

    fn full_model(&self, model: &Name) -> String {
        match &self.entry.quirks.model_prefix {
            Some(prefix) if !model.as_str().contains('/') => format!("{prefix}{model}"),
            _ => model.as_str().to_owned(),
        }
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
                    self.events.try_recv_many(&mut events, BATCH);
                    self.hear(&mut events);
                    return Ok(done);
                }
                taken = self.events.recv_many(&mut events, BATCH), if is_open => is_open = taken > 0,
            }
            self.hear(&mut events);
            if self.stray.lines() > MOST_STRAY_LINES {
                return Err(Trouble::Garbage);
            }
        }
    }

    /// Before its prompt an agent says nothing that belongs to the turn, but for its commands.
    fn hear(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Malformed(malformed) => self.stray.add(&malformed),
                Event::Update(update) => {
                    if let Update::AvailableCommands(list) = update.update {
                        self.commands = translate::commands(&list.available_commands);
                    }
                }
                event => tracing::debug!(agent = %self.entry.name, ?event, "heard before the prompt"),
            }
        }
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
