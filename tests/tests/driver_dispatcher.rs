//! The dispatcher on a real record and real worktrees: order, exclusivity, wake-ups, slots.

use std::{collections::BTreeMap, time::Duration};

use boocoder_tests::faults::{AGENT, Bench, Dispatching, Fault, Step, WORK, When};
use dispatch_core::{
    agent::EndedHow,
    ids::{SessionId, TaskId},
    ports::{Records, Store},
    task::{Name, Task, TaskState, TerminalReason},
};
use dispatch_driver::{DispatcherConfig, Shutdown, Summary};

/// An agent of which one turn may run at a time.
const RARE: &str = "rare";

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

fn config() -> DispatcherConfig {
    DispatcherConfig { slots: 4, poll: NEVER, ..DispatcherConfig::default() }
}

/// A dispatcher whose first look at the queue is over, and found nothing.
async fn idle(bench: &Bench, config: DispatcherConfig) -> Dispatching {
    let pass = bench.faults.hold("claim", 1, When::After);
    let dispatching = bench.dispatch(config).await;
    pass.reached().await;
    dispatching
}

/// Runs the plain piece of work to its end on an idle dispatcher.
async fn runs(bench: &Bench, config: DispatcherConfig) {
    let dispatching = idle(bench, config).await;
    let task = bench.task(WORK).await;
    bench.until_ended(&[task.id]).await;
    dispatching.end(Shutdown::Graceful).await;
    bench.record(task.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);
}

