//! The hand that reaches a program while its output is awaited.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use dispatch_core::agent::Answer;
use dispatch_core::ports::AgentControl;
use dispatch_core::profile::Stop;

use crate::process::Control;

/// What session and control share.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The process, once there is one.
    process: Option<Control>,
    /// The last rung that was climbed.
    stopped: Option<Stop>,
}

impl Link {
    /// A process was started: it is stopped at once if a stop came while it took the place of another.
    pub(super) fn started(&self, process: Control) {
        let mut state = self.lock();
        if let Some(rung) = state.stopped {
            climb(&process, rung);
        }
        state.process = Some(process);
    }

    /// Whether the turn is being stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn climb(process: &Control, rung: Stop) {
    match rung {
        // There is no asking these programs; the ladder has no such rung.
        Stop::Ask | Stop::Terminate => process.terminate(),
        Stop::Kill => process.kill(),
    }
}

/// The control of one session; it may outlive it.
pub(super) struct CliControl(pub(super) Arc<Link>);

#[async_trait]
impl AgentControl for CliControl {
    async fn stop(&self, rung: Stop) {
        let mut state = self.0.lock();
        state.stopped = Some(rung);
        if let Some(process) = &state.process {
            climb(process, rung);
        }
    }

    /// These programs ask nothing.
    async fn answer(&self, _: &str, _: Answer) {}
}
