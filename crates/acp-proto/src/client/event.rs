//! What the agent says, as its host sees it.

use super::calls::{CallId, StrayReason};
use super::error::{CallError, CloseReason};
use crate::message::{Malformed, Method, Notification, Response};
use crate::request_ids::RequestId;
use crate::types::{PermissionRequest, SessionUpdate, TurnEnd};

/// One thing that happened on a connection, in the order of the wire.
#[derive(Clone, Debug)]
pub enum Event {
    /// A `session/update`. May come before the session's creation is answered, and after a turn has ended.
    Update(SessionUpdate),
    /// The agent asks, and waits for [`Client::answer_permission`](super::Client::answer_permission).
    Permission {
        /// What to answer with.
        id: RequestId,
        /// The question.
        request: PermissionRequest,
    },
    /// A prompt was answered, or never will be. Each prompt that was sent has exactly one.
    TurnEnded {
        /// Which prompt.
        call: CallId,
        /// How it ended.
        outcome: Result<TurnEnd, CallError>,
    },
    /// Here the answer to another call was received; what it says went to the caller. Updates before it are
    /// what the agent sent first: the history that a loaded session replays.
    Answered {
        /// Which call.
        call: CallId,
        /// What was called.
        method: Method,
    },
    /// A notification that is not a readable `session/update`: an agent's private extension.
    Notification(Notification),
    /// An answer that nobody waits for.
    Stray(Stray),
    /// A line that is no message.
    Malformed(Malformed),
    /// The end, and the last event. Prompts that were open have ended before it.
    Closed {
        /// Why.
        reason: CloseReason,
        /// The methods of the calls that were never answered, oldest first.
        unanswered: Vec<Method>,
    },
}

/// An answer that nobody waits for.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Why not.
    pub reason: StrayReason,
    /// The answer.
    pub response: Response,
}
