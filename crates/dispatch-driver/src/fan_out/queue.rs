//! What was published and not handed over yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dispatch_core::ids::Seq;
use tokio::sync::Notify;

use super::frames::Frames;

/// How much may wait for one subscriber. One run of frames may, however large it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// What waits for one subscriber. It is filled only while the subscriber has everything up to its beginning;
/// at any other time the record is what is read.
pub(super) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    /// What follows is put in here; otherwise it is only noted, and read from the record.
    is_live: bool,
    /// The place of what was handed over or waits here last.
    end: Seq,
    runs: VecDeque<(Frames, usize)>,
    frames: usize,
    bytes: usize,
    /// The last place that was published.
    published: Seq,
    /// Too much waited; it was forgotten.
    overflowed: bool,
}

impl State {
    fn forget(&mut self) {
        self.runs.clear();
        (self.frames, self.bytes) = (0, 0);
    }

    fn push(&mut self, run: Frames, weight: usize) {
        self.end = run.last();
        self.frames += run.len();
        self.bytes += weight;
        self.runs.push_back((run, weight));
    }

    fn pop(&mut self) -> Option<Frames> {
        let (run, weight) = self.runs.pop_front()?;
        self.frames -= run.len();
        self.bytes -= weight;
        Some(run)
    }
}

/// What a queue has for its subscriber.
#[derive(Debug, PartialEq)]
pub(super) enum Queued {
    Frames(Frames),
    /// What waited was forgotten.
    Overflowed,
    /// Nothing, and all that is published is put in here.
    Nothing,
    /// Nothing, and the record is to be read.
    Unknown,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default(), news: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, run: &Frames, weight: usize) {
        self.take_in(run, weight);
        self.news.notify_one();
    }

    fn take_in(&self, run: &Frames, weight: usize) {
        let mut state = self.state();
        let state = &mut *state;
        state.published = state.published.max(run.last());
        if !state.is_live {
            return;
        }
        let Some(new) = run.clone().after(state.end) else { return };
        if new.first().0 != state.end.0 + 1 || !new.is_gapless() {
            // What lies between was stored by somebody else.
            state.is_live = false;
            return;
        }
        let is_over =
            state.frames + new.len() > self.bounds.frames || state.bytes + weight > self.bounds.bytes;
        if is_over && !state.runs.is_empty() {
            state.forget();
            (state.is_live, state.overflowed) = (false, true);
            return;
        }
        state.push(new, weight);
    }

    pub(super) fn take(&self) -> Queued {
        let mut state = self.state();
        if std::mem::take(&mut state.overflowed) {
            return Queued::Overflowed;
        }
        match state.pop() {
            Some(run) => Queued::Frames(run),
            None if state.is_live => Queued::Nothing,
            None => Queued::Unknown,
        }
    }

    /// Notes that the subscriber has read the record up to a place.
    pub(super) fn was_read(&self, up_to: Seq) {
        let mut state = self.state();
        let runs = std::mem::take(&mut state.runs);
        state.forget();
        state.end = up_to;
        for (run, weight) in runs {
            if let Some(rest) = run.after(up_to) {
                state.push(rest, weight);
            }
        }
    }

    /// Puts in what is published from now on, if nothing was published beyond `end`, up to which the
    /// subscriber has everything.
    pub(super) fn go_live(&self, end: Seq) -> bool {
        let mut state = self.state();
        if state.is_live {
            return true;
        }
        state.is_live = state.published <= end && state.runs.is_empty();
        state.end = end;
        state.is_live
    }

    /// Waits until something was published. Cancel-safe.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dispatch_core::{
        frame::{About, Frame, FrameBody},
        ids::{SessionId, Timestamp},
    };

    use super::*;

    const BOUNDS: Bounds = Bounds { frames: 4, bytes: 1000 };

    fn run(places: std::ops::RangeInclusive<i64>) -> Frames {
        let frame = |place| Frame {
            seq: Seq(place),
            session_id: SessionId::from_random([1; 16]),
            ts: Timestamp(0),
            about: About::default(),
            body: FrameBody::delta("x"),
        };
        let all: Arc<[Frame]> = places.map(frame).collect();
        let count = all.len();
        Frames::of(all, 0..count).unwrap()
    }

    fn publish(queue: &Queue, places: std::ops::RangeInclusive<i64>) {
        let run = run(places);
        queue.publish(&run, run.weight());
    }

    fn live(after: i64) -> Queue {
        let queue = Queue::new(BOUNDS);
        queue.was_read(Seq(after));
        assert!(queue.go_live(Seq(after)));
        queue
    }

    #[test]
    fn what_is_published_while_the_record_is_read_keeps_the_queue_from_going_live() {
        let queue = Queue::new(BOUNDS);
        publish(&queue, 1..=2);
        assert_eq!(queue.take(), Queued::Unknown);
        assert!(!queue.go_live(Seq(1)));
        queue.was_read(Seq(2));
        assert!(queue.go_live(Seq(2)));
        publish(&queue, 3..=3);
        assert_eq!(queue.take(), Queued::Frames(run(3..=3)));
        assert_eq!(queue.take(), Queued::Nothing);
    }

    #[test]
    fn each_frame_is_queued_once() {
        let queue = live(2);
        publish(&queue, 1..=2);
        publish(&queue, 2..=3);
        publish(&queue, 3..=3);
        assert_eq!(queue.take(), Queued::Frames(run(3..=3)));
        assert_eq!(queue.take(), Queued::Nothing);
    }

    #[test]
    fn a_gap_is_read_from_the_record_after_what_came_before_it() {
        let queue = live(0);
        publish(&queue, 1..=1);
        publish(&queue, 3..=3);
        assert_eq!(queue.take(), Queued::Frames(run(1..=1)));
        assert_eq!(queue.take(), Queued::Unknown);
        assert!(!queue.go_live(Seq(2)), "3 was published");
    }

    #[test]
    fn what_was_read_meanwhile_is_not_handed_over_again() {
        let queue = live(0);
        publish(&queue, 1..=2);
        publish(&queue, 3..=3);
        queue.was_read(Seq(1));
        assert_eq!(queue.take(), Queued::Frames(run(2..=2)));
        queue.was_read(Seq(5));
        publish(&queue, 4..=6);
        assert_eq!(queue.take(), Queued::Frames(run(6..=6)));
    }

    #[test]
    fn too_much_is_forgotten_and_said() {
        for (places, body) in [(4, "x"), (2, "x".repeat(600).as_str())] {
            let queue = live(0);
            for place in 1..=places {
                let mut frame = run(place..=place)[0].clone();
                frame.body = FrameBody::delta(body);
                let run = Frames::of([frame].into(), 0..1).unwrap();
                queue.publish(&run, run.weight());
            }
            let is_over = places == 2;
            assert_eq!(queue.take() == Queued::Overflowed, is_over);
            publish(&queue, places + 1..=places + 5);
            if !is_over {
                assert_eq!(queue.take(), Queued::Overflowed);
            }
            assert_eq!(queue.take(), Queued::Unknown, "it is told once, and the record is read");
        }
    }

    #[test]
    fn one_run_may_be_larger_than_the_bounds() {
        let queue = live(0);
        publish(&queue, 1..=50);
        assert_eq!(queue.take(), Queued::Frames(run(1..=50)));
    }
}
