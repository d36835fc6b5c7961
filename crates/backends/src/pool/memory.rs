//! What an agent that is kept remembers of its chat's conversation.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dispatch_core::ids::Epoch;
use dispatch_core::ports::SessionSpec;

/// How far a kept agent's memory of its conversation goes.
///
/// Any node may run a turn of the chat, with an agent of its own. Before a prompt goes out, its claim is recorded with
/// the conversation: so a memory is whole if the last claim that was recorded is that of its own last turn, or the one
/// that was the last before that turn, which then never had a prompt.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What was recorded before the last turn.
    before: Option<Epoch>,
    /// The last turn.
    last: Option<Epoch>,
}

impl Memory {
    /// Whether all of the conversation is in it that this turn is to go on with.
    pub(crate) fn is_whole(&self, spec: &SessionSpec) -> bool {
        let known = self.lock();
        let recorded = spec.resume_epoch;
        recorded == known.before || (recorded.is_some() && recorded == known.last)
    }

    /// This turn goes on with it, or begins it.
    pub(crate) fn goes_on(&self, spec: &SessionSpec) {
        *self.lock() = Known { before: spec.resume_epoch, last: Some(spec.epoch) };
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
