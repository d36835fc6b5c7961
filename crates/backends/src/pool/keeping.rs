//! Keeping: the pool, and what becomes in it of what turns have started, until its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::ids::ChatId;
use dispatch_core::ports::WarmAgent;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use super::Keeper;
use super::table::{Entry, Stage, Table};
use super::warm::{Ending, Key, Warm};

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// How long something is kept that no turn uses. 10 min.
    pub idle: Duration,
    /// How many are kept, all routes together, above which the one that is idle for longest goes. 8. Turns are never
    /// refused: while more than that run, so many more are there.
    pub cap: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { idle: Duration::from_secs(600), cap: 8 }
    }
}

/// What is kept between turns. Dropping it kills what it keeps, without waiting.
pub struct Pool {
    me: Weak<Self>,
    settings: PoolSettings,
    table: Mutex<Table>,
    /// Something was started or has ended.
    pub(super) changed: Notify,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(settings: PoolSettings) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            settings,
            table: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// No turn uses it any more, or one less does.
    pub(super) fn give_back(&self, number: u64) {
        let mut table = self.table();
        let (is_shut, stint) = (table.is_shut, table.next_number());
        let Some(entry) = table.get(number) else { return };
        let Stage::Busy { warm, turns } = &mut entry.stage else { return };
        *turns -= 1;
        if *turns > 0 {
            return;
        }
        let warm = Arc::clone(warm);
        if let Some(how) = entry.doom.or(is_shut.then_some(Ending::LetGo)) {
            entry.begin_ending();
            drop(table);
            return self.finish(number, warm, how);
        }
        let (recall, recalled) = oneshot::channel();
        entry.rest(Arc::clone(&warm), stint, recall);
        drop(table);
        self.changed.notify_waiters();
        let idle = self.settings.idle;
        spawn(rest(Weak::clone(&self.me), number, stint, warm, recalled, idle));
        self.make_room();
    }

    /// It is not kept after its turns, and ended in this way then.
    pub(super) fn doom(&self, number: u64, how: Ending) {
        if let Some(entry) = self.table().get(number) {
            entry.doom.get_or_insert(how);
        }
    }

    /// Ends it in this way, whoever uses it.
    pub(super) fn end(&self, number: u64, how: Ending) {
        let warm = self.table().get(number).and_then(Entry::begin_ending);
        if let Some(warm) = warm {
            self.finish(number, warm, how);
        }
    }

    /// Remembers for the key's next turn why what was kept is gone.
    pub(super) fn lose(&self, key: Key, why: String) {
        self.table().lose(key, why);
    }

    /// Takes what the key's next turn is to be told.
    pub(super) fn take_loss(&self, key: &Key) -> Option<String> {
        self.table().take_loss(key)
    }

    /// Returns when it is gone, if it is being ended.
    pub(super) async fn ended(&self, number: u64) {
        loop {
            let changed = self.changed.notified();
            match self.table().get(number).map(|entry| &entry.stage) {
                Some(Stage::Ending { .. }) => {}
                _ => return,
            }
            changed.await;
        }
    }

    /// Returns when it is gone, however long a turn uses it.
    async fn gone(&self, number: u64) {
        loop {
            let changed = self.changed.notified();
            if self.table().get(number).is_none() {
                return;
            }
            changed.await;
        }
    }

    /// What happened to it while it was idle: it was lost, or not used for too long. Nothing, if a turn has taken it
    /// in this moment, which will see for itself.
    fn retire(&self, number: u64, stint: u64, loss: Option<String>) {
        let mut table = self.table();
        let entry = table.get(number);
        let Some(entry) =
            entry.filter(|entry| matches!(entry.stage, Stage::Idle { stint: now, .. } if now == stint))
        else {
            return;
        };
        let Some(warm) = entry.begin_ending() else { return };
        let (key, agent) = (entry.key.clone(), entry.key.agent.clone());
        let how = match loss {
            Some(why) => {
                tracing::warn!(%agent, pid = warm.pid(), why, "a kept agent was lost between turns");
                table.lose(key, why);
                Ending::Kill
            }
            None => {
                tracing::info!(%agent, pid = warm.pid(), "a kept agent was idle for too long");
                Ending::LetGo
            }
        };
        drop(table);
        self.finish(number, warm, how);
    }

