//! The hand that reaches an agent while its stream is awaited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acp_proto::RequestId;
use acp_proto::client::{Client, PermissionAnswer};
use async_trait::async_trait;
use dispatch_core::agent::{Answer, PermissionRequest};
use dispatch_core::ports::AgentControl;
use dispatch_core::profile::Stop;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::process::AcpProcess;
use super::terminals::CommandSpawner;
use crate::process::Control;

/// A cancel that comes too early can be lost (seen with several agents), so it is sent again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What one turn's session and control share.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) process: Control,
    pub(super) terminals: Arc<CommandSpawner>,
    /// Whether the turn has ended.
    pub(super) ended: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The agent's id of the conversation, once there is one.
    session: Option<String>,
    /// Permission requests that wait for an answer, by our ids.
    asked: HashMap<String, Asked>,
    last_asked: u64,
    /// Whether one of them was refused.
    has_refused: bool,
    /// The task that asks it to end its turn.
    asking: Option<JoinHandle<()>>,
    /// It was told to end, by whatever means.
    is_ending: bool,
    /// The turn has let go of the process, which is no business of its control any more.
    is_released: bool,
}

struct Asked {
    id: RequestId,
    request: PermissionRequest,
}

impl Link {
    pub(super) fn new(process: &AcpProcess) -> Self {
        Self {
            client: process.client.clone(),
            process: process.process.clone(),
            terminals: Arc::clone(&process.terminals),
            ended: watch::Sender::new(false),
            state: Mutex::default(),
        }
    }

    /// From now on the control reaches nothing any more. Returns when all that it had begun is over, and whether the
    /// process was told to end.
    pub(super) async fn release(&self) -> bool {
        self.ended.send_replace(true);
        let (asking, asked) = {
            let mut state = self.lock();
            state.is_released = true;
            (state.asking.take(), std::mem::take(&mut state.asked))
        };
        // The turn is over, and nobody will answer them.
        asked.into_values().for_each(|Asked { id, .. }| self.cancel_permission(id));
        if let Some(asking) = asking {
            // A cancel that is sent after this would be the next turn's.
            let _ = asking.await;
        }
        self.lock().is_ending
    }

    /// Whether the agent was asked to end the turn.
    pub(super) fn was_asked(&self) -> bool {
        self.lock().asking.is_some()
    }

    /// Whether the agent itself may have cancelled the turn because it was refused something, as codex-acp does (0.16.0).
    pub(super) fn was_only_refused(&self) -> bool {
        let state = self.lock();
        state.has_refused && state.asking.is_none()
    }

    pub(super) fn set_session(&self, session: &str) {
        self.lock().session = Some(session.to_owned());
    }

    pub(super) fn session(&self) -> Option<String> {
        self.lock().session.clone()
    }

    /// Our id for a permission request that came now.
    pub(super) fn next_permission(&self) -> String {
        let mut state = self.lock();
        state.last_asked += 1;
        format!("permission-{}", state.last_asked)
    }

    /// Lets a permission request be answered, once.
    pub(super) fn expect_answer(&self, id: RequestId, request: PermissionRequest) {
        self.lock().asked.insert(request.id.clone(), Asked { id, request });
    }

    /// Answers a permission request that nobody is to be shown.
    pub(super) fn cancel_permission(&self, id: RequestId) {
        self.answer_permission(id, PermissionAnswer::Cancelled);
    }

    /// A task, since an agent that reads nothing makes it wait; and a caller that gives up must not leave the agent
    /// without an answer.
    fn answer_permission(&self, id: RequestId, answer: PermissionAnswer) {
        let client = self.client.clone();
        tokio::spawn(async move {
            if let Err(error) = client.answer_permission(&id, answer).await {
                tracing::debug!(%error, "a permission request needed no answer any more");
            }
        });
    }

    /// Cancels the turn, and again until it has ended.
    async fn cancel(self: Arc<Self>, session: String) {
        let mut ended = self.ended.subscribe();
        let has_ended = async move { ended.wait_for(|ended| *ended).await.is_ok() };
        let mut has_ended = std::pin::pin!(has_ended);
        loop {
            tokio::select! {
                biased;
                _ = &mut has_ended => return,
                sent = self.client.cancel(&session) => if sent.is_err() { return },
            }
            if timeout(ASK_AGAIN, &mut has_ended).await.is_ok() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The control of one session; it may outlive it.
pub(super) struct AcpControl(pub(super) Arc<Link>);

#[async_trait]
impl AgentControl for AcpControl {
    async fn stop(&self, rung: Stop) {
        let link = &self.0;
        let mut state = link.lock();
        if state.is_released {
            return;
        }
        match rung {
            Stop::Ask => {
                if let (Some(session), None) = (state.session.clone(), &state.asking) {
                    // A task, since an agent that reads nothing makes it wait.
                    state.asking = Some(tokio::spawn(Arc::clone(link).cancel(session)));
                }
            }
            Stop::Terminate => {
                state.is_ending = true;
                link.process.terminate();
                link.terminals.kill();
            }
            Stop::Kill => {
                state.is_ending = true;
                link.process.kill();
                link.terminals.kill();
            }
        }
    }

    async fn answer(&self, id: &str, answer: Answer) {
        let Asked { id, request } = {
            let mut state = self.0.lock();
            let Some(asked) = state.asked.remove(id) else { return };
            state.has_refused |= matches!(answer, Answer::Deny | Answer::Lapsed);
            asked
        };
        let answer = match request.option_for(answer) {
            Some(option) => PermissionAnswer::Selected(option.to_owned()),
            None => PermissionAnswer::Cancelled,
        };
        self.0.answer_permission(id, answer);
    }
}
