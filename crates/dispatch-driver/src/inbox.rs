//! What reaches a running turn from outside.

use dispatch_core::{
    agent::Answer,
    turn::{Event, Why},
};
use tokio::sync::mpsc;

/// A word to a running turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The store has accepted a Stop of this task.
    StopAccepted,
    /// Nobody waits any longer for the stop: end it now.
    Hurry,
    /// The node takes no more work.
    ShuttingDown,
    /// The grace period of a shutdown is over.
    ShutdownDeadline,
    /// The node's lease is lost.
    LeaseLost,
    /// A user answered a permission request.
    Answer {
        /// The request's id.
        id: String,
        /// The answer.
        answer: Answer,
    },
}

impl From<Signal> for Event {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::StopAccepted => Self::StopAccepted(Why::User),
            Signal::Hurry => Self::Hurried,
            Signal::ShuttingDown => Self::ShuttingDown,
            Signal::ShutdownDeadline => Self::StopAccepted(Why::Shutdown),
            Signal::LeaseLost => Self::LeaseLost,
            Signal::Answer { id, answer } => Self::PermissionAnswered { id, answer },
        }
    }
}

/// The sending end of a turn's inbox. Signals to a turn that has ended go nowhere.
#[derive(Debug, Clone)]
pub struct TurnHandle(mpsc::UnboundedSender<Signal>);

impl TurnHandle {
    /// Tells the turn something. Signals are few and small, so the inbox has no bound.
    pub fn send(&self, signal: Signal) {
        // A closed inbox means that the turn has ended: the signal came late.
        let _ = self.0.send(signal);
    }
}

/// The receiving end of a turn's inbox.
#[derive(Debug)]
pub struct Inbox(mpsc::UnboundedReceiver<Signal>);

impl Inbox {
    /// The next signal; never returns once every handle is gone, as that is no news for a turn.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// A turn's inbox.
#[must_use]
pub fn inbox() -> (TurnHandle, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (TurnHandle(sender), Inbox(receiver))
}
