//! The agent's requests that are open.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use crate::raw::RawJson;
use crate::request_ids::RequestId;

/// The answer to a permission request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionAnswer {
    /// The id of the option that was chosen.
    Selected(String),
    /// The turn is being cancelled. Without a cancel agents take it for a rejection.
    Cancelled,
}

impl PermissionAnswer {
    /// The result to answer with.
    pub(super) fn to_result(&self) -> RawJson {
        let outcome = match self {
            Self::Selected(option) => json!({"outcome": {"outcome": "selected", "optionId": option}}),
            Self::Cancelled => json!({"outcome": {"outcome": "cancelled"}}),
        };
        RawJson::encode(&outcome).expect("because a Value always encodes")
    }
}

/// Which requests of the agent wait for an answer, so that each gets one.
pub(super) struct Inbound {
    limit: usize,
    /// In bytes of lines.
    weight_limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<RequestId, Open>,
    /// What the open requests weigh together.
    weight: usize,
    /// Sessions whose turn was cancelled and has not ended: their permissions are answered for the user, since
    /// gemini, goose and vibe never end a turn that has one open.
    cancelling: HashSet<String>,
}

struct Open {
    /// The session of a permission.
    permission: Option<String>,
    /// In bytes.
    weight: usize,
}

/// Why a request is not taken.
pub(super) enum Refused {
    TooMany,
    IdInUse,
}

impl Inbound {
    pub(super) fn new(limit: usize, weight_limit: usize) -> Self {
        Self { limit, weight_limit, state: Mutex::default() }
    }

    /// Takes a request of a weight in bytes, a permission with its session. One that `must_fit` is refused when
    /// there are too many bytes already; others were to be left in the pipe then.
    pub(super) fn open(
        &self,
        id: &RequestId,
        permission: Option<&str>,
        weight: usize,
        must_fit: bool,
    ) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.open.contains_key(id) {
            return Err(Refused::IdInUse);
        }
        if state.open.len() >= self.limit || (must_fit && state.weight >= self.weight_limit) {
            return Err(Refused::TooMany);
        }
        state.weight += weight;
        state.open.insert(id.clone(), Open { permission: permission.map(str::to_owned), weight });
        Ok(())
    }

    /// Whether a request was open, which it is no more.
    pub(super) fn close(&self, id: &RequestId) -> bool {
        let mut state = self.lock();
        let Some(closed) = state.open.remove(id) else { return false };
        state.weight -= closed.weight;
        true
    }

    /// Whether the open requests weigh as much as they may.
    pub(super) fn is_full(&self) -> bool {
        self.lock().weight >= self.weight_limit
    }

    /// Whether a permission is open.
    pub(super) fn is_open_permission(&self, id: &RequestId) -> bool {
        self.lock().open.get(id).is_some_and(|open| open.permission.is_some())
    }

    /// Remembers that a session's turn is cancelled, and returns its open permissions.
    pub(super) fn cancel(&self, session_id: &str) -> Vec<RequestId> {
        let mut state = self.lock();
        state.cancelling.insert(session_id.to_owned());
        let of_session = state.open.iter().filter(|(_, open)| open.permission.as_deref() == Some(session_id));
        of_session.map(|(id, _)| id.clone()).collect()
    }

    /// Forgets a cancel: the turn has ended, or the next one begins.
    pub(super) fn cancelled(&self, session_id: &str) {
        self.lock().cancelling.remove(session_id);
    }

    /// Whether a session's turn is cancelled.
    pub(super) fn is_cancelling(&self, session_id: &str) -> bool {
        self.lock().cancelling.contains(session_id)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
