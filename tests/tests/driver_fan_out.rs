//! Subscriptions to a session's frames: late, slow, dropped, from another process, with a wrong place.

use std::{sync::Arc, time::Duration};

use boocoder_tests::faults::Bench;
use dispatch_core::{
    conversation::{MessageState, Role},
    frame::{Frame, FrameBody},
    ids::{MessageId, Seq, SessionId},
    ports::{
        ChangeVerdict, Publisher, Records, RecordsError, SettledMessage, Settlement, Store, WriteAnswer,
    },
    task::{TaskState, TerminalReason, TurnKey},
};
use dispatch_driver::{Delivery, FanOut, FanOutConfig, Frames, SessionSnapshot, Subscription, random_bytes};

/// How long a delivery that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than any test: what is delivered was published here.
const NEVER: Duration = Duration::from_secs(3600);

/// A turn that a test writes the frames of.
struct Stage {
    bench: Bench,
    turn: TurnKey,
    batch: u64,
}

impl Stage {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let task = bench.task("watched").await;
        let (_, claim) = bench.claim(task.id).await;
        Self { turn: claim.key(), bench, batch: 0 }
    }

    fn session(&self) -> SessionId {
        self.turn.session
    }

    fn records(&self) -> Arc<dyn Records> {
        Arc::clone(&self.bench.store) as Arc<dyn Records>
    }

    fn fan_out(&self, poll: Duration) -> FanOut {
        FanOut::new(self.records(), FanOutConfig { frames: 8, bytes: 4096, poll })
    }

    /// Stores frames; returns them to be published.
    async fn store(&mut self, message: Option<MessageId>, bodies: Vec<FrameBody>) -> Arc<[Frame]> {
        self.batch += 1;
        let appended = self.bench.store.append(&self.turn, self.batch, message, &bodies).await;
        let appended = appended.expect("a store").expect("the turn holds its task");
        appended.frames(self.turn.session, self.turn.about(message), bodies).collect()
    }

    async fn words(&mut self, count: usize) -> Arc<[Frame]> {
        self.store(None, (0..count).map(|n| FrameBody::delta(format!("word {n} "))).collect()).await
    }
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
    next.expect("something comes").expect("a record")
}

async fn next_frames(subscription: &mut Subscription) -> Frames {
    match next(subscription).await {
        Delivery::Frames(frames) => frames,
        other => panic!("{other:?}"),
    }
}

async fn next_reset(subscription: &mut Subscription) -> SessionSnapshot {
    match next(subscription).await {
        Delivery::Reset { snapshot } => *snapshot,
        other => panic!("{other:?}"),
    }
}