    /// Lets go of what is idle for longest, until no more are kept than may be.
    pub(super) fn make_room(&self) {
        loop {
            let mut table = self.table();
            if table.len() <= self.settings.cap {
                return;
            }
            let Some(entry) = table.longest_idle() else { return };
            let (number, warm) = (entry.number, entry.begin_ending());
            drop(table);
            if let Some(warm) = warm {
                self.finish(number, warm, Ending::LetGo);
            }
        }
    }

    /// Ends what was taken out of use, in a task of its own: nobody who gives up leaves it half ended.
    fn finish(&self, number: u64, warm: Arc<dyn Warm>, how: Ending) {
        let gone = Gone { pool: Weak::clone(&self.me), number };
        spawn(async move {
            let _gone = gone;
            warm.end(how).await;
        });
    }

    /// Ends what is meant in this way: what is idle at once, all else with its turns. Returns when what was idle is gone,
    /// with what else is meant and was being ended: the numbers of all that is meant.
    async fn end_what_is_idle(&self, is_meant: impl Fn(&Entry) -> bool, how: Ending) -> Vec<u64> {
        let mut ending = Vec::new();
        let mut numbers = Vec::new();
        for entry in self.table().entries() {
            if !is_meant(entry) {
                continue;
            }
            entry.doom = Some(how);
            if matches!(entry.stage, Stage::Idle { .. }) {
                ending.extend(entry.begin_ending().map(|warm| (entry.number, warm)));
            }
            numbers.push(entry.number);
        }
        ending.into_iter().for_each(|(number, warm)| self.finish(number, warm, how));
        for number in &numbers {
            self.ended(*number).await;
        }
        numbers
    }

    pub(super) fn remove(&self, number: u64) {
        self.table().remove(number);
        self.changed.notify_waiters();
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Keeper for Pool {
    fn warm(&self) -> Vec<WarmAgent> {
        self.table().warm()
    }

    async fn close_chats(&self, chats: &[ChatId]) {
        self.table().forget_losses(chats);
        for number in self.end_what_is_idle(|entry| entry.key.is_of(chats), Ending::ChatClosed).await {
            self.gone(number).await;
        }
    }

    async fn end_idle(&self) {
        self.end_what_is_idle(|_| true, Ending::Kill).await;
    }

    async fn shut_down(&self) {
        loop {
            let changed = self.changed.notified();
            let mut ending = Vec::new();
            {
                let mut table = self.table();
                table.is_shut = true;
                for entry in table.entries() {
                    let how = match entry.stage {
                        Stage::Idle { .. } => Ending::LetGo,
                        _ => Ending::Kill,
                    };
                    ending.extend(entry.begin_ending().map(|warm| (entry.number, warm, how)));
                }
                if table.is_empty() {
                    return;
                }
            }
            ending.into_iter().for_each(|(number, warm, how)| self.finish(number, warm, how));
            // What is being started comes, too.
            changed.await;
        }
    }
}

/// Looks after what is idle, until a turn takes it.
async fn rest(
    pool: Weak<Pool>,
    number: u64,
    stint: u64,
    warm: Arc<dyn Warm>,
    recalled: oneshot::Receiver<()>,
    idle: Duration,
) {
    let loss = tokio::select! {
        biased;
        _ = recalled => return,
        why = warm.idle() => Some(why),
        () = sleep(idle) => None,
    };
    if let Some(pool) = pool.upgrade() {
        pool.retire(number, stint, loss);
    }
}

/// Takes an entry out of the table when what it was about is gone.
struct Gone {
    pool: Weak<Pool>,
    number: u64,
}

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.remove(self.number);
        }
    }
}

/// Without a runtime there is nobody to wait: what is dropped is killed.
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(work);
    }
}
