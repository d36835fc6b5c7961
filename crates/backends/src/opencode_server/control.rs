//! The hand that reaches a turn while its stream is awaited.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::agent::Answer;
use dispatch_core::ids::SessionId;
use dispatch_core::ports::AgentControl;
use dispatch_core::profile::Stop;
use tokio::sync::watch;
use tokio::task::JoinHandle;
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
}

#[derive(Debug, Default)]
struct State {
    /// The conversation, and what is heard of it, once a prompt goes out.
    turn: Option<(String, Arc<Inbox>)>,
    /// Permission requests that wait for an answer.
    asked: HashSet<String>,
    /// Aborts the turn, once that is asked for; tells whether all that it sent was answered.
    aborting: Option<JoinHandle<bool>>,
}

impl Link {
    pub(super) fn new(api: Api, server: Arc<Server>, line_of_work: SessionId) -> Self {
        Self { api, server, line_of_work, ended: watch::Sender::new(false), state: Mutex::default() }
    }

    /// A prompt goes out to this conversation.
    pub(super) fn begin(&self, session: &str, inbox: Arc<Inbox>) {
        self.lock().turn = Some((session.to_owned(), inbox));
    }

    /// Lets a permission request be answered, once.
    pub(super) fn expect_answer(&self, request: String) {
        self.lock().asked.insert(request);
    }

    /// Forgets a permission request that was answered otherwise; `false` when it does not wait for an answer.
    pub(super) fn forget(&self, request: &str) -> bool {
        self.lock().asked.remove(request)
    }

    /// Declines a question that nobody is shown.
    pub(super) fn decline(self: &Arc<Self>, question: String) {
        let link = Arc::clone(self);
        tokio::spawn(async move { link.until_taken(|| link.api.decline(&question)).await });
    }

    /// Aborts the turn, and again until it has ended. What was sent is waited for: it must not reach the next turn.
    async fn abort(self: Arc<Self>, session: String) -> bool {
        let mut ended = self.ended.subscribe();
        let mut is_answered = true;
        while !*ended.borrow_and_update() {
            if let Err(error) = self.api.abort(&session).await {
                tracing::debug!(%error, "a turn could not be aborted");
                is_answered &= matches!(error, HttpError::Refused { .. } | HttpError::Garbled { .. });
            }
            let _ = timeout(ASK_AGAIN, ended.wait_for(|ended| *ended)).await;
        }
        is_answered
    }

    /// The turn has ended. Tells whether nothing that was sent for it is on its way any more, for which it waits no
    /// longer than that.
    pub(super) async fn over(&self, patience: Duration) -> bool {
        self.ended.send_replace(true);
        let aborting = self.lock().aborting.take();
        match aborting {
            Some(aborting) => matches!(timeout(patience, aborting).await, Ok(Ok(true))),
            None => true,
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
    fn cut_off(&self, state: &State) {
        if let Some((_, inbox)) = &state.turn {
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
        let mut state = link.lock();
        if *link.ended.borrow() {
            return;
        }
        match rung {
            Stop::Ask => {
                if let (Some((session, _)), None) = (&state.turn, &state.aborting) {
                    state.aborting = Some(tokio::spawn(Arc::clone(link).abort(session.clone())));
                }
            }
            Stop::Terminate | Stop::Kill => link.cut_off(&state),
        }
    }

    async fn answer(&self, id: &str, answer: Answer) {
        let Some(request) = self.0.lock().asked.take(id) else { return };
        // A task: a caller that gives up must not leave the agent without an answer.
        tokio::spawn(Arc::clone(&self.0).reply(request, answer));
    }
}
