//! The hand that reaches Claude Code while its stream is awaited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::agent::Answer;
use dispatch_core::ports::AgentControl;
use dispatch_core::profile::Stop;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::process::{ClaudeProcess, Outbox};
use super::protocol;
use crate::process::Control;

/// An interrupt that comes before the turn has begun is lost, so it is sent again; an idle one takes it without harm.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Requests that may be open at once.
const MOST_ASKED: usize = 256;

/// What session and control share.
pub(super) struct Link {
    state: Mutex<State>,
    /// Whether the turn has ended.
    ended: watch::Sender<bool>,
}

struct State {
    process: Control,
    outbox: Outbox,
    /// Requests that wait for an answer, by our ids: the agent's id and the arguments.
    asked: HashMap<String, (String, Value)>,
    last_asked: u64,
    is_prompted: bool,
    is_asking: bool,
    /// Whether the turn is being stopped.
    is_stopped: bool,
    /// Whether the process is being ended.
    is_ending: bool,
}

impl Link {
    pub(super) fn new(process: &ClaudeProcess) -> Self {
        let state = State {
            process: process.control.clone(),
            outbox: process.outbox.clone(),
            asked: HashMap::new(),
            last_asked: 0,
            is_prompted: false,
            is_asking: false,
            is_stopped: false,
            is_ending: false,
        };
        Self { state: Mutex::new(state), ended: watch::Sender::new(false) }
    }

    /// Another process takes the place of the one that did not get ready.
    pub(super) fn replace(&self, process: &ClaudeProcess) {
        let mut state = self.lock();
        if state.is_ending {
            process.control.kill();
        }
        state.process = process.control.clone();
        state.outbox = process.outbox.clone();
    }

    /// The prompt goes out.
    pub(super) fn prompted(&self) {
        self.lock().is_prompted = true;
    }

    /// The turn has ended: nothing of it reaches the process from now on.
    pub(super) fn over(&self) {
        let mut state = self.lock();
        state.is_prompted = false;
        state.asked.clear();
        drop(state);
        self.ended.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    pub(super) fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    /// Lets a request be answered; its id for us, or `None` when too many are open.
    pub(super) fn expect_answer(&self, id: String, input: Value) -> Option<String> {
        let mut state = self.lock();
        if state.asked.len() >= MOST_ASKED {
            return None;
        }
        state.last_asked += 1;
        let ours = format!("permission-{}", state.last_asked);
        state.asked.insert(ours.clone(), (id, input));
        Some(ours)
    }

    /// The agent wants no answer any more.
    pub(super) fn withdraw(&self, id: &str) {
        self.lock().asked.retain(|_, (asked, _)| asked != id);
    }

    /// Interrupts the turn, and again until it has ended.
    async fn interrupt(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        for number in 1_u64.. {
            let outbox = self.lock().outbox.clone();
            let line = protocol::request(&format!("interrupt-{number}"), json!({"subtype": "interrupt"}));
            let asked = async {
                outbox.send(&line).await;
                tokio::time::sleep(ASK_AGAIN).await;
            };
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => return,
                () = asked => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The control of one session; it may outlive it.
pub(super) struct ClaudeControl(pub(super) Arc<Link>);

#[async_trait]
impl AgentControl for ClaudeControl {
    async fn stop(&self, rung: Stop) {
        let mut state = self.0.lock();
        if *self.0.ended.borrow() {
            return;
        }
        state.is_stopped = true;
        match rung {
            Stop::Ask if state.is_prompted && !state.is_asking => {
                state.is_asking = true;
                tokio::spawn(Arc::clone(&self.0).interrupt());
            }
            // It is being started: there is no turn that it could be asked to end.
            Stop::Ask => {}
            Stop::Terminate => {
                state.is_ending = true;
                state.process.terminate();
            }
            Stop::Kill => {
                state.is_ending = true;
                state.process.kill();
            }
        }
    }

    async fn answer(&self, id: &str, answer: Answer) {
        let mut state = self.0.lock();
        let Some((id, input)) = state.asked.remove(id) else { return };
        let line = match answer.why_not() {
            None => protocol::allow(&id, &input),
            Some(why) => protocol::deny(&id, why),
        };
        state.outbox.post(line);
    }
}