/// Makes a session's tasks, each with a prompt of its own.
async fn session_of(bench: &Bench, number: usize, tasks: usize) -> (SessionId, Vec<TaskId>) {
    let mut made: Vec<Task> = Vec::new();
    for n in 0..tasks {
        let prompt = format!("session {number} task {n}");
        // The first four turns wait for each other, so that four do run side by side.
        bench.agent.script(
            &prompt,
            &[Step::AwaitCall("start", 4), Step::text(&prompt), Step::End(EndedHow::Completed)],
        );
        let agent = if n % 3 == 2 { RARE } else { AGENT };
        made.push(bench.task_in(made.first().map(|task| task.session), agent, &prompt).await);
    }
    (made[0].session, made.iter().map(|task| task.id).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_tasks_of_five_sessions_run_in_order_side_by_side() {
    let bench = Bench::new().await;
    let rare = Name::new(RARE);
    let dispatching =
        bench.dispatch(DispatcherConfig { per_agent: BTreeMap::from([(rare.clone(), 1)]), ..config() }).await;
    let mut sessions = Vec::new();
    for number in 0..5 {
        sessions.push(session_of(&bench, number, 6).await);
    }
    let all: Vec<_> = sessions.iter().flat_map(|(_, tasks)| tasks.clone()).collect();
    bench.until_ended(&all).await;
    let summary = dispatching.end(Shutdown::Graceful).await;
    assert_eq!(summary, Summary { completed: 30, ..Summary::default() });

    let seen = bench.agent.seen();
    assert_eq!(seen.most[&None], 4, "as many as there are slots");
    assert_eq!(seen.most[&rare], 1);
    for (number, (session, tasks)) in sessions.into_iter().enumerate() {
        let frames = bench.store.frames(session, dispatch_core::ids::Seq(0), 0).await.expect("frames");
        assert!(frames.iter().map(|frame| frame.seq.0).eq(1..=frames.len() as i64));
        // One turn's frames after the other's: never two at once, and in the order in which they came.
        let mut turns: Vec<_> = frames.iter().filter_map(|frame| frame.about.task_id).collect();
        turns.dedup();
        assert_eq!(turns, tasks);
        let prompts: Vec<_> =
            seen.prompts.iter().filter(|prompt| prompt.starts_with(&format!("session {number} "))).collect();
        let wanted: Vec<_> = (0..6).map(|n| format!("session {number} task {n}")).collect();
        assert_eq!(prompts, wanted.iter().collect::<Vec<_>>());
        assert_eq!(bench.watcher.seen(session), frames, "everything is published, in order");
    }
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_task_is_noticed_without_a_poll() {
    let bench = Bench::new().await;
    runs(&bench, config()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_wake_up_costs_one_poll() {
    let bench = Bench::new().await;
    bench.faults.deafen();
    runs(&bench, DispatcherConfig { poll: Duration::from_millis(200), ..config() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_wake_ups_causes_one_more_pass() {
    let bench = Bench::new().await;
    bench.faults.deafen();
    let pass = bench.faults.hold("claim", 1, When::Before);
    let dispatching = bench.dispatch(config()).await;
    pass.reached().await;
    bench.faults.ring(1000);
    bench.faults.until_rung().await;
    assert_eq!(bench.faults.made("claim"), 1, "passes do not overlap");
    pass.open();
    bench.faults.until_made("claim", 2).await;
    // What is asked for afterwards is one pass more again.
    let task = bench.task(WORK).await;
    bench.faults.ring(1);
    bench.until_ended(&[task.id]).await;
    dispatching.end(Shutdown::Graceful).await;
    // The two above, one for the task, and one for the slot that it left.
    let passes = bench.faults.made("claim");
    assert!((3..=5).contains(&passes), "{passes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_became_free_is_used_at_once() {
    let bench = Bench::new().await;
    bench.faults.deafen();
    let (first, second) = (bench.task(WORK).await, bench.task(WORK).await);
    let dispatching = bench.dispatch(DispatcherConfig { slots: 1, ..config() }).await;
    bench.until_ended(&[first.id, second.id]).await;
    assert_eq!(bench.agent.seen().most[&None], 1);
    let summary = dispatching.end(Shutdown::Graceful).await;
    assert_eq!(summary.completed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_is_lost_is_run_once() {
    for fault in [Fault::Unavailable, Fault::Panic] {
        let bench = Bench::new().await;
        bench.faults.plant("claim", 1..=1, When::After, fault);
        let task = bench.task(WORK).await;
        let poll = Duration::from_millis(100);
        let dispatching = bench.dispatch(DispatcherConfig { poll, ..config() }).await;
        bench.until_ended(&[task.id]).await;
        dispatching.end(Shutdown::Graceful).await;
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Completed, TerminalReason::Completed);
        assert_eq!(bench.agent.seen().prompts, [WORK]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_from_another_process_reaches_its_turn_at_once() {
    let bench = Bench::new().await;
    // A renewal, which also tells of Stops, comes after half a minute.
    bench.faults.set_ttl(Duration::from_secs(100));
    bench.agent.script(WORK, &[Step::text("one"), Step::AwaitStop, Step::End(EndedHow::Completed)]);
    let dispatching = bench.dispatch(config()).await;
    let task = bench.task(WORK).await;
    bench.faults.until_made("next", 2).await;
    bench.store.request_stop(task.id).await.expect("a store");
    bench.agent.wait_until(|seen| !seen.stops.is_empty()).await;
    bench.until_ended(&[task.id]).await;
    bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
    dispatching.end(Shutdown::Graceful).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_left_is_found_while_others_run() {
    let bench = Bench::new().await;
    bench.faults.deafen();
    let recovery = bench.faults.hold("recover", 1, When::After);
    let pass = bench.faults.hold("claim", 1, When::After);
    let dispatching = bench.dispatch(config()).await;
    recovery.reached().await;
    recovery.open();
    pass.reached().await;
    // Between two looks at the queue, another node claims it and dies before it began anything.
    let task = bench.task(WORK).await;
    let (lease, _) = bench.claim(task.id).await;
    bench.store.leave(&lease).await.expect("a store");
    pass.open();
    bench.until_ended(&[task.id]).await;
    bench.record(task.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);
    assert_eq!(bench.agent.seen().prompts, [WORK]);
    dispatching.end(Shutdown::Graceful).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_claimed_again_while_it_is_given_back_keeps_its_slot() {
    let bench = Bench::new().await;
    bench.faults.deafen();
    let task = bench.task(WORK).await;
    let claim = bench.faults.hold("claim", 1, When::After);
    let dispatching = bench.dispatch(config()).await;
    claim.reached().await;
    // Another node has taken its place by the time it is told what it claimed.
    bench.faults.lapse(dispatching.node);
    bench.faults.ring(1);
    bench.faults.until_made("join", 2).await;
    bench.faults.until_made("leave", 1).await;
    let given_back = bench.faults.hold("requeue", 1, When::After);
    let preparing = bench.faults.hold("prepare", 1, When::Before);
    claim.open();
    given_back.reached().await;
    bench.faults.ring(1);
    preparing.reached().await;
    let passes = bench.faults.made("claim");
    given_back.open();
    // The end of the giving back makes a pass, which must know of the turn that runs.
    bench.faults.until_made("claim", passes + 1).await;
    bench.faults.ring(1);
    bench.faults.until_made("claim", passes + 2).await;
    preparing.open();
    bench.until_ended(&[task.id]).await;
    let summary = dispatching.end(Shutdown::Graceful).await;
    // Whether recovery or the giving back was first does not matter.
    assert_eq!((summary.completed, summary.requeued + summary.abandoned), (1, 1), "{summary:?}");
    assert_eq!((bench.faults.made("prepare"), bench.agent.seen().prompts.len()), (1, 1));
}

/// A wake-up between the first look at the queue and the moment when it is listened to would be lost.
#[tokio::test]
async fn a_node_that_has_joined_listens() {
    let bench = Bench::new().await;
    let _node = bench.node().await;
    assert_eq!(bench.faults.made("wakeups"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_interval_beyond_all_clocks_is_a_long_one() {
    let bench = Bench::new().await;
    let dispatching = bench.dispatch(DispatcherConfig { poll: Duration::MAX, ..config() }).await;
    let task = bench.task(WORK).await;
    bench.until_ended(&[task.id]).await;
    assert_eq!(dispatching.end(Shutdown::Graceful).await.completed, 1);
}

/// A task that its store chokes on is begun again and again, as nothing of it went out: at the pace of the poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_is_lost_with_the_store_again_and_again_is_begun_at_every_poll() {
    let bench = Bench::new().await;
    bench.faults.plant_from("begin_message", 1, Fault::Failed);
    let poll = Duration::from_millis(400);
    let begun = std::time::Instant::now();
    let dispatching = bench.dispatch(DispatcherConfig { poll, ..config() }).await;
    let task = bench.task(WORK).await;
    bench.faults.until_made("begin_message", 6).await;
    let tries = bench.faults.made("begin_message") as u32;
    assert!(begun.elapsed() >= poll * 3, "{tries} tries within {:?}", begun.elapsed());
    bench.faults.clear();
    bench.until_ended(&[task.id]).await;
    bench.record(task.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);
    dispatching.end(Shutdown::Graceful).await;
}
