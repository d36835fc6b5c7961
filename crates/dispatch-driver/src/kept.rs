//! What a node keeps between turns, as the record is told.

use std::sync::Arc;

use dispatch_core::ports::{Agents, Lease, Store, StoreError, WarmAgent};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use crate::{contained::contained, store_calls::persistently};

/// Tells the record what a node keeps between turns.
pub(crate) struct Kept {
    store: Arc<dyn Store>,
    agents: Arc<dyn Agents>,
    lease: Lease,
    /// What it was told last. Locked while it is told something, so that it hears things in their order.
    told: Mutex<Vec<WarmAgent>>,
}

impl Kept {
    pub(crate) fn new(store: Arc<dyn Store>, agents: Arc<dyn Agents>, lease: Lease) -> Self {
        Self { store, agents, lease, told: Mutex::default() }
    }

    /// Tells what has changed. What is not told by then is told the next time.
    pub(crate) async fn tell(&self, limit: Instant) {
        let telling = async {
            let mut told = self.told.lock().await;
            let Some(warm) = self.now().await.filter(|warm| *warm != *told) else { return };
            if let Ok(Ok(())) = contained(self.store.record_warm(&self.lease, &warm)).await {
                *told = warm;
            }
        };
        // What was given up may have been recorded all the same: it is told whole the next time.
        let _ = timeout_at(limit, telling).await;
    }

    /// Tells of what the record does not know. To be called before a turn's end is recorded: whoever closes its session
    /// after that must find what the turn leaves behind.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn tell_what_is_new(&self) -> Result<(), StoreError> {
        let mut told = self.told.lock().await;
        let Some(warm) = self.now().await else { return Ok(()) };
        if warm.iter().all(|kept| told.iter().any(|known| is_same(known, kept))) {
            return Ok(());
        }
        persistently(|| self.store.record_warm(&self.lease, &warm)).await?;
        *told = warm;
        Ok(())
    }

    /// What is kept now; `None` when a backend panics.
    async fn now(&self) -> Option<Vec<WarmAgent>> {
        contained(async { self.agents.warm() }).await.ok()
    }
}

/// Whether two are the same process for the same chat, whatever it does.
fn is_same(one: &WarmAgent, other: &WarmAgent) -> bool {
    (one.pid, one.chat, one.route) == (other.pid, other.chat, other.route)
}
