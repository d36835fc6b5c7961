//! The hand that reaches Claude Code while its stream is awaited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::agent::Answer;
use dispatch_core::ports::AgentControl;
use dispatch_core::profile::Stop;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::process::{ClaudeProcess, Outbox};
use super::protocol;
use crate::process::Control;

/// An interrupt that comes before the turn has begun is lost, so it is sent again; an idle one takes it without harm.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Requests that may be open at once.
const MOST_ASKED: usize = 256;
/// What is kept to answer them, in bytes: the arguments of each go back to the agent.
const MOST_KEPT: usize = 16 * 1024 * 1024;

/// What session and control share.
pub(super) struct Link {
    state: Mutex<State>,
    /// Whether the turn has ended.
    ended: watch::Sender<bool>,
}

struct State {
    process: Control,
    outbox: Outbox,
    /// Requests that wait for an answer, by our ids.
    asked: HashMap<String, Asked>,
    /// How many requests are open, and what is kept of them, in bytes: each is until there was room for its answer.
    open: (usize, usize),
    last_asked: u64,
    /// The task that asks it to end its turn.
    asking: Option<JoinHandle<()>>,
    /// Whether the turn is being stopped.
    is_stopped: bool,
    /// Whether the process is being ended.
    is_ending: bool,
}

/// A request that waits for an answer.
struct Asked {
    /// The agent's id of it.
    id: String,
    /// The answer that allows it.
    allow: String,
}

impl Asked {
    fn length(&self) -> usize {
        self.id.len() + self.allow.len()
    }
}

impl Link {
    pub(super) fn new(process: &ClaudeProcess) -> Self {
        let state = State {
            process: process.control.clone(),
            outbox: process.outbox.clone(),
            asked: HashMap::new(),
            open: (0, 0),
            last_asked: 0,
            asking: None,
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

    /// The turn has ended: its control reaches nothing from now on, and nobody will answer what is still asked.
    pub(super) fn over(&self) {
        let mut state = self.lock();
        let (asked, outbox) = (std::mem::take(&mut state.asked), state.outbox.clone());
        drop(state);
        self.ended.send_replace(true);
        if !asked.is_empty() {
            tokio::spawn(async move {
                for Asked { id, .. } in asked.into_values() {
                    outbox.send(protocol::deny(&id, "the turn is over").to_string()).await;
                }
            });
        }
    }

    /// Returns when nothing is under way any more that was begun before the turn was [`over`](Self::over): an interrupt
    /// that is sent later would be the next turn's.
    pub(super) async fn settled(&self) {
        let asking = self.lock().asking.take();
        if let Some(asking) = asking {
            let _ = asking.await;
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    pub(super) fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    /// Lets a request be answered; its id for us, or `None` when too many are open.
    pub(super) fn expect_answer(&self, id: &str, input: &Value) -> Option<String> {
        let asked = Asked { id: id.to_owned(), allow: protocol::allow(id, input).to_string() };
        let mut state = self.lock();
        let (count, bytes) = state.open;
        let open = (count + 1, bytes + asked.length());
        if open.0 > MOST_ASKED || open.1 > MOST_KEPT {
            return None;
        }
        state.open = open;
        state.last_asked += 1;
        let ours = format!("permission-{}", state.last_asked);
        state.asked.insert(ours.clone(), asked);
        Some(ours)
    }

    /// The agent wants no answer any more to what it asked under this id; our ids of that.
    pub(super) fn withdraw(&self, id: &str) -> Vec<String> {
        let mut state = self.lock();
        let (withdrawn, asked): (HashMap<_, _>, HashMap<_, _>) =
            std::mem::take(&mut state.asked).into_iter().partition(|(_, asked)| asked.id == id);
        state.asked = asked;
        withdrawn.values().for_each(|asked| state.closed(asked.length()));
        withdrawn.into_keys().collect()
    }

    /// Interrupts the turn, and again until it has ended.
    async fn interrupt(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        for number in 1_u64.. {
            let outbox = self.lock().outbox.clone();
            let line = protocol::interrupt(&format!("interrupt-{number}"));
            let asked = async {
                outbox.send(line.to_string()).await;
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

impl State {
    /// A request is no longer open, of which so much was kept.
    fn closed(&mut self, length: usize) {
        self.open = (self.open.0 - 1, self.open.1 - length);
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
            Stop::Ask => {
                if state.asking.is_none() {
                    state.asking = Some(tokio::spawn(Arc::clone(&self.0).interrupt()));
                }
            }
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
        let (asked, outbox) = {
            let mut state = self.0.lock();
            let Some(asked) = state.asked.remove(id) else { return };
            (asked, state.outbox.clone())
        };
        let (link, length) = (Arc::clone(&self.0), asked.length());
        let line = match answer.why_not() {
            None => asked.allow,
            Some(why) => protocol::deny(&asked.id, why).to_string(),
        };
        // A task, since an agent that reads nothing makes it wait.
        tokio::spawn(async move {
            outbox.send(line).await;
            link.lock().closed(length);
        });
    }
}
