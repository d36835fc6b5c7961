//! What a pool has, and in which state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dispatch_core::ids::{ChatId, Timestamp};
use dispatch_core::ports::WarmAgent;
use tokio::sync::oneshot;

use super::warm::{Ending, Key, Warm};

/// Losses that are remembered until their chats' next turns; of older ones nobody is told.
const LOSSES: usize = 256;

/// The pool's state. Locked for moments only.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    /// Why what was kept for a key is gone, where no turn ended it. Oldest first.
    losses: VecDeque<(Key, String)>,
    numbers: u64,
    pub(super) is_shut: bool,
}

/// One that is kept, is being started, or is being ended.
pub(super) struct Entry {
    pub(super) key: Key,
    /// Tells it from others of the same key.
    pub(super) number: u64,
    pub(super) stage: Stage,
    /// It is not kept when its turns have ended, and how it is ended then.
    pub(super) doom: Option<Ending>,
    started_at: Timestamp,
    idle_since: Timestamp,
}

pub(super) enum Stage {
    Starting,
    /// Turns use it.
    Busy {
        warm: Arc<dyn Warm>,
        turns: u32,
    },
    /// No turn uses it. Its task looks after it until `recall` is dropped.
    Idle {
        warm: Arc<dyn Warm>,
        /// Which of its idle times this is; they grow over the whole table.
        stint: u64,
        #[expect(dead_code, reason = "dropping it is its use")]
        recall: oneshot::Sender<()>,
    },
    /// It is being ended, and its process may run still.
    Ending {
        pid: u32,
    },
}

impl Table {
    /// The entry of a key. One that others share and that is to end with their turns takes no more: another one is
    /// started beside it.
    pub(super) fn find(&mut self, key: &Key) -> Option<&mut Entry> {
        let takes_turns = |entry: &Entry| entry.key.chat.is_some() || entry.doom.is_none();
        self.entries.iter_mut().find(|entry| entry.key == *key && takes_turns(entry))
    }

    /// The entry of that number, if it is still there.
    pub(super) fn get(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.number == number)
    }

    /// Adds an entry that is being started; returns its number.
    pub(super) fn add(&mut self, key: Key) -> u64 {
        let (number, now) = (self.next_number(), now());
        let entry =
            Entry { key, number, stage: Stage::Starting, doom: None, started_at: now, idle_since: now };
        self.entries.push(entry);
        number
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.entries.retain(|entry| entry.number != number);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.iter().filter(|entry| !matches!(entry.stage, Stage::Ending { .. })).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// The one that has been idle for longest.
    pub(super) fn longest_idle(&mut self) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .filter_map(|entry| match entry.stage {
                Stage::Idle { stint, .. } => Some((stint, entry)),
                _ => None,
            })
            .min_by_key(|(stint, _)| *stint)
            .map(|(_, entry)| entry)
    }

    /// Remembers why what was kept for a key is gone.
    pub(super) fn lose(&mut self, key: Key, why: String) {
        self.losses.retain(|(lost, _)| *lost != key);
        if self.losses.len() == LOSSES {
            self.losses.pop_front();
        }
        self.losses.push_back((key, why));
    }

    /// Takes what was remembered for a key.
    pub(super) fn take_loss(&mut self, key: &Key) -> Option<String> {
        let at = self.losses.iter().position(|(lost, _)| lost == key)?;
        self.losses.remove(at).map(|(_, why)| why)
    }

    /// Nobody is told what became of what was kept for these chats.
    pub(super) fn forget_losses(&mut self, chats: &[ChatId]) {
        self.losses.retain(|(key, _)| !key.is_of(chats));
    }

    /// What is kept, as people see it.
    pub(super) fn warm(&self) -> Vec<WarmAgent> {
        self.entries.iter().filter_map(Entry::describe).collect()
    }
}

impl Entry {
    /// Takes it out of use; whoever calls this ends it.
    pub(super) fn begin_ending(&mut self) -> Option<Arc<dyn Warm>> {
        let warm = match &self.stage {
            Stage::Busy { warm, .. } | Stage::Idle { warm, .. } => Arc::clone(warm),
            Stage::Starting | Stage::Ending { .. } => return None,
        };
        self.stage = Stage::Ending { pid: warm.pid() };
        Some(warm)
    }

    /// No turn uses it from now on.
    pub(super) fn rest(&mut self, warm: Arc<dyn Warm>, stint: u64, recall: oneshot::Sender<()>) {
        self.stage = Stage::Idle { warm, stint, recall };
        self.idle_since = now();
    }

    /// What is being started belongs to the turn that waits for it.
    fn describe(&self) -> Option<WarmAgent> {
        let (pid, turns) = match &self.stage {
            Stage::Busy { warm, turns } => (warm.pid(), *turns),
            Stage::Idle { warm, .. } => (warm.pid(), 0),
            Stage::Ending { pid } => (*pid, 0),
            Stage::Starting => return None,
        };
        let Key { route, agent, chat } = self.key.clone();
        let Self { started_at, idle_since, .. } = *self;
        Some(WarmAgent { agent, route, chat, pid, turns, started_at, idle_since })
    }
}

impl Key {
    /// Whether it is kept for one of these chats.
    pub(super) fn is_of(&self, chats: &[ChatId]) -> bool {
        self.chat.is_some_and(|chat| chats.contains(&chat))
    }
}

/// By this machine's clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
