//! The hand that reaches a turn of our own loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use dispatch_core::agent::Answer;
use dispatch_core::ports::AgentControl;
use dispatch_core::profile::Stop;
use tokio::sync::{oneshot, watch};

use super::tools::Tools;

/// What session, loop and control share.
pub(super) struct Link {
    pub(super) tools: Option<Tools>,
    stopped: watch::Sender<bool>,
    /// Requests for leave that wait for an answer.
    asked: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

impl Link {
    pub(super) fn new(tools: Option<Tools>) -> Self {
        Self { tools, stopped: watch::Sender::new(false), asked: Mutex::default() }
    }

    /// Ends the turn, whatever it is at. Returns at once.
    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
        if let Some(tools) = &self.tools {
            tools.stop();
        }
    }

    /// Returns once the turn is to end.
    pub(super) async fn stopped(&self) {
        // The sender is ours, so that this does not fail.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Lets a request for leave be answered, once.
    pub(super) fn ask(&self, id: String) -> oneshot::Receiver<Answer> {
        let (sender, answer) = oneshot::channel();
        self.lock().insert(id, sender);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The control of one session; it may outlive it.
pub(super) struct NativeControl(pub(super) Arc<Link>);

#[async_trait]
impl AgentControl for NativeControl {
    async fn stop(&self, rung: Stop) {
        match rung {
            // There is no process that could refuse: each rung ends the request and kills the command under way.
            Stop::Ask | Stop::Terminate | Stop::Kill => self.0.stop(),
        }
    }

    async fn answer(&self, id: &str, answer: Answer) {
        let asked = self.0.lock().remove(id);
        if let Some(asked) = asked {
            // A turn that has ended meanwhile asks no more.
            let _ = asked.send(answer);
        }
    }
}
