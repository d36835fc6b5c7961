//! What the stream of events has for one turn. It is bounded: a turn that is slower than its events loses them, and
//! asks again for what it lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::wire::Kind;

/// Bytes of events that wait for one turn.
const MOST_BYTES: usize = 4 << 20;
/// Events that wait for one turn.
const MOST_EVENTS: usize = 8192;
/// Bytes that wait for all turns of a server; one event more may be on its way.
pub(super) const MOST_OF_ALL: usize = 16 << 20;
/// How much is taken at once.
const BATCH: usize = 256;

/// An event for a turn.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) kind: Kind,
    /// The conversation that it is about: the turn's, or one that its tools began.
    pub(super) session: Arc<str>,
    /// Its `properties`, as JSON.
    pub(super) properties: Box<str>,
}

/// What an inbox holds.
#[derive(Debug)]
pub(super) enum Mail {
    Event(Heard),
    /// Something was lost here.
    Gap,
}

impl Mail {
    fn size(&self) -> usize {
        match self {
            Self::Event(heard) => heard.properties.len(),
            Self::Gap => 0,
        }
    }
}

/// What a turn takes out.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) mail: Vec<Mail>,
    /// How much was said for the turn since it took something, in bytes, with what was lost of it.
    pub(super) said: usize,
    /// How the turn ends from outside.
    pub(super) ends: Option<Ends>,
}

/// Why no more events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// The server is gone.
    Lost,
    /// The server says much that is for no turn.
    Drivel,
    /// The turn did not obey and is cut off.
    CutOff,
}

/// One turn's inbox.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    news: Notify,
    /// Bytes that wait in all inboxes of the server.
    all: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Waiting {
    mail: VecDeque<Mail>,
    bytes: usize,
    said: usize,
    ends: Option<Ends>,
}

impl Inbox {
    /// An empty one that shares a server's bounds.
    pub(super) fn new(all: Arc<AtomicUsize>) -> Self {
        Self { waiting: Mutex::default(), news: Notify::new(), all }
    }

    /// Never waits.
    pub(super) fn push(&self, heard: Heard) {
        let size = heard.properties.len();
        let mut waiting = self.lock();
        waiting.said = waiting.said.saturating_add(size);
        let is_full = waiting.mail.len() >= MOST_EVENTS
            || waiting.bytes + size > MOST_BYTES
            || self.all.load(Ordering::Relaxed) + size > MOST_OF_ALL;
        if is_full {
            self.drop_all(&mut waiting);
            waiting.mail.push_back(Mail::Gap);
        } else {
            waiting.bytes += size;
            self.all.fetch_add(size, Ordering::Relaxed);
            waiting.mail.push_back(Mail::Event(heard));
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// The stream lost something that may have been for this turn.
    pub(super) fn lose(&self) {
        let mut waiting = self.lock();
        if !matches!(waiting.mail.back(), Some(Mail::Gap)) {
            waiting.mail.push_back(Mail::Gap);
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Ends the turn from outside; the first word counts.
    pub(super) fn end(&self, why: Ends) {
        self.lock().ends.get_or_insert(why);
        self.news.notify_one();
    }

    /// Waits until there is something. May be dropped and called again.
    pub(super) async fn take(&self) -> Taken {
        loop {
            let taken = self.try_take();
            if !taken.mail.is_empty() || taken.ends.is_some() {
                return taken;
            }
            self.news.notified().await;
        }
    }

    /// What there is, in the order of its happening: an end stays, and comes last.
    fn try_take(&self) -> Taken {
        let mut waiting = self.lock();
        let count = waiting.mail.len().min(BATCH);
        let mail: Vec<Mail> = waiting.mail.drain(..count).collect();
        let size = mail.iter().map(Mail::size).sum();
        waiting.bytes -= size;
        self.all.fetch_sub(size, Ordering::Relaxed);
        let is_cut_off = waiting.ends == Some(Ends::CutOff);
        let ends = waiting.ends.filter(|_| is_cut_off || waiting.mail.is_empty());
        Taken { mail, said: std::mem::take(&mut waiting.said), ends }
    }

    /// Forgets what came before the turn.
    pub(super) fn clear(&self) {
        let mut waiting = self.lock();
        self.drop_all(&mut waiting);
        waiting.said = 0;
    }

    fn drop_all(&self, waiting: &mut Waiting) {
        self.all.fetch_sub(waiting.bytes, Ordering::Relaxed);
        waiting.mail.clear();
        waiting.bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(bytes: usize) -> Heard {
        Heard { kind: Kind::Delta, session: "s".into(), properties: "x".repeat(bytes).into() }
    }

    #[tokio::test]
    async fn a_full_inbox_forgets_and_says_so() {
        let all = Arc::new(AtomicUsize::new(0));
        let (slow, other) = (Inbox::new(Arc::clone(&all)), Inbox::new(Arc::clone(&all)));
        other.push(heard(10));
        for _ in 0..=MOST_BYTES / 1024 {
            slow.push(heard(1024));
        }
        let taken = slow.take().await.mail;
        assert!(matches!(taken[..], [Mail::Gap]), "{}", taken.len());
        let taken = other.take().await.mail;
        assert!(matches!(taken[..], [Mail::Event(_)]), "the other one lost nothing");
        assert_eq!(all.load(Ordering::Relaxed), 0);
        slow.push(heard(1));
        drop(slow);
        assert_eq!(all.load(Ordering::Relaxed), 0, "what was not taken counts no more");
    }

    #[tokio::test]
    async fn a_lost_server_comes_after_its_last_events_and_a_cut_off_at_once() {
        let inbox = Inbox::new(Arc::default());
        for _ in 0..=BATCH {
            inbox.push(heard(1));
        }
        inbox.end(Ends::Lost);
        assert_eq!(inbox.take().await.ends, None, "one event is left");
        assert_eq!(inbox.take().await.ends, Some(Ends::Lost));
        let inbox = Inbox::new(Arc::default());
        for _ in 0..=BATCH {
            inbox.push(heard(1));
        }
        inbox.end(Ends::CutOff);
        assert_eq!(inbox.take().await.ends, Some(Ends::CutOff));
    }
}
