//! The hand that reaches a turn while its stream is awaited.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::agent::Answer;
use dispatch_core::ids::SessionId;
use dispatch_core::ports::AgentControl;
use dispatch_core::profile::Stop;
use tokio::sync::watch;
use tokio::time::timeout;

use super::api::Api;
use super::http::HttpError;
use super::inbox::{Ends, Inbox};
use super::server::Server;

/// An abort that comes before the server has begun with the prompt aborts nothing, so it is sent again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What session and control share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) api: Api,
    pub(super) server: Arc<Server>,
    line_of_work: SessionId,
    /// Whether the turn has ended.
    pub(super) ended: watch::Sender<bool>,
    state: Mutex<State>,
    is_asking: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The conversation, and what is heard of it, once a prompt goes out.
    turn: Option<(String, Arc<Inbox>)>,
    /// Permission requests that wait for an answer.
    asked: HashSet<String>,
}

impl Link {
    pub(super) fn new(api: Api, server: Arc<Server>, line_of_work: SessionId) -> Self {
        Self {
            api,
            server,
            line_of_work,
            ended: watch::Sender::new(false),
            state: Mutex::default(),
            is_asking: AtomicBool::new(false),
        }
    }

    /// A prompt goes out to this conversation.
    pub(super) fn begin(&self, session: &str, inbox: Arc<Inbox>) {
        self.lock().turn = Some((session.to_owned(), inbox));
    }

    /// Lets a permission request be answered, once.
    pub(super) fn expect_answer(&self, request: String) {
        self.lock().asked.insert(request);
    }

    /// Declines a question that nobody is shown.
    pub(super) fn decline(self: &Arc<Self>, question: String) {
        let link = Arc::clone(self);
        tokio::spawn(async move { link.until_taken(|| link.api.decline(&question)).await });
    }

    /// Aborts the turn, and again until it has ended.
    async fn abort(self: Arc<Self>, session: String) {
        let mut ended = self.ended.subscribe();
        let has_ended = async move { ended.wait_for(|ended| *ended).await.is_ok() };
        let mut has_ended = std::pin::pin!(has_ended);
        loop {
            tokio::select! {
                biased;
                _ = &mut has_ended => return,
                aborted = self.api.abort(&session) => if let Err(error) = aborted {
                    tracing::debug!(%error, "a turn could not be aborted");
                }
            }
            if timeout(ASK_AGAIN, &mut has_ended).await.is_ok() {
                return;
            }
        }
    }

    /// Makes a call until it is taken, as the turn waits for what it says; no longer than the turn lasts.
    async fn until_taken<F: Future<Output = Result<(), HttpError>>>(&self, call: impl Fn() -> F) {
        let mut ended = self.ended.subscribe();
        let calling = async {
            while let Err(error) = call().await {
                tracing::debug!(%error, "an answer was not taken");
                if matches!(error, HttpError::Refused { .. } | HttpError::Garbled { .. }) {
                    return;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        tokio::select! {
            () = calling => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }

    async fn reply(self: Arc<Self>, request: String, answer: Answer) {
        let (reply, message) = match answer {
            Answer::Allow => ("once", None),
            Answer::Deny | Answer::Lapsed => ("reject", answer.why_not()),
            // Without a message it ends the turn.
            Answer::Cancelled => ("reject", None),
        };
        self.until_taken(|| self.api.reply(&request, reply, message)).await;
    }

    /// The turn did not obey: it ends here, at once, and may go on there.
    fn cut_off(&self) {
        if let Some((_, inbox)) = self.lock().turn.as_ref() {
            self.server.cut_off(self.line_of_work);
            inbox.end(Ends::CutOff);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The control of one turn; it may outlive it.
pub(super) struct OpencodeControl(pub(super) Arc<Link>);

#[async_trait]
impl AgentControl for OpencodeControl {
    async fn stop(&self, rung: Stop) {
        let link = &self.0;
        if *link.ended.borrow() {
            return;
        }
        match rung {
            // Before the prompt there is nothing to abort: the session is closed instead.
            Stop::Ask => {
                let session = link.lock().turn.as_ref().map(|(session, _)| session.clone());
                if let Some(session) = session
                    && !link.is_asking.swap(true, Ordering::AcqRel)
                {
                    tokio::spawn(Arc::clone(link).abort(session));
                }
            }
            Stop::Terminate | Stop::Kill => link.cut_off(),
        }
    }

    async fn answer(&self, id: &str, answer: Answer) {
        let Some(request) = self.0.lock().asked.take(id) else { return };
        // A task: a caller that gives up must not leave the agent without an answer.
        tokio::spawn(Arc::clone(&self.0).reply(request, answer));
    }
}
