//! Taking: what a turn finds under its key, and what it starts where it finds nothing.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use dispatch_core::agent::Failure;
use dispatch_core::task::TerminalReason;
use tokio::time::timeout;

use super::keeping::Pool;
use super::lease::Lease;
use super::table::Stage;
use super::warm::{Ending, Key, Warm};

/// How long [`Warm::is_well`] may take.
const LOOK: Duration = Duration::from_secs(5);

/// What a turn finds under its key.
enum Found {
    /// Nothing; the number of the entry that it is to fill.
    Nothing(u64),
    /// Something that it may use.
    Kept(u64, Arc<dyn Warm>),
    /// Something that will soon be there, or gone.
    Changing,
}

impl Pool {
    /// Takes what is kept for a key, if it is well and of use; otherwise starts another one, after the end of the first,
    /// or beside it where other turns use that still: `unfit` says how one that is of no use is to be ended. Only one is
    /// ever started at a time, and for a chat only when the turn before has let go of it. Dropping the future gives up.
    ///
    /// # Errors
    /// The failure of `start`; or the pool was shut down.
    pub(crate) async fn get<W: Warm>(
        self: &Arc<Self>,
        key: &Key,
        unfit: impl Fn(&W) -> Option<Ending> + Send,
        start: impl Future<Output = Result<W, Failure>> + Send,
    ) -> Result<Lease<W>, Failure> {
        loop {
            let changed = self.changed.notified();
            match self.look(key)? {
                Found::Changing => changed.await,
                Found::Nothing(number) => return self.start(key, number, start).await,
                Found::Kept(number, warm) => {
                    let mut lease: Lease<W> = self.lease(key, number, warm);
                    let is_well = timeout(LOOK, lease.warm().is_well()).await.unwrap_or(false);
                    match unfit(lease.warm()) {
                        _ if !is_well => lease.end(Some("answered no more".to_owned())).await,
                        Some(how) => lease.replace(how).await,
                        None => return Ok(lease.told(key)),
                    }
                }
            }
        }
    }

    fn look(self: &Arc<Self>, key: &Key) -> Result<Found, Failure> {
        let mut table = self.table();
        if table.is_shut {
            return Err(Failure::new(TerminalReason::CouldNotStart, "the dispatcher is shutting down"));
        }
        let Some(entry) = table.find(key) else {
            let number = table.add(key.clone());
            drop(table);
            self.make_room();
            return Ok(Found::Nothing(number));
        };
        let number = entry.number;
        match &mut entry.stage {
            Stage::Starting | Stage::Ending { .. } => Ok(Found::Changing),
            // The turn before has ended, and has not let go of it yet.
            Stage::Busy { .. } if key.chat.is_some() => Ok(Found::Changing),
            Stage::Busy { warm, turns } => {
                *turns += 1;
                Ok(Found::Kept(number, Arc::clone(warm)))
            }
            Stage::Idle { warm, .. } => {
                let warm = Arc::clone(warm);
                entry.stage = Stage::Busy { warm: Arc::clone(&warm), turns: 1 };
                Ok(Found::Kept(number, warm))
            }
        }
    }

    async fn start<W: Warm>(
        self: &Arc<Self>,
        key: &Key,
        number: u64,
        start: impl Future<Output = Result<W, Failure>> + Send,
    ) -> Result<Lease<W>, Failure> {
        let unfilled = Unfilled { pool: self, number };
        let warm: Arc<dyn Warm> = Arc::new(start.await?);
        let mut table = self.table();
        if let Some(entry) = table.get(number) {
            entry.stage = Stage::Busy { warm: Arc::clone(&warm), turns: 1 };
        }
        drop(table);
        std::mem::forget(unfilled);
        self.changed.notify_waiters();
        Ok(self.lease(key, number, warm).told(key))
    }

    fn lease<W: Warm>(self: &Arc<Self>, key: &Key, number: u64, warm: Arc<dyn Warm>) -> Lease<W> {
        let warm: Arc<dyn Any + Send + Sync> = warm;
        let warm = warm.downcast().expect("because all that are kept for one route are of one type");
        Lease::new(Arc::clone(self), key.clone(), number, warm)
    }
}

/// An entry that nobody has filled yet.
struct Unfilled<'a> {
    pool: &'a Pool,
    number: u64,
}

impl Drop for Unfilled<'_> {
    fn drop(&mut self) {
        self.pool.remove(self.number);
    }
}
