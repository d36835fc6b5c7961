//! Keeping a node's lease, and hearing what the record has for the node.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dispatch_core::{
    ids::ChatId,
    ports::{Agents, Lease, Orders, PermissionAnswer, Store, StoreError, Wakeups},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{contained::contained, inbox::Signal, kept::Kept, running::Running};

/// How a lease is kept, in parts of its duration (SPEC D5: 10 s, renewed every 3 s, takeover within 15 s).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From one renewal to the next: three tenths. A call that takes longer is made again.
    pub(crate) every: Duration,
    /// From a renewal that failed to the next: a twentieth.
    again: Duration,
    /// How long after a renewal was sent the node relies on it: seven tenths. The rest is for stopping the
    /// agents, and for clocks that run differently.
    relied_on: Option<Duration>,
}

impl Pace {
    pub(crate) fn of(lease: &Lease) -> Self {
        // A lease that ends with its process needs no renewal; renewing still tells of accepted Stops,
        // where a wake-up was lost.
        const WITHOUT_END: Duration = Duration::from_secs(10);
        let ttl = lease.ttl.unwrap_or(WITHOUT_END);
        Self { every: ttl * 3 / 10, again: ttl / 20, relied_on: lease.ttl.map(|ttl| ttl * 7 / 10) }
    }

    fn relied_on_until(self, sent: Instant) -> Option<Instant> {
        self.relied_on.and_then(|relied_on| sent.checked_add(relied_on))
    }
}

/// What a node hears of its record.
#[derive(Default)]
pub(crate) struct News {
    /// There may be something to claim. One permit, so that a burst is one piece of news.
    pub(crate) woken: Notify,
    /// There may be an accepted Stop, an answer, or a closed chat.
    look: Notify,
    lost: watch::Sender<bool>,
}

impl News {
    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    pub(crate) async fn lost(&self) {
        // The sender is ours, so the wait ends with the news alone.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }
}

/// What keeps a node's lease.
pub(crate) struct Keeper {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) agents: Arc<dyn Agents>,
    pub(crate) lease: Lease,
    pub(crate) kept: Arc<Kept>,
    pub(crate) running: Arc<Running>,
    pub(crate) news: Arc<News>,
    pub(crate) closing: Arc<Closing>,
}

impl Keeper {
    /// Renews the lease, which was given to a call made at `sent`, until it is lost.
    pub(crate) async fn keep(self, sent: Instant) {
        let pace = Pace::of(&self.lease);
        let mut until = pace.relied_on_until(sent);
        let mut next = sent + pace.every;
        loop {
            let due = until.map_or(next, |until| next.min(until));
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.news.look.notified() => {}
            }
            let sent = Instant::now();
            if until.is_some_and(|until| until <= sent) {
                tracing::error!(node = %self.lease.node, "the lease could not be renewed in time; its turns end");
                return self.lose();
            }
            let limit = until.map_or(sent + pace.every, |until| until.min(sent + pace.every));
            match self.renew(limit).await {
                Ok(Some(orders)) => {
                    (until, next) = (pace.relied_on_until(sent), sent + pace.every);
                    self.obey(orders);
                    self.kept.tell(sent + pace.every).await;
                }
                Ok(None) => {
                    tracing::error!(node = %self.lease.node, "the lease is lost; its turns end");
                    return self.lose();
                }
                Err(error) => {
                    tracing::warn!(node = %self.lease.node, %error, "the lease could not be renewed");
                    next = Instant::now() + pace.again;
                }
            }
        }
    }

    /// Renews the lease; `None` when it is lost.
    async fn renew(&self, limit: Instant) -> Result<Option<Orders>, StoreError> {
        const DOING: &str = "renew the lease";
        let renewed = timeout_at(limit, contained(self.store.renew(&self.lease))).await;
        let renewed =
            renewed.map_err(|late| StoreError::Unavailable { doing: DOING, source: late.into() })?;
        renewed.map_err(|panicked| StoreError::Failed { doing: DOING, source: panicked.into() })?
    }

    fn obey(&self, orders: Orders) {
        let Orders { stops, answers, closed } = orders;
        stops.into_iter().for_each(|task| self.running.tell(task, Signal::StopAccepted));
        for PermissionAnswer { task, id, answer } in answers {
            self.running.tell(task, Signal::Answer { id, answer });
        }
        closed.into_iter().for_each(|chat| self.close(chat));
    }

    /// Lets go of what is kept for a chat, in a task of its own: that lasts until its turn has ended. Each renewal tells
    /// of the chat again until the record knows that nothing is kept for it.
    fn close(&self, chat: ChatId) {
        let Some(closing) = Closing::begin(&self.closing, chat) else { return };
        let (agents, kept, every) =
            (Arc::clone(&self.agents), Arc::clone(&self.kept), Pace::of(&self.lease).every);
        tokio::spawn(async move {
            // A backend that panics does not take the lease with it.
            if contained(agents.close_chats(&[chat])).await.is_err() {
                tracing::error!(%chat, "what is kept for a closed chat could not be let go");
            }
            drop(closing);
            // Somebody waits to hear of it.
            kept.tell(Instant::now() + every).await;
        });
    }

    /// Its turns end, and so does what is kept: others may go on with both.
    fn lose(&self) {
        self.running.tell_all(&Signal::LeaseLost);
        self.news.lost.send_replace(true);
        let agents = Arc::clone(&self.agents);
        tokio::spawn(async move {
            if contained(agents.end_idle()).await.is_err() {
                tracing::error!("what is kept between turns could not be ended");
            }
        });
    }
}

/// The closed chats for which what is kept is being let go.
#[derive(Default)]
pub(crate) struct Closing(Mutex<BTreeSet<ChatId>>);

/// One of them; not any more once this is dropped.
struct ClosingChat(Arc<Closing>, ChatId);

impl Closing {
    /// `None` when it is under way.
    fn begin(this: &Arc<Self>, chat: ChatId) -> Option<ClosingChat> {
        this.chats().insert(chat).then(|| ClosingChat(Arc::clone(this), chat))
    }

    fn chats(&self) -> MutexGuard<'_, BTreeSet<ChatId>> {
        // A set is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClosingChat {
    fn drop(&mut self) {
        self.0.chats().remove(&self.1);
    }
}

/// Hears the record's wake-ups: for whoever claims, and for the turns that may be stopped.
pub(crate) async fn listen(
    mut wakeups: Box<dyn Wakeups>,
    running: Arc<Running>,
    agents: Arc<dyn Agents>,
    news: Arc<News>,
) {
    while contained(wakeups.next()).await.is_ok() {
        news.woken.notify_one();
        if !running.is_empty() || !agents.warm().is_empty() {
            news.look.notify_one();
        }
    }
    tracing::error!("wake-ups failed; what is new is found by polling");
}

#[cfg(test)]
mod tests {
    use dispatch_core::ids::NodeId;

    use super::*;

    #[test]
    fn a_lease_of_ten_seconds_is_kept_as_the_spec_says() {
        let secs = Duration::from_secs;
        let node = NodeId::from_random([1; 16]);
        let pace = Pace::of(&Lease { node, ttl: Some(secs(10)) });
        let relied_on = Some(secs(7));
        assert_eq!(pace, Pace { every: secs(3), again: Duration::from_millis(500), relied_on });
        assert_eq!(Pace::of(&Lease { node, ttl: None }), Pace { relied_on: None, ..pace });
    }
}
