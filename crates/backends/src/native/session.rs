//! One turn of our own loop, as the dispatcher sees it.

use std::sync::Arc;

use async_trait::async_trait;
use dispatch_core::agent::{
    AgentSettings, AgentUpdate, Choice, End, EndedHow, Failure, Notice, NoticeCode, Printed, Setting,
};
use dispatch_core::ports::{AgentSession, Close, Prompt, SessionInfo, SessionSpec};
use dispatch_core::task::{Name, TerminalReason};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::budget::Budget;
use super::client::{Api, Fault, Models, known_models, loaded_context, pause};
use super::control::Link;
use super::conversation::Conversation;
use super::instructions::instructions;
use super::outbox::{self, News};
use super::settings::NativeSettings;
use super::tools;
use super::totals::Totals;
use super::turn::Turn;
use crate::acp::terminals::CommandSpawner;
use crate::common::oddities::Oddities;

/// How many news are taken at once.
const BATCH: usize = 256;

/// Efforts that services know; each knows some of them.
const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// See [`AgentSession`] for the order of the calls.
pub(super) struct NativeSession {
    settings: NativeSettings,
    spec: SessionSpec,
    api: Api,
    link: Arc<Link>,
    commands: Arc<CommandSpawner>,
    ready: Option<Ready>,
    running: Option<Running>,
    _stop_when_gone: StopWhenGone,
}

/// What was settled before the prompt.
struct Ready {
    model: String,
    thinking: Option<String>,
    context_size: Option<u64>,
}

/// The loop under way.
struct Running {
    news: mpsc::Receiver<News>,
    /// Taken and not handed over yet.
    taken: Vec<News>,
    task: JoinHandle<()>,
}

/// A session that is dropped and not closed leaves nothing running.
struct StopWhenGone(Arc<Link>);

impl Drop for StopWhenGone {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl NativeSession {
    pub(super) fn new(
        settings: NativeSettings,
        spec: SessionSpec,
        api: Api,
        link: Arc<Link>,
        commands: Arc<CommandSpawner>,
    ) -> Self {
        let _stop_when_gone = StopWhenGone(Arc::clone(&link));
        Self { settings, spec, api, link, commands, ready: None, running: None, _stop_when_gone }
    }

    async fn get_ready(&self) -> Result<(Ready, SessionInfo), Failure> {
        let models = self.models().await?;
        let mut notices = Vec::new();
        let mut ignored = |text| notices.push(Notice { code: NoticeCode::OptionIgnored, text });
        let asked = self.spec.model.as_ref().map(Name::as_str);
        let usual = self.settings.default_model.as_ref().map(Name::as_str).or_else(|| models.ids().next());
        let model = match (asked, usual) {
            (Some(asked), Some(usual)) if !models.may_have(asked) => {
                ignored(format!("{} has no model {asked}; {usual} answers", self.api.endpoint()));
                usual
            }
            (Some(model), _) | (None, Some(model)) => model,
            (None, None) => {
                let text = format!("no model is configured, and {} tells of none", self.api.endpoint());
                return Err(Failure::new(TerminalReason::CouldNotStart, text));
            }
        };
        if let Some(mode) = &self.spec.mode {
            ignored(format!("native inference has no mode {mode}, nor any other"));
        }
        let thinking = self.spec.thinking.as_ref().map(|thinking| thinking.as_str().to_ascii_lowercase());
        if let Some(thinking) = thinking.as_ref().filter(|thinking| !EFFORTS.contains(&thinking.as_str())) {
            ignored(format!("there is no thinking option {thinking}; there are {}", EFFORTS.join(", ")));
        }
        let thinking = thinking.filter(|thinking| EFFORTS.contains(&thinking.as_str()));
        let context_size = self.context_size(&models, model).await;
        let settings = offered(&models, model, thinking.as_deref());
        let ready = Ready { model: model.to_owned(), thinking, context_size };
        Ok((ready, SessionInfo { settings, notices, ..SessionInfo::default() }))
    }

    /// The models, asked for again while the service has no time or is not there yet: nothing has gone out.
    async fn models(&self) -> Result<Models, Failure> {
        let limits = &self.settings.limits;
        let mut retries = 0;
        loop {
            let fault = match known_models(&self.api, limits.models).await {
                Ok(models) => return Ok(models),
                Err(fault) => fault,
            };
            if fault.is_unauthorised() || (retries == limits.retries && fault.is_connection()) {
                return Err(start_failure(fault));
            }
            if retries == limits.retries {
                // It may have time for the model all the same.
                return Ok(Models::default());
            }
            tracing::debug!(fault = fault.text, "the model's service is not there yet");
            tokio::time::sleep(pause(limits.first_pause, retries)).await;
            retries += 1;
        }
    }

