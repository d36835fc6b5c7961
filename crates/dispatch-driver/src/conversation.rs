//! The agent's own conversation of a turn, on its way into the record.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dispatch_core::{
    ports::{AgentConversation, Store, StoreError, WriteAnswer},
    task::TurnKey,
};

use crate::store_calls::persistently;

/// The agent's conversation, once it is known. An agent may name it anew while its turn runs: whatever is recorded
/// last is the newest.
pub(crate) struct OwnConversation {
    store: Arc<dyn Store>,
    turn: TurnKey,
    /// Which worktree it belongs to, where there is one.
    worktree: OnceLock<String>,
    newest: Mutex<Option<AgentConversation>>,
    /// What was recorded last. Locked for each write, which so takes what is the newest after the one before it.
    recorded: tokio::sync::Mutex<Option<AgentConversation>>,
}

impl OwnConversation {
    pub(crate) fn new(store: Arc<dyn Store>, turn: TurnKey) -> Self {
        let (newest, recorded) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { store, turn, worktree: OnceLock::new(), newest, recorded }
    }

    /// The turn has this worktree.
    pub(crate) fn set_worktree(&self, worktree: String) {
        // A turn has one.
        let _ = self.worktree.set(worktree);
    }

    /// The agent has told of it.
    pub(crate) fn set(&self, newest: AgentConversation) {
        *self.newest() = Some(newest);
    }

    /// The agent calls it this from now on.
    pub(crate) fn rename(&self, id: String) {
        self.newest().get_or_insert_default().id = id;
    }

    /// Records what is the newest, unless it is recorded. When this returns, so is whatever was the newest before.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn record(&self) -> Result<(), StoreError> {
        let mut recorded = self.recorded.lock().await;
        let newest = self.newest().clone();
        let Some(newest) = newest.filter(|newest| recorded.as_ref() != Some(newest)) else { return Ok(()) };
        let worktree = self.worktree.get().map_or("", String::as_str);
        let write = || self.store.record_agent_session(&self.turn, &newest, worktree);
        if persistently(write).await? == WriteAnswer::Done {
            *recorded = Some(newest);
        } else {
            tracing::warn!(task = %self.turn.task, "the agent's conversation is not recorded: its turn is over");
        }
        Ok(())
    }

    /// The same where a failure is no reason to end the turn: without it the conversation cannot be gone on with.
    pub(crate) async fn try_to_record(&self) {
        if let Err(error) = self.record().await {
            tracing::warn!(task = %self.turn.task, %error, "the agent's conversation could not be recorded");
        }
    }

    fn newest(&self) -> MutexGuard<'_, Option<AgentConversation>> {
        // It is whole between any two statements.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