/// Reads on to a place and checks that each frame follows the one before.
async fn read_to(subscription: &mut Subscription, mut after: i64, end: i64) {
    while after < end {
        for frame in next_frames(subscription).await.iter() {
            assert_eq!(frame.seq.0, after + 1);
            after += 1;
        }
    }
    assert_eq!(after, end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_subscriber_reads_the_record_and_then_what_is_published() {
    let mut stage = Stage::new().await;
    let fan_out = stage.fan_out(NEVER);
    let before = stage.words(300).await;
    let begin = before[0].seq.0 - 1;
    let mut late = fan_out.subscribe(stage.session(), Some(Seq(0)));
    let mut back = fan_out.subscribe(stage.session(), Some(Seq(begin + 150)));
    let end = begin + 300;
    read_to(&mut late, 0, end).await;
    read_to(&mut back, begin + 150, end).await;
    for _ in 0..4 {
        fan_out.publish(&stage.words(2).await);
    }
    read_to(&mut late, end, end + 8).await;
    read_to(&mut back, end, end + 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_and_reads_is_handed_the_published_frames_themselves() {
    let mut stage = Stage::new().await;
    let fan_out = stage.fan_out(NEVER);
    let first = stage.words(1).await;
    let mut subscription = fan_out.subscribe(stage.session(), Some(first[0].seq));
    assert_eq!(subscription.read().await.expect("a record"), None);
    let published = stage.words(3).await;
    fan_out.publish(&published);
    let frames = next_frames(&mut subscription).await;
    assert_eq!(frames.as_ptr(), published.as_ptr(), "no frame is copied");
    assert_eq!(frames[..], published[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_is_told_and_reads_on_from_the_record() {
    let mut stage = Stage::new().await;
    let fan_out = stage.fan_out(NEVER);
    let last = stage.words(1).await[0].seq;
    let mut slow = fan_out.subscribe(stage.session(), Some(last));
    let mut quick = fan_out.subscribe(stage.session(), Some(last));
    for subscription in [&mut slow, &mut quick] {
        assert_eq!(subscription.read().await.expect("a record"), None, "both are up to date");
    }
    for n in 0..50 {
        fan_out.publish(&stage.words(1).await);
        read_to(&mut quick, last.0 + n, last.0 + n + 1).await;
    }
    assert_eq!(next(&mut slow).await, Delivery::Resync { from: Seq(last.0 + 1) });
    read_to(&mut slow, last.0, last.0 + 50).await;
    // It has caught up, and is live again.
    assert_eq!(slow.read().await.expect("a record"), None);
    fan_out.publish(&stage.words(1).await);
    read_to(&mut slow, last.0 + 50, last.0 + 51).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_gone_holds_nothing() {
    let mut stage = Stage::new().await;
    let fan_out = stage.fan_out(NEVER);
    let last = stage.words(1).await[0].seq;
    let mut gone = fan_out.subscribe(stage.session(), Some(last));
    assert_eq!(gone.read().await.expect("a record"), None);
    let waiting = stage.words(2).await;
    fan_out.publish(&waiting);
    assert_eq!(Arc::strong_count(&waiting), 2);
    drop(gone);
    assert_eq!(Arc::strong_count(&waiting), 1);
    let unwatched = stage.words(2).await;
    fan_out.publish(&unwatched);
    assert_eq!(Arc::strong_count(&unwatched), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_shown_another_sessions_frames() {
    let mut stage = Stage::new().await;
    let other = stage.bench.task("other").await;
    let fan_out = stage.fan_out(NEVER);
    let mut theirs = fan_out.subscribe(other.session, Some(Seq(0)));
    while theirs.read().await.expect("a record").is_some() {}
    let mut frames = stage.words(2).await.to_vec();
    fan_out.publish(&frames.clone().into());
    frames.extend(stage.words(1).await.iter().cloned());
    fan_out.publish(&frames.into());
    assert_eq!(theirs.read().await.expect("a record"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_another_process_are_found_in_the_record() {
    let mut stage = Stage::new().await;
    let fan_out = stage.fan_out(Duration::from_millis(20));
    let mut subscription = fan_out.subscribe(stage.session(), Some(Seq(0)));
    let first = stage.words(1).await;
    let begin = first[0].seq.0;
    read_to(&mut subscription, 0, begin).await;
    stage.words(3).await;
    read_to(&mut subscription, begin, begin + 3).await;
    // One that is published after others that were not is handed over after them.
    stage.words(2).await;
    fan_out.publish(&stage.words(1).await);
    read_to(&mut subscription, begin + 3, begin + 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_the_record_does_not_know_is_reset() {
    let mut stage = Stage::new().await;
    let fan_out = stage.fan_out(NEVER);
    let end = stage.words(2).await[1].seq;
    for wrong in [end.0 + 1, end.0 + 1000, i64::MAX, -1, i64::MIN] {
        let mut lost = fan_out.subscribe(stage.session(), Some(Seq(wrong)));
        let snapshot = next_reset(&mut lost).await;
        assert_eq!(snapshot.seq, end, "{wrong}");
        assert_eq!(snapshot.session.id, stage.session());
        let roles: Vec<_> = snapshot.messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::User]);
        assert_eq!(lost.read().await.expect("a record"), None);
    }
    let mut known = fan_out.subscribe(stage.session(), Some(end));
    fan_out.publish(&stage.words(1).await);
    read_to(&mut known, end.0, end.0 + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_the_frames_after_it_tell_everything_once() {
    let mut stage = Stage::new().await;
    let fan_out = stage.fan_out(NEVER);
    let fresh = MessageId::from_random(random_bytes());
    let (_, message) = stage.bench.store.begin_message(&stage.turn, fresh, None).await.expect("a store");
    let started = vec![FrameBody::MessageStarted { role: Role::Assistant }];
    let begin = stage.store(Some(message), started).await[0].seq;
    // More than is read at once.
    let text: Vec<_> = (0..500).map(|n| FrameBody::delta(format!("{n} "))).collect();
    stage.store(Some(message), text).await;

    let mut watching = fan_out.subscribe(stage.session(), None);
    let snapshot = next_reset(&mut watching).await;
    assert_eq!(snapshot.seq, Seq(begin.0 - 1), "the message that is streaming is told from its beginning");
    assert!(snapshot.messages.iter().all(|message| message.role == Role::User));
    read_to(&mut watching, begin.0 - 1, begin.0 + 500).await;

    let frames = settle(&stage, message).await;
    fan_out.publish(&frames);
    let end = frames.last().expect("an end").seq;
    read_to(&mut watching, begin.0 + 500, end.0).await;
    let snapshot = next_reset(&mut fan_out.subscribe(stage.session(), None)).await;
    assert_eq!(snapshot.seq, end);
    let states: Vec<_> = snapshot.messages.iter().map(|message| (message.role, message.state)).collect();
    assert_eq!(states, [(Role::User, MessageState::Complete), (Role::Assistant, MessageState::Complete)]);
}

async fn settle(stage: &Stage, message: MessageId) -> Arc<[Frame]> {
    let message = SettledMessage {
        id: message,
        state: MessageState::Complete,
        content: "said".into(),
        content_truncated: false,
        reasoning: String::new(),
        reasoning_truncated: false,
        parts: vec![],
        usage: dispatch_core::agent::Usage::default(),
    };
    let complete = FrameBody::MessageComplete {
        status: MessageState::Complete,
        model: None,
        usage: dispatch_core::agent::Usage::default(),
        error: None,
    };
    let settlement = Settlement {
        state: TaskState::Completed,
        reason: TerminalReason::Completed,
        summary: None,
        cost: None,
        message: Some(message),
        change: ChangeVerdict::Leave,
        frames: vec![complete, FrameBody::TaskState { state: TaskState::Completed, reason: None }],
    };
    let (answer, frames) = stage.bench.store.settle(&stage.turn, &settlement).await.expect("a store");
    assert_eq!(answer, WriteAnswer::Done);
    frames.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_session_is_an_error_and_not_a_silence() {
    let stage = Stage::new().await;
    let fan_out = stage.fan_out(NEVER);
    let unknown = SessionId::from_random(random_bytes());
    let answer = fan_out.subscribe(unknown, None).next().await;
    assert!(matches!(answer, Err(RecordsError::NotFound { .. })), "{answer:?}");
}

/// Sebastiano Vigna's splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A subscriber that dawdles, goes away and comes back, until it has everything; returns how often it was
/// told to resync.
async fn watch(fan_out: Arc<FanOut>, session: SessionId, mut dice: Dice, end: i64) -> usize {
    let mut after = 0;
    let mut resyncs = 0;
    let mut subscription = fan_out.subscribe(session, Some(Seq(0)));
    while after < end {
        match dice.below(8) {
            0 => subscription = fan_out.subscribe(session, Some(Seq(after))),
            1 => tokio::time::sleep(Duration::from_millis(dice.below(5))).await,
            2 => {
                // Given up half way, or not.
                let limit = Duration::from_micros(dice.below(300));
                match tokio::time::timeout(limit, subscription.next()).await {
                    Ok(delivery) => take(delivery.expect("a record"), &mut after, &mut resyncs),
                    Err(_) => continue,
                }
            }
            _ => take(next(&mut subscription).await, &mut after, &mut resyncs),
        }
    }
    assert_eq!(after, end);
    resyncs
}

fn take(delivery: Delivery, after: &mut i64, resyncs: &mut usize) {
    match delivery {
        Delivery::Frames(frames) => {
            for frame in frames.iter() {
                assert_eq!(frame.seq.0, *after + 1, "nothing lost, nothing twice");
                *after += 1;
            }
        }
        Delivery::Resync { from } => {
            assert_eq!(from.0, *after + 1);
            *resyncs += 1;
        }
        Delivery::Reset { snapshot } => panic!("{snapshot:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_subscribers_do_each_gets_every_frame_once_and_in_order() {
    let mut resyncs = 0;
    for seed in 0..8 {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let mut stage = Stage::new().await;
        let fan_out = Arc::new(stage.fan_out(Duration::from_millis(5)));
        let begin = stage.words(1).await[0].seq.0;
        const FRAMES: i64 = 400;
        let mut watchers = tokio::task::JoinSet::new();
        for n in 0..6 {
            let dice = Dice(seed * 100 + n + 1000);
            watchers.spawn(watch(Arc::clone(&fan_out), stage.session(), dice, begin + FRAMES));
        }
        let mut left = FRAMES;
        let mut late = tokio::task::JoinSet::new();
        while left > 0 {
            let count = left.min(1 + dice.below(6) as i64);
            left -= count;
            let frames = stage.words(count as usize).await;
            match dice.below(10) {
                // Stored by another process.
                0 => {}
                // Published late, and from elsewhere.
                1 | 2 => {
                    let (fan_out, pause) = (Arc::clone(&fan_out), dice.below(2000));
                    late.spawn(async move {
                        tokio::time::sleep(Duration::from_micros(pause)).await;
                        fan_out.publish(&frames);
                    });
                }
                _ => fan_out.publish(&frames),
            }
        }
        while let Some(watched) = watchers.join_next().await {
            resyncs += watched.expect("every frame once and in order");
        }
        late.shutdown().await;
    }
    println!("{resyncs} resyncs");
}