    async fn context_size(&self, models: &Models, model: &str) -> Option<u64> {
        match self.settings.context_size.or_else(|| models.context_size(model)) {
            Some(size) => Some(size),
            // Only llama.cpp knows it, and has one model.
            None if models.ids().count() == 1 => loaded_context(&self.api, self.settings.limits.models).await,
            None => None,
        }
    }

    /// Starts the loop.
    fn run(&mut self, ready: Ready, prompt: Prompt) -> Running {
        let (outbox, news) = outbox::channel();
        let limits = self.settings.limits;
        let history = std::mem::take(&mut self.spec.history);
        let mut conversation = Conversation::of_history(&history, limits.conversation_bytes);
        conversation.say(prompt.text);
        let has_tools = self.link.tools.is_some();
        let mut turn = Turn {
            api: self.api.clone(),
            link: Arc::clone(&self.link),
            outbox: outbox.clone(),
            conversation,
            system: instructions(has_tools.then_some(&self.spec.cwd)),
            model: ready.model,
            thinking: ready.thinking,
            tools: has_tools.then(tools::definitions),
            budget: Budget::new(ready.context_size, limits.conversation_bytes),
            limits,
            totals: Totals::default(),
            oddities: Oddities::default(),
            asks_for_usage: true,
            calls: 0,
        };
        let link = Arc::clone(&self.link);
        let task = tokio::spawn(async move {
            let how = tokio::select! {
                biased;
                () = link.stopped() => EndedHow::Cancelled,
                how = turn.run() => how,
            };
            if let Some(notice) = turn.oddities.take_notice() {
                outbox.send(AgentUpdate::Notice(notice)).await;
            }
            outbox.end(End { how, usage: turn.usage(), printed: Printed::default() }).await;
        });
        Running { news, taken: Vec::new(), task }
    }
}

/// What may be chosen, as far as the service tells.
fn offered(models: &Models, model: &str, thinking: Option<&str>) -> AgentSettings {
    let choice = |id: &str| Choice { id: id.to_owned(), name: id.to_owned(), description: String::new() };
    AgentSettings {
        model: Setting { current: Some(model.to_owned()), choices: models.ids().map(choice).collect() },
        mode: Setting::default(),
        thinking: Setting {
            current: thinking.map(str::to_owned),
            choices: EFFORTS.iter().map(|effort| choice(effort)).collect(),
        },
    }
}

/// The service does not answer, or does not let us in.
fn start_failure(fault: Fault) -> Failure {
    match fault.end() {
        EndedHow::Failed(failure) => failure,
        EndedHow::Crashed(Failure { text, .. }) => Failure::new(TerminalReason::CouldNotStart, text),
        EndedHow::Completed | EndedHow::Cancelled => {
            Failure::new(TerminalReason::Internal, "a fault that is none")
        }
    }
}

#[async_trait]
impl AgentSession for NativeSession {
    async fn start(&mut self) -> Result<SessionInfo, Failure> {
        let (ready, info) = self.get_ready().await?;
        self.ready = Some(ready);
        Ok(info)
    }

    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure> {
        let Some(ready) = self.ready.take() else {
            return Err(Failure::new(TerminalReason::Internal, "the turn is not ready for a prompt"));
        };
        self.running = Some(self.run(ready, prompt));
        Ok(())
    }

    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End> {
        let lost = || Failure::new(TerminalReason::Internal, "the turn's loop is gone");
        let Some(Running { news, taken, .. }) = &mut self.running else {
            return Some(End::new(EndedHow::Failed(lost())));
        };
        if news.recv_many(taken, BATCH).await == 0 {
            // It panicked.
            return Some(End::new(EndedHow::Crashed(lost())));
        }
        let mut end = None;
        for news in taken.drain(..) {
            match news {
                News::Update(update, _room) => into.push(update),
                News::End(last) => end = Some(last),
            }
        }
        end
    }

    async fn close(mut self: Box<Self>, _: Close) {
        self.link.stop();
        if let Some(Running { news, task, .. }) = self.running.take() {
            // Nobody listens any more, so that it waits for nobody.
            drop(news);
            let _ = task.await;
        }
        if let Some(tools) = &self.link.tools {
            tools.idle().await;
        }
        self.commands.close().await;
    }
}
