//! Stop, Hurry and shutdown at every step of a turn, each at an event and not at a time.

use boocoder_tests::faults::{Bench, OBEDIENT, STUBBORN, Step, WORK, When};
use dispatch_core::{
    agent::EndedHow,
    change::CheckpointKind,
    ports::{Close, StopAnswer},
    profile::Stop,
    task::{TaskState, TerminalReason},
};
use dispatch_driver::TurnReport;

/// Every call of a turn's ports, in order, up to the one that decides its end.
const STEPS: [(&str, usize); 15] = [
    ("record_route", 1),
    ("prepare", 1),
    ("begin_message", 1),
    ("checkpoint", 1),
    ("record_checkpoint", 1),
    ("open", 1),
    ("start", 1),
    ("record_prompt_sent", 1),
    ("prompt", 1),
    ("next", 1),
    ("next", 2),
    ("close", 1),
    ("collect", 1),
    ("record_checkpoint", 2),
    ("settle", 1),
];

/// The first step at which the prompt may be out.
const PROMPTED: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_every_step_cancels_the_turn_and_leaves_nothing() {
    for when in [When::Before, When::After] {
        for (i, (call, nth)) in STEPS.into_iter().enumerate() {
            if when == When::After && ["next", "close", "settle"].contains(&call) {
                continue;
            }
            let step = format!("{when:?} {call} {nth}");
            let bench = Bench::with(&STUBBORN).await;
            let (node, task) = (bench.node().await, bench.task(WORK).await);
            let gate = bench.faults.hold(call, nth, when);
            let turn = bench.start(&node, task.id);
            gate.reached().await;
            assert_eq!(node.stop(task.id).await.expect("a store"), StopAnswer::Stopping, "{step}");
            // Once more: the turn may have ended by now, as nothing that is held needs to be waited for.
            let again = node.stop(task.id).await.expect("a store");
            let ended = StopAnswer::AlreadyEnded(TaskState::Cancelled);
            assert!([StopAnswer::Stopping, ended].contains(&again), "{step}: {again:?}");
            gate.open();
            let report = bench.ended(turn).await;
            let (state, reason) = (TaskState::Cancelled, TerminalReason::Stopped);
            assert_eq!(report, Some(TurnReport::Settled { state, reason, change: None }), "{step}");
            let record = bench.record(task.id).await;
            record.assert_ended(state, reason);
            bench.assert_nothing_left();
            if i < PROMPTED - 1 {
                assert_eq!(bench.agent.seen().prompts.len(), 0, "{step}");
            }
            if call != "begin_message" {
                assert_eq!(record.answers.len(), usize::from(i > 2), "{step}");
            }
            assert_eq!(node.stop(task.id).await.expect("a store"), StopAnswer::AlreadyEnded(state), "{step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_until_the_agent_has_the_prompt() {
    let bench = Bench::new().await;
    bench.agent.script(WORK, &[Step::AwaitStop, Step::End(EndedHow::Cancelled)]);
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let gate = bench.faults.hold("prompt", 1, When::Before);
    let turn = bench.start(&node, task.id);
    gate.reached().await;
    node.stop(task.id).await.expect("a store");
    // That it waits cannot be waited for, only looked at.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
        assert_eq!(bench.faults.made("stop"), 0, "there is nothing to be stopped yet");
    }
    gate.open();
    bench.ended(turn).await;
    bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
    assert_eq!((bench.agent.seen().stops, bench.agent.seen().closes), (vec![Stop::Ask], vec![Close::Return]));
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_hangs_while_it_is_started_is_given_up() {
    for call in ["open", "start"] {
        let bench = Bench::new().await;
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        let gate = bench.faults.hold(call, 1, When::Before);
        let turn = bench.start(&node, task.id);
        gate.reached().await;
        node.stop(task.id).await.expect("a store");
        bench.ended(turn).await;
        bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
        bench.assert_nothing_left();
        drop(gate);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_over_when_what_was_given_up_is_gone() {
    let bench = Bench::new().await;
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let (open, undone) =
        (bench.faults.hold("open", 1, When::Before), bench.faults.hold("undone", 1, When::Before));
    let turn = bench.start(&node, task.id);
    open.reached().await;
    node.stop(task.id).await.expect("a store");
    undone.reached().await;
    assert_eq!(bench.record(task.id).await.task.state, TaskState::Running, "something of it may run");
    undone.open();
    bench.ended(turn).await;
    bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_after_the_end_changes_nothing() {
    for (call, nth, when) in
        [("settle", 1, When::After), ("release", 1, When::Before), ("record_checkpoint", 3, When::Before)]
    {
        let bench = Bench::new().await;
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        let gate = bench.faults.hold(call, nth, when);
        let turn = bench.start(&node, task.id);
        gate.reached().await;
        let answer = node.stop(task.id).await.expect("a store");
        assert_eq!(answer, StopAnswer::AlreadyEnded(TaskState::Completed));
        gate.open();
        bench.ended(turn).await;
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Completed, TerminalReason::Completed);
        assert_eq!(record.kinds().last(), Some(&CheckpointKind::Final));
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_ends_as_if_nothing_had_been_is_cancelled_all_the_same() {
    let bench = Bench::new().await;
    bench.agent.script(
        WORK,
        &[Step::text("one"), Step::AwaitStop, Step::text(" more"), Step::End(EndedHow::Completed)],
    );
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let turn = bench.start(&node, task.id);
    bench.faults.until_made("next", 2).await;
    node.stop(task.id).await.expect("a store");
    bench.ended(turn).await;
    let record = bench.record(task.id).await;
    record.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
    assert_eq!(record.streamed(), "one more", "what it said while it was stopped is kept");
    assert_eq!((bench.agent.seen().stops, bench.agent.seen().closes), (vec![Stop::Ask], vec![Close::Return]));
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hurry_ends_the_ladder_and_is_nothing_without_a_stop() {
    let bench = Bench::with(&OBEDIENT).await;
    bench.agent.script(WORK, &[Step::text("one"), Step::Hang]);
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let turn = bench.start(&node, task.id);
    bench.faults.until_made("next", 2).await;
    node.hurry(task.id);
    node.stop(task.id).await.expect("a store");
    bench.agent.wait_until(|seen| !seen.stops.is_empty()).await;
    node.hurry(task.id);
    bench.ended(turn).await;
    bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
    assert_eq!((bench.agent.seen().stops, bench.agent.seen().closes), (vec![Stop::Ask], vec![Close::Kill]));
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_before_the_prompt_makes_the_task_pending_again() {
    // From the moment when it is being recorded that the prompt goes out, it counts as out.
    for (call, nth) in STEPS.into_iter().take(PROMPTED - 1) {
        let bench = Bench::new().await;
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        let gate = bench.faults.hold(call, nth, When::Before);
        let turn = bench.start(&node, task.id);
        gate.reached().await;
        node.shut_down();
        gate.open();
        assert_eq!(bench.ended(turn).await, Some(TurnReport::Requeued), "{call} {nth}");
        bench.record(task.id).await.assert_pending();
        assert_eq!(bench.agent.seen().open, 0);
        assert_eq!(bench.agent.seen().prompts.len(), 0);
        // Another node takes it up where it was left.
        let next = bench.node().await;
        bench.run(&next, task.id).await;
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Completed, TerminalReason::Completed);
        assert_eq!(record.streamed(), "one two");
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_whose_requeueing_fails_leaves_the_task_to_recovery() {
    let bench = Bench::new().await;
    bench.faults.plant_from("requeue", 1, boocoder_tests::faults::Fault::Failed);
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let gate = bench.faults.hold("start", 1, When::Before);
    let turn = bench.start(&node, task.id);
    gate.reached().await;
    node.shut_down();
    assert_eq!(bench.ended(turn).await, Some(TurnReport::Abandoned));
    assert_eq!(bench.record(task.id).await.task.state, TaskState::Running);
    bench.kill_nodes().await;
    bench.node().await.recover().await.expect("a store");
    bench.record(task.id).await.assert_pending();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_wins_over_a_shutdown() {
    let bench = Bench::new().await;
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let gate = bench.faults.hold("requeue", 1, When::Before);
    let start = bench.faults.hold("start", 1, When::Before);
    let turn = bench.start(&node, task.id);
    start.reached().await;
    node.shut_down();
    gate.reached().await;
    assert_eq!(node.stop(task.id).await.expect("a store"), StopAnswer::Stopping);
    gate.open();
    bench.ended(turn).await;
    bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_after_the_prompt_gives_the_turn_its_grace() {
    let bench = Bench::new().await;
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let gate = bench.faults.hold("next", 1, When::Before);
    let turn = bench.start(&node, task.id);
    gate.reached().await;
    node.shut_down();
    gate.open();
    bench.ended(turn).await;
    bench.record(task.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);

    bench.agent.script("long", &[Step::text("one"), Step::AwaitStop, Step::End(EndedHow::Cancelled)]);
    let (node, task) = (bench.node().await, bench.task("long").await);
    let turn = bench.start(&node, task.id);
    bench.faults.until_made("prompt", 2).await;
    node.shut_down();
    node.end_grace();
    bench.ended(turn).await;
    let record = bench.record(task.id).await;
    record.assert_ended(TaskState::Cancelled, TerminalReason::Shutdown);
    bench.assert_nothing_left();
}

/// A task may be claimed in the very moment of the shutdown: its turn must hear of it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_begins_during_a_shutdown_hears_of_it() {
    let bench = Bench::new().await;
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let gate = bench.faults.hold("claim", 1, When::After);
    let turn = bench.start(&node, task.id);
    gate.reached().await;
    node.shut_down();
    gate.open();
    assert_eq!(bench.ended(turn).await, Some(TurnReport::Requeued));
    bench.record(task.id).await.assert_pending();
    assert_eq!(bench.faults.made("open"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_lost_ends_its_turns_without_a_word() {
    let bench = Bench::new().await;
    bench.agent.script(WORK, &[Step::text("one"), Step::Hang]);
    let renewal = bench.faults.hold("renew", 2, When::Before);
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let turn = bench.start(&node, task.id);
    bench.faults.until_made("append", 2).await;
    renewal.reached().await;
    bench.kill_nodes().await;
    renewal.open();
    assert_eq!(bench.ended(turn).await, Some(TurnReport::Abandoned));
    assert_eq!((bench.agent.seen().open, bench.agent.seen().closes), (0, vec![Close::Kill]));
    bench.faults.until_made("end_idle", 1).await;
}
