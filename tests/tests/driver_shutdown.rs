//! A dispatcher's end (SPEC D7), its lease (D5) and what it hears when it renews that, and a store that is away.

use std::time::{Duration, Instant};

use boocoder_tests::faults::{Bench, Fault, STUBBORN, Step, WORK, When};
use dispatch_core::{
    agent::EndedHow,
    ids::{ChatId, Timestamp},
    ports::{Close, Records, WarmAgent},
    profile::Stop,
    routing::Route,
    task::{Name, TaskState, TerminalReason},
};
use dispatch_driver::{DispatcherConfig, Shutdown, Summary};

fn config() -> DispatcherConfig {
    DispatcherConfig { slots: 4, ..DispatcherConfig::default() }
}

/// Says `one` in a write of its own, and hangs.
fn hangs() -> [Step; 3] {
    [Step::AwaitCall("append", 1), Step::text("one"), Step::Hang]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_end_lets_turns_end_and_gives_back_what_was_not_asked_yet() {
    let bench = Bench::new().await;
    bench
        .agent
        .script("long", &[Step::text("one"), Step::AwaitCall("requeue", 1), Step::End(EndedHow::Completed)]);
    let dispatching = bench.dispatch(config()).await;
    let long = bench.task("long").await;
    bench.agent.wait_until(|seen| !seen.prompts.is_empty()).await;
    let starting = bench.faults.hold("start", 2, When::Before);
    let early = bench.task(WORK).await;
    starting.reached().await;
    dispatching.tell(Shutdown::Graceful).await;
    // The long turn goes on until the early one is in the queue again, which proves that it had its grace.
    let summary = dispatching.ended().await;
    assert_eq!(summary, Summary { completed: 1, requeued: 1, ..Summary::default() });
    bench.record(long.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);
    bench.record(early.id).await.assert_pending();
    assert_eq!(bench.agent.seen().open, 0);
    assert_eq!(bench.agent.seen().prompts, ["long"]);
    let claims = bench.faults.made("claim");
    let late = bench.task(WORK).await;
    bench.record(late.id).await.assert_pending();
    assert_eq!(bench.faults.made("claim"), claims, "it has left");

    // The next one goes on where this one was.
    let next = bench.dispatch(config()).await;
    bench.until_ended(&[early.id, late.id]).await;
    assert_eq!(next.end(Shutdown::Graceful).await.completed, 2);
    bench.record(early.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_outlasts_the_grace_is_cancelled_with_the_shutdown_as_reason() {
    let bench = Bench::new().await;
    bench.agent.script(WORK, &[Step::text("one"), Step::AwaitStop, Step::End(EndedHow::Completed)]);
    let dispatching = bench.dispatch(DispatcherConfig { grace: Duration::from_millis(50), ..config() }).await;
    let task = bench.task(WORK).await;
    bench.faults.until_made("next", 2).await;
    let summary = dispatching.end(Shutdown::Graceful).await;
    assert_eq!(summary, Summary { cancelled: 1, ..Summary::default() });
    bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Shutdown);
    assert_eq!(bench.agent.seen().stops, [Stop::Ask]);
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_at_once_waits_for_no_agent() {
    for first in [None, Some(Shutdown::Graceful)] {
        let bench = Bench::new().await;
        bench.agent.script(WORK, &hangs());
        let dispatching = bench.dispatch(config()).await;
        let task = bench.task(WORK).await;
        bench.faults.until_made("append", 2).await;
        if let Some(first) = first {
            dispatching.tell(first).await;
        }
        let summary = dispatching.end(Shutdown::Now).await;
        assert_eq!(summary, Summary { cancelled: 1, ..Summary::default() });
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Cancelled, TerminalReason::Shutdown);
        assert_eq!(record.streamed(), "one");
        assert_eq!(bench.agent.seen().closes, [Close::Kill]);
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_at_once_leaves_what_cannot_be_recorded_to_recovery() {
    let bench = Bench::new().await;
    bench.agent.script(WORK, &hangs());
    let dispatching = bench.dispatch(config()).await;
    let task = bench.task(WORK).await;
    bench.faults.until_made("append", 2).await;
    bench.faults.plant_from("settle", 1, Fault::Unavailable);
    let summary = dispatching.end(Shutdown::Now).await;
    assert_eq!(summary, Summary { abandoned: 1, ..Summary::default() });
    assert_eq!(bench.agent.seen().open, 0);
    bench.faults.clear();
    let next = bench.dispatch(config()).await;
    bench.until_ended(&[task.id]).await;
    bench.record(task.id).await.assert_ended(TaskState::Interrupted, TerminalReason::NodeLost);
    next.end(Shutdown::Graceful).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_answered_after_the_shutdown_is_given_back() {
    for stopped in [false, true] {
        let bench = Bench::new().await;
        let task = bench.task(WORK).await;
        let claim = bench.faults.hold("claim", 1, When::After);
        let dispatching = bench.dispatch(config()).await;
        claim.reached().await;
        dispatching.tell(Shutdown::Graceful).await;
        dispatching.heard().await;
        if stopped {
            use dispatch_core::ports::Store;
            bench.store.request_stop(task.id).await.expect("a store");
        }
        claim.open();
        let summary = dispatching.ended().await;
        let record = bench.record(task.id).await;
        if stopped {
            assert_eq!(summary, Summary { cancelled: 1, ..Summary::default() });
            record.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
        } else {
            assert_eq!(summary, Summary { requeued: 1, ..Summary::default() });
            record.assert_pending();
        }
        assert_eq!((bench.faults.made("open"), bench.faults.made("claim")), (0, 1));
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_stop_before_a_lease_ends_that_cannot_be_renewed() {
    const TTL: Duration = Duration::from_secs(10);
    let bench = Bench::with(&STUBBORN).await;
    bench.faults.set_ttl(TTL);
    bench.agent.script("hang", &hangs());
    let dispatching = bench.dispatch(config()).await;
    let task = bench.task("hang").await;
    bench.faults.until_made("append", 2).await;
    bench.faults.plant_from("renew", bench.faults.made("renew") + 1, Fault::Unavailable);
    let last_renewal = Instant::now();
    bench.agent.wait_until(|seen| seen.open == 0).await;
    assert!(last_renewal.elapsed() < TTL, "{:?}", last_renewal.elapsed());
    bench.faults.clear();
    goes_on(&bench, dispatching, task.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_stop_when_the_lease_is_found_lapsed() {
    let bench = Bench::new().await;
    bench.agent.script("hang", &hangs());
    let dispatching = bench.dispatch(config()).await;
    let task = bench.task("hang").await;
    bench.faults.until_made("append", 2).await;
    bench.faults.lapse(dispatching.node);
    bench.agent.wait_until(|seen| seen.open == 0).await;
    goes_on(&bench, dispatching, task.id).await;
}

/// Checks that the dispatcher is another node now, has settled what it lost, and runs tasks again.
async fn goes_on(
    bench: &Bench,
    dispatching: boocoder_tests::faults::Dispatching,
    lost: dispatch_core::ids::TaskId,
) {
    bench.until_ended(&[lost]).await;
    let record = bench.record(lost).await;
    record.assert_ended(TaskState::Interrupted, TerminalReason::NodeLost);
    assert_eq!(record.streamed(), "one");
    let task = bench.task(WORK).await;
    bench.until_ended(&[task.id]).await;
    let summary = dispatching.end(Shutdown::Graceful).await;
    assert_eq!(summary, Summary { completed: 1, abandoned: 1, rejoined: 1, ..Summary::default() });
    bench.record(task.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_was_lost_with_the_store_is_settled_while_others_go_on() {
    let bench = Bench::new().await;
    bench.agent.script("lost", &[Step::text("one"), Step::End(EndedHow::Completed)]);
    bench.faults.plant("settle", 1..=1, When::Before, Fault::Failed);
    let dispatching = bench.dispatch(config()).await;
    let lost = bench.task("lost").await;
    // Its node is given up, and another one joins.
    bench.faults.until_made("join", 2).await;
    let next = bench.task(WORK).await;
    bench.until_ended(&[lost.id, next.id]).await;
    let summary = dispatching.end(Shutdown::Graceful).await;
    assert_eq!(summary, Summary { completed: 1, abandoned: 1, rejoined: 1, ..Summary::default() });
    bench.record(lost.id).await.assert_ended(TaskState::Interrupted, TerminalReason::NodeLost);
    bench.record(next.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_while_a_turn_streams_costs_nothing() {
    /// Together more than may wait in memory.
    const PIECES: usize = 4096;
    const BYTES: usize = 1024;
    let bench = Bench::new().await;
    bench.agent.script(
        WORK,
        &[
            Step::text("one"),
            Step::AwaitCall("append", 2),
            Step::Flood(PIECES, BYTES),
            Step::End(EndedHow::Completed),
        ],
    );
    for call in ["append", "claim", "renew", "recover"] {
        bench.faults.plant_from(call, 3, Fault::Unavailable);
    }
    let dispatching = bench.dispatch(config()).await;
    let task = bench.task(WORK).await;
    // Two seconds: the pauses between tries add up to them by then.
    bench.faults.until_made("append", 3 + 8).await;
    let taken = bench.agent.seen().taken * BYTES;
    assert!(taken < 3 * 1024 * 1024, "{taken} bytes were taken for a store that is away");
    bench.faults.clear();
    bench.until_ended(&[task.id]).await;
    let record = bench.record(task.id).await;
    record.assert_ended(TaskState::Completed, TerminalReason::Completed);
    assert_eq!(record.streamed().len(), "one".len() + PIECES * BYTES);
    assert_eq!(bench.watcher.seen(record.task.session), record.frames, "everything is published, in order");
    dispatching.end(Shutdown::Graceful).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_word_is_heard_when_nobody_is_left_to_say_a_third() {
    let bench = Bench::new().await;
    bench.agent.script(WORK, &hangs());
    let dispatching = bench.dispatch(config()).await;
    let task = bench.task(WORK).await;
    bench.faults.until_made("append", 2).await;
    let summary = dispatching.end_with([Shutdown::Graceful, Shutdown::Now]).await;
    assert_eq!(summary, Summary { cancelled: 1, ..Summary::default() });
    bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Shutdown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_at_once_waits_for_no_store_that_cannot_be_left() {
    let bench = Bench::new().await;
    let leaving = bench.faults.hold("leave", 1, When::Before);
    let dispatching = bench.dispatch(config()).await;
    bench.faults.until_made("claim", 1).await;
    dispatching.tell(Shutdown::Graceful).await;
    leaving.reached().await;
    // The gate stays closed: what is left behind lapses.
    assert_eq!(dispatching.end(Shutdown::Now).await, Summary::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_ends_a_turn_whose_frames_wait_for_a_store_that_is_away() {
    const PIECE: usize = 64 * 1024;
    let bench = Bench::with(&STUBBORN).await;
    let [before, one, _] = hangs();
    let flood = [before, one, Step::AwaitCall("append", 2), Step::Flood(100 * 16, PIECE), Step::Hang];
    bench.agent.script(WORK, &flood);
    let _away = bench.faults.hold("append", 2, When::Before);
    let dispatching = bench.dispatch(config()).await;
    bench.task(WORK).await;
    // One MiB waits to be written, and a channel of eight batches is full.
    bench.agent.wait_until(|seen| seen.taken >= 16 + 8).await;
    bench.faults.lapse(dispatching.node);
    bench.agent.wait_until(|seen| seen.open == 0).await;
    // It joins again only once the turn has ended.
    let closed = Instant::now();
    bench.faults.until_made("join", 2).await;
    assert!(closed.elapsed() < Duration::from_secs(10), "{:?}", closed.elapsed());
    dispatching.end(Shutdown::Now).await;
}

fn kept_for(chat: ChatId) -> Vec<WarmAgent> {
    let (started_at, idle_since) = (Timestamp(0), Timestamp(0));
    let agent = Name::new("scripted").expect("a name");
    let (route, chat) = (Route::WarmAcp, Some(chat));
    vec![WarmAgent { agent, route, chat, pid: 1, turns: 1, started_at, idle_since }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_chat_is_let_go_of_once_at_a_time_and_not_faster_than_the_lease_is_renewed() {
    let bench = Bench::new().await;
    let task = bench.task(WORK).await;
    bench.agent.keep(kept_for(task.chat));
    let _node = bench.node().await;
    let renewed = || bench.faults.made("renew");
    let renew = async || {
        let before = renewed();
        bench.faults.ring(1);
        bench.faults.until_made("renew", before + 1).await;
    };
    renew().await;
    bench.faults.until_made("record_warm", 1).await;

    let closing = bench.faults.hold("close_chats", 1, When::Before);
    bench.store.close_session(task.session).await.expect("a store");
    closing.reached().await;
    for _ in 0..3 {
        renew().await;
    }
    assert_eq!(bench.faults.made("close_chats"), 1, "it is under way");

    // Something is kept for it still, or again.
    bench.faults.deafen();
    closing.open();
    bench.faults.until_made("close_chats", 2).await;
    let second = Instant::now();
    bench.faults.until_made("close_chats", 4).await;
    assert!(second.elapsed() >= Duration::from_secs(3), "{:?}", second.elapsed());

    // That it is gone is told without a renewal.
    let closing = bench.faults.hold("close_chats", bench.faults.made("close_chats") + 1, When::Before);
    closing.reached().await;
    let _renewal = bench.faults.hold("renew", renewed() + 1, When::Before);
    let told = bench.faults.hold("record_warm", bench.faults.made("record_warm") + 1, When::After);
    bench.agent.keep(vec![]);
    closing.open();
    told.reached().await;
    assert_eq!(bench.store.warm().await.expect("a store"), []);
}
