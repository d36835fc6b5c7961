//! The right to use what a pool keeps.

use std::sync::Arc;

use super::keeping::Pool;
use super::warm::{Ending, Key, Warm};

/// The right of one turn to use what is kept for a key. Dropped, it goes back to the pool as long as
/// [`begin`](Self::begin) was not called; after that it is killed, since nobody knows what it does.
pub(crate) struct Lease<W: Warm> {
    pool: Arc<Pool>,
    key: Key,
    number: u64,
    warm: Arc<W>,
    lost: Option<String>,
    has_begun: bool,
    is_over: bool,
}

impl<W: Warm> Lease<W> {
    pub(super) fn new(pool: Arc<Pool>, key: Key, number: u64, warm: Arc<W>) -> Self {
        Self { pool, key, number, warm, lost: None, has_begun: false, is_over: false }
    }

    /// With what its turn is to be told.
    pub(super) fn told(mut self, key: &Key) -> Self {
        self.lost = self.pool.take_loss(key);
        self
    }

    /// What is used.
    pub(crate) fn warm(&self) -> &Arc<W> {
        &self.warm
    }

    /// Takes why the one before it is gone, in words that follow the agent's name, where it was lost and nobody was
    /// told: the turn says `backend_restarted`. What is not taken is the key's next turn's.
    pub(crate) fn take_lost(&mut self) -> Option<String> {
        self.lost.take()
    }

    /// The turn begins to use it.
    pub(crate) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// It is not kept after this turn, nor, where others share it, after theirs.
    pub(crate) fn doom(&self) {
        self.pool.doom(self.number, Ending::LetGo);
    }

    /// Gives it back: it is idle and in order. It is ended here if it is doomed, or more are kept than may be.
    pub(crate) async fn give_back(mut self) {
        self.is_over = true;
        self.pass_on();
        self.pool.give_back(self.number);
        self.pool.ended(self.number).await;
    }

    /// Ends it, also for those who share it. When this returns, nothing of it runs any more. `lost` says why it is
    /// gone, in words that follow the agent's name, for the key's next turn; none where nothing went wrong or this turn
    /// has said it.
    /// May be called again where it was given up half way.
    pub(crate) async fn end(&mut self, lost: Option<String>) {
        self.lost = lost.or(self.lost.take());
        self.is_over = true;
        self.pass_on();
        self.pool.end(self.number, Ending::Kill);
        self.pool.ended(self.number).await;
    }

    /// It is of no use to the turn that it was taken for: it is ended in this way, once nobody else uses it.
    pub(super) async fn replace(self, how: Ending) {
        self.pool.doom(self.number, how);
        self.give_back().await;
    }

    /// Leaves what nobody was told to the key's next turn.
    fn pass_on(&mut self) {
        if let Some(why) = self.lost.take() {
            self.pool.lose(self.key.clone(), why);
        }
    }
}

impl<W: Warm> Drop for Lease<W> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.pass_on();
        if self.has_begun {
            self.pool.end(self.number, Ending::Kill);
        } else {
            self.pool.give_back(self.number);
        }
    }
}
