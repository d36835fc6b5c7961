//! The calls of ours that are open, and those that were.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::error::{CallError, CloseReason};
use crate::message::Method;
use crate::raw::RawJson;
use crate::request_ids::RequestId;

/// How many ended calls are remembered, to tell a late or second answer from one with an invented id.
const REMEMBERED: usize = 64;

/// Which call of ours; counts from 1 on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(super) i64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An open call.
pub(super) struct Open {
    pub(super) method: Method,
    pub(super) answer_to: AnswerTo,
}

/// Who wants the answer.
pub(super) enum AnswerTo {
    /// A caller that awaits it. A call that opens a session says in which folder, so that the session is known
    /// before the agent's next message is looked at.
    Caller { sender: oneshot::Sender<Result<RawJson, CallError>>, opens: Option<PathBuf> },
    /// The consumer of the events: a prompt of this session.
    Turn { session_id: String },
}

/// Why a call is open no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Answered,
    Abandoned,
}

/// Why nobody waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrayReason {
    /// It came after its time limit, or its caller has gone.
    Late(Method),
    /// It had been answered before.
    Duplicate(Method),
    /// Its id belongs to no call; `null` is the agent's answer to what it could not read.
    UnknownId,
}

#[derive(Default)]
pub(super) struct Calls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: i64,
    open: BTreeMap<i64, Open>,
    /// How many of the open calls are awaited.
    awaited: usize,
    ended: VecDeque<(i64, Method, Ended)>,
    closed: Option<CloseReason>,
}

impl Calls {
    /// Opens a call.
    pub(super) fn open(&self, method: Method, answer_to: AnswerTo) -> Result<CallId, CallError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(CallError::Closed { method, reason: reason.clone() });
        }
        state.last += 1;
        let id = state.last;
        state.awaited += usize::from(matches!(answer_to, AnswerTo::Caller { .. }));
        state.open.insert(id, Open { method, answer_to });
        Ok(CallId(id))
    }

    /// Whether an answer is awaited: then the pipe must be read, however slow the events' consumer is.
    pub(super) fn awaited(&self) -> bool {
        self.lock().awaited > 0
    }

    /// Takes the call that an answer belongs to.
    pub(super) fn answer(&self, id: Option<&RequestId>) -> Result<(CallId, Open), StrayReason> {
        let Some(&RequestId::Number(id)) = id else { return Err(StrayReason::UnknownId) };
        let mut state = self.lock();
        if let Some(open) = state.end(id, Ended::Answered) {
            return Ok((CallId(id), open));
        }
        let ended = state.ended.iter_mut().find(|(ended, ..)| *ended == id);
        Err(match ended {
            None => StrayReason::UnknownId,
            Some((_, method, Ended::Answered)) => StrayReason::Duplicate(method.clone()),
            Some((_, method, how)) => {
                *how = Ended::Answered;
                StrayReason::Late(method.clone())
            }
        })
    }

    /// Ends a call whose caller waits no longer.
    pub(super) fn abandon(&self, id: CallId) {
        drop(self.lock().end(id.0, Ended::Abandoned));
    }

    /// Ends all calls, oldest first, and lets no new ones begin. The first reason stays.
    pub(super) fn close(&self, reason: &CloseReason) -> Vec<(CallId, Open)> {
        let mut state = self.lock();
        state.closed.get_or_insert_with(|| reason.clone());
        state.awaited = 0;
        std::mem::take(&mut state.open).into_iter().map(|(id, open)| (CallId(id), open)).collect()
    }

    /// Lets no new calls begin; those that are open may still be answered.
    pub(super) fn refuse_new(&self, reason: &CloseReason) {
        self.lock().closed.get_or_insert_with(|| reason.clone());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, id: i64, how: Ended) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.awaited -= usize::from(matches!(open.answer_to, AnswerTo::Caller { .. }));
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((id, open.method.clone(), how));
        Some(open)
    }
}
