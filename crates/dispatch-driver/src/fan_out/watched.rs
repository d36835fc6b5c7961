//! Who watches what.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dispatch_core::ids::SessionId;

use super::queue::Queue;

/// Who watches which session.
#[derive(Default)]
pub(super) struct Watched(Mutex<HashMap<SessionId, Vec<Arc<Queue>>>>);

impl Watched {
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Arc<Queue>>>> {
        // The map is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queues(&self, session: SessionId) -> Vec<Arc<Queue>> {
        self.sessions().get(&session).cloned().unwrap_or_default()
    }
}

/// A queue's place among those of its session, as long as this lives.
pub(super) struct Watching {
    watched: Arc<Watched>,
    pub(super) session: SessionId,
    queue: Arc<Queue>,
}

impl Watching {
    pub(super) fn begin(watched: &Arc<Watched>, session: SessionId, queue: &Arc<Queue>) -> Self {
        watched.sessions().entry(session).or_default().push(Arc::clone(queue));
        Self { watched: Arc::clone(watched), session, queue: Arc::clone(queue) }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut sessions = self.watched.sessions();
        if let Some(queues) = sessions.get_mut(&self.session) {
            queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if queues.is_empty() {
                sessions.remove(&self.session);
            }
        }
    }
}
