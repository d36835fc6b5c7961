//! A subscriber's end.

use std::{sync::Arc, time::Duration};

use dispatch_core::{
    frame::Frame,
    ids::Seq,
    ports::{Records, RecordsError},
};
use tokio::time::timeout;

use super::{
    frames::{BATCH, Frames},
    queue::{Queue, Queued},
    snapshot::SessionSnapshot,
    watched::Watching,
};

/// What a subscriber is handed.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// The next frames.
    Frames(Frames),
    /// The subscriber was too slow for what is published; its frames come from the record, from this place
    /// on. Nothing is lost.
    Resync {
        /// The place of the frame that comes next.
        from: Seq,
    },
    /// What the subscriber has is not of this record, or the record does not go back to it: it begins anew.
    Reset {
        /// The session as it stands; the frames after it follow.
        snapshot: Box<SessionSnapshot>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// A snapshot is to be handed over.
    Anew,
    /// The record is to be asked whether it knows the place that the subscriber came with.
    Unproven,
    /// Frames have been handed over, or may be.
    Made,
}

/// A subscription to a session's frames. Dropping it ends it.
pub struct Subscription {
    records: Arc<dyn Records>,
    poll: Duration,
    begin: Begin,
    /// The last place that was handed over.
    after: Seq,
    /// Up to here, frames may be missing: the subscriber was told to begin anew over them, and would be told
    /// so for ever.
    holes_until: Seq,
    queue: Arc<Queue>,
    watching: Watching,
}

impl Subscription {
    pub(super) fn new(
        records: Arc<dyn Records>,
        poll: Duration,
        after: Option<Seq>,
        queue: Arc<Queue>,
        watching: Watching,
    ) -> Self {
        let begin = if after.is_some() { Begin::Unproven } else { Begin::Anew };
        let after = after.unwrap_or_default();
        Self { records, poll, begin, after, holes_until: Seq::default(), queue, watching }
    }

    /// Waits for what comes next. Cancel-safe: what was not returned comes again.
    ///
    /// # Errors
    /// When the record cannot be read; nothing is lost by that, and the call can be made again.
    pub async fn next(&mut self) -> Result<Delivery, RecordsError> {
        let mut looked = false;
        loop {
            match self.queue.take() {
                Queued::Frames(frames) => {
                    self.after = frames.last();
                    return Ok(Delivery::Frames(frames));
                }
                Queued::Overflowed => return Ok(Delivery::Resync { from: Seq(self.after.0 + 1) }),
                Queued::Nothing if !looked => {}
                Queued::Nothing | Queued::Unknown => {
                    if let Some(delivery) = self.read_record().await? {
                        return Ok(delivery);
                    }
                }
            }
            // Looks at the record only when nothing was published for a while.
            looked = timeout(self.poll, self.queue.news()).await.is_err();
        }
    }

    /// What the record holds by now and was not handed over yet; `None` at its end.
    ///
    /// # Errors
    /// As for [`Self::next`].
    pub async fn read(&mut self) -> Result<Option<Delivery>, RecordsError> {
        match self.queue.take() {
            Queued::Overflowed => Ok(Some(Delivery::Resync { from: Seq(self.after.0 + 1) })),
            Queued::Frames(frames) => {
                self.after = frames.last();
                Ok(Some(Delivery::Frames(frames)))
            }
            Queued::Nothing | Queued::Unknown => self.read_record().await,
        }
    }

    async fn read_record(&mut self) -> Result<Option<Delivery>, RecordsError> {
        // What is published while an empty record is read is read by a second look.
        for _ in 0..2 {
            let Some((frames, is_all)) = self.read_batch().await? else {
                return self.reset().await.map(Some);
            };
            self.begin = Begin::Made;
            if let Some(last) = frames.last() {
                self.after = last.seq;
                self.queue.was_read(self.after);
            }
            let is_live = is_all && self.queue.go_live(self.after);
            let count = frames.len();
            if let Some(frames) = Frames::of(frames.into(), 0..count) {
                return Ok(Some(Delivery::Frames(frames)));
            }
            if is_live {
                break;
            }
        }
        Ok(None)
    }

    /// Reads on; tells whether these are all. `None` when the record does not go on from here.
    async fn read_batch(&self) -> Result<Option<(Vec<Frame>, bool)>, RecordsError> {
        // The frame that the subscriber has last proves its place; the first one needs no proof.
        let proof = match self.begin {
            Begin::Anew => return Ok(None),
            Begin::Unproven if self.after < Seq(0) => return Ok(None),
            Begin::Unproven => usize::from(self.after > Seq(0)),
            Begin::Made => 0,
        };
        let before = Seq(self.after.0 - proof as i64);
        let mut frames = self.records.frames(self.watching.session, before, BATCH).await?;
        let is_all = frames.len() < BATCH;
        if !self.goes_on(before, &frames) || frames.len() < proof {
            return Ok(None);
        }
        Ok(Some((frames.split_off(proof), is_all)))
    }

    /// Whether these frames follow a place without a hole, but for those that are known.
    fn goes_on(&self, mut place: Seq, frames: &[Frame]) -> bool {
        frames.iter().all(|frame| {
            let before = Seq(frame.seq.0 - 1);
            let follows = before == place || before <= self.holes_until;
            place = frame.seq;
            follows
        })
    }

    async fn reset(&mut self) -> Result<Delivery, RecordsError> {
        let (snapshot, end) = SessionSnapshot::take(&self.records, self.watching.session).await?;
        self.begin = Begin::Made;
        self.holes_until = end;
        self.after = snapshot.seq;
        self.queue.was_read(self.after);
        Ok(Delivery::Reset { snapshot: Box::new(snapshot) })
    }
}
