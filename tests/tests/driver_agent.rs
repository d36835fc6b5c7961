//! A turn whose agent fails, hangs, panics, floods or asks: it ends, says why, and touches no other turn.

use std::time::Duration;

use boocoder_tests::faults::{Bench, Fault, Record, STUBBORN, Step, WORK, When};
use dispatch_core::{
    agent::{
        AgentUpdate, Answer, EndedHow, Failure, OptionKind, PermissionOption, PermissionRequest, ToolCall,
    },
    ports::{Close, Store},
    profile::Stop,
    task::{TaskState, TerminalReason},
};
use dispatch_driver::{TurnReport, inbox, run_turn};

async fn run_work(bench: &Bench) -> Record {
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    bench.run(&node, task.id).await;
    bench.record(task.id).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_cannot_be_opened_started_or_prompted_fails_the_task_in_its_words() {
    for call in ["open", "start", "prompt"] {
        let bench = Bench::new().await;
        bench.faults.plant(call, 1..=1, When::Before, Fault::Failed);
        let record = run_work(&bench).await;
        record.assert_ended(TaskState::Failed, TerminalReason::CouldNotStart);
        let words = format!("a fault was planted in {call}");
        assert_eq!(record.task.summary.as_deref(), Some(words.as_str()));
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_panics_fails_its_own_turn_as_internal() {
    for call in ["facts", "backend", "profile", "open", "start", "prompt", "next"] {
        let bench = Bench::new().await;
        bench.agent.script("other", &[Step::text("calm"), Step::AwaitStop, Step::End(EndedHow::Cancelled)]);
        let (node, other, task) = (bench.node().await, bench.task("other").await, bench.task(WORK).await);
        let calm = bench.start(&node, other.id);
        bench.faults.until_made("next", 2).await;
        let nth = bench.faults.made(call) + 1;
        bench.faults.plant(call, nth..=nth, When::Before, Fault::Panic);
        bench.run(&node, task.id).await;
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Failed, TerminalReason::Internal);
        assert_eq!(bench.agent.seen().open, 1, "{call}: the other's session alone is open");
        assert_eq!(bench.record(other.id).await.task.state, TaskState::Running, "{call}");
        node.stop(other.id).await.expect("a store");
        bench.ended(calm).await;
        bench.record(other.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_panics_while_it_closes_changes_no_end() {
    let bench = Bench::new().await;
    bench.faults.plant("close", 1..=1, When::Before, Fault::Panic);
    let record = run_work(&bench).await;
    record.assert_ended(TaskState::Completed, TerminalReason::Completed);
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_does_not_get_ready_in_time_is_given_up() {
    let mut bench = Bench::new().await;
    bench.limits.start = Duration::from_millis(30);
    let _gate = bench.faults.hold("start", 1, When::Before);
    let record = run_work(&bench).await;
    record.assert_ended(TaskState::Failed, TerminalReason::CouldNotStart);
    assert_eq!(bench.agent.seen().closes, [Close::Kill]);
    bench.assert_nothing_left();
}

/// An agent that hangs, or returns without news and without end, is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_news_or_end_is_stalled_and_killed() {
    for silent in [Step::Hang, Step::Spin] {
        let mut bench = Bench::with(&STUBBORN).await;
        bench.limits.silence = Duration::from_millis(30);
        bench.agent.script(WORK, &[Step::text("so far"), silent]);
        let record = run_work(&bench).await;
        record.assert_ended(TaskState::Failed, TerminalReason::Stalled);
        assert_eq!(record.streamed(), "so far");
        assert_eq!(bench.agent.seen().stops, [Stop::Ask, Stop::Terminate, Stop::Kill]);
        assert_eq!(bench.agent.seen().closes, [Close::Kill]);
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_the_agents_hand_does_not_take_climbs_on() {
    for fault in [None, Some(Fault::Panic)] {
        let bench = Bench::with(&STUBBORN).await;
        bench.agent.script(WORK, &[Step::text("so far"), Step::Hang]);
        let _gate = bench.faults.hold("stop", 1, When::Before);
        fault.into_iter().for_each(|fault| bench.faults.plant("stop", 2..=2, When::Before, fault));
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        let turn = bench.start(&node, task.id);
        bench.faults.until_made("next", 2).await;
        node.stop(task.id).await.expect("a store");
        bench.ended(turn).await;
        bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
        assert_eq!(bench.agent.seen().closes, [Close::Kill]);
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_the_end_counts_and_nothing_is_asked_after_it() {
    let bench = Bench::new().await;
    let last = vec![AgentUpdate::Text("last".into())];
    let failed = EndedHow::Failed(Failure::new(TerminalReason::ModelRefused, "no"));
    bench.agent.script(WORK, &[Step::text("first "), Step::SayAndEnd(last, failed), Step::text("late")]);
    let record = run_work(&bench).await;
    record.assert_ended(TaskState::Failed, TerminalReason::ModelRefused);
    assert_eq!(record.streamed(), "first last");
    assert_eq!(bench.faults.made("next"), 2);
    bench.assert_nothing_left();
}

const PIECE: usize = 64 * 1024;

/// 1 MiB may wait to be written and as much be under way, and a channel of 8 batches lies before it.
const HELD_AT_MOST: usize = 2 * 16 + 8 + 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_waits_for_a_slow_store_and_stop_is_obeyed_meanwhile() {
    let bench = Bench::with(&STUBBORN).await;
    bench.agent.script(WORK, &[Step::AwaitCall("append", 1), Step::Flood(100 * 16, PIECE), Step::AwaitStop]);
    let slow = bench.faults.hold("append", 2, When::Before);
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let turn = bench.start(&node, task.id);
    slow.reached().await;
    // All that may be taken is soon taken; that it then stays so cannot be waited for, only looked at.
    bench.agent.wait_until(|seen| seen.taken >= 16).await;
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
        assert!(bench.agent.seen().taken <= HELD_AT_MOST, "{} pieces are held", bench.agent.seen().taken);
    }
    let asked = std::time::Instant::now();
    node.stop(task.id).await.expect("a store");
    bench.agent.wait_until(|seen| !seen.stops.is_empty()).await;
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    bench.agent.wait_until(|seen| seen.open == 0).await;
    slow.open();
    bench.ended(turn).await;
    let record = bench.record(task.id).await;
    record.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
    assert!(record.streamed().len() <= HELD_AT_MOST * PIECE);
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_stopped_at_the_output_limit() {
    let mut bench = Bench::with(&STUBBORN).await;
    bench.limits.output_bytes = 4 * 1024 * 1024;
    bench.agent.script(WORK, &[Step::Flood(100 * 16, PIECE), Step::Hang]);
    let record = run_work(&bench).await;
    record.assert_ended(TaskState::Failed, TerminalReason::OutputLimit);
    assert!(record.streamed().len() <= 4 * 1024 * 1024 + 2 * PIECE, "{}", record.streamed().len());
    bench.assert_nothing_left();
}

fn question(id: &str) -> AgentUpdate {
    let option = |id: &str, kind| PermissionOption { id: id.into(), name: id.into(), kind };
    let options = vec![option("yes", OptionKind::AllowOnce), option("no", OptionKind::RejectOnce)];
    AgentUpdate::Permission(PermissionRequest {
        id: id.into(),
        tool_call: ToolCall::default(),
        options,
        paths: vec![],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered_once_whoever_answers_how_often() {
    let bench = Bench::new().await;
    let ask = Step::Say(vec![question("1"), question("2")]);
    let end = [Step::AwaitAnswers(2), Step::text("done"), Step::End(EndedHow::Completed)];
    bench.agent.script(WORK, &[&[Step::AwaitCall("append", 1), ask][..], &end].concat());
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let turn = bench.start(&node, task.id);
    // Nobody can answer what was not shown yet.
    let asked = bench.until_asked(task.id, 2).await;
    assert!(!asked.contains(&"1".to_owned()), "a later attempt may ask under the same id: {asked:?}");
    for (id, answer) in [
        ("unknown", Answer::Allow),
        ("1", Answer::Allow),
        (&asked[0], Answer::Allow),
        (&asked[0], Answer::Deny),
        (&asked[1], Answer::Deny),
        (&asked[1], Answer::Allow),
    ] {
        node.answer(task.id, id.into(), answer);
    }
    bench.ended(turn).await;
    node.answer(task.id, asked[0].clone(), Answer::Deny);
    let record = bench.record(task.id).await;
    record.assert_ended(TaskState::Completed, TerminalReason::Completed);
    let mut answers = bench.agent.seen().answers;
    answers.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(answers, [("1".to_owned(), Answer::Allow), ("2".to_owned(), Answer::Deny)]);
    assert_eq!(record.names().iter().filter(|name| **name == "permission_resolved").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_is_taken_back_is_resolved() {
    let bench = Bench::new().await;
    let take_back = AgentUpdate::PermissionWithdrawn("1".into());
    let ask = [Step::AwaitCall("append", 1), Step::Say(vec![question("1"), question("2"), take_back])];
    bench.agent.script(WORK, &[&ask[..], &[Step::AwaitAnswers(1), Step::End(EndedHow::Completed)]].concat());
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let turn = bench.start(&node, task.id);
    let asked = bench.until_asked(task.id, 2).await;
    node.answer(task.id, asked[0].clone(), Answer::Allow);
    node.answer(task.id, asked[1].clone(), Answer::Deny);
    bench.ended(turn).await;
    assert_eq!(bench.agent.seen().answers, [("2".to_owned(), Answer::Deny)], "nobody waits for the other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_question_is_answered_as_cancelled_when_the_turn_is_stopped() {
    let bench = Bench::new().await;
    bench.agent.script(
        WORK,
        &[
            Step::Say(vec![question("1")]),
            Step::AwaitAnswers(1),
            Step::AwaitStop,
            Step::End(EndedHow::Cancelled),
        ],
    );
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let turn = bench.start(&node, task.id);
    bench.faults.until_made("next", 2).await;
    node.stop(task.id).await.expect("a store");
    node.answer(task.id, "1".into(), Answer::Allow);
    bench.ended(turn).await;
    bench.record(task.id).await.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
    assert_eq!(bench.agent.seen().answers, [("1".to_owned(), Answer::Cancelled)]);
}

/// A caller may drop a run, for example when it fails itself: that is as if the node had died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_dropped_takes_its_agent_with_it_and_is_recovered() {
    let bench = Bench::new().await;
    bench.agent.script(WORK, &[Step::text("so far"), Step::Hang]);
    let task = bench.task(WORK).await;
    let (lease, claim) = bench.claim(task.id).await;
    let (ports, config, (_handle, inbox)) = (bench.ports().clone(), bench.config(), inbox());
    let store = std::sync::Arc::downgrade(&ports.store);
    let turn = tokio::spawn(async move { run_turn(&ports, &config, claim, inbox).await });
    bench.faults.until_made("append", 2).await;
    turn.abort();
    assert!(turn.await.is_err_and(|error| error.is_cancelled()));
    let seen = bench.agent.wait_until(|seen| seen.open == 0).await;
    assert_eq!(seen.closes, [Close::Kill]);
    let let_go = async {
        // The bench's own handle stays: nothing of the turn may hold the store any longer.
        while store.strong_count() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), let_go).await.expect("the turn's writer ends with it");
    assert_eq!(bench.record(task.id).await.task.state, TaskState::Running);
    bench.store.leave(&lease).await.expect("a store");
    bench.store.recover().await.expect("a store");
    bench.record(task.id).await.assert_ended(TaskState::Interrupted, TerminalReason::NodeLost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_turns_side_by_side_keep_to_themselves() {
    let bench = Bench::new().await;
    for (name, file, text) in [("a", "a.txt", "from a"), ("b", "b.txt", "from b")] {
        let both_work = Step::AwaitCall("prompt", 2);
        let steps = [both_work, Step::text(text), Step::Write(file, text), Step::End(EndedHow::Completed)];
        bench.agent.script(name, &steps);
    }
    let (node, a, b) = (bench.node().await, bench.task("a").await, bench.task("b").await);
    let turns = (bench.start(&node, a.id), bench.start(&node, b.id));
    for turn in [turns.0, turns.1] {
        let report = bench.ended(turn).await;
        assert!(
            matches!(report, Some(TurnReport::Settled { state: TaskState::Completed, .. })),
            "{report:?}"
        );
    }
    for (task, text, file) in [(a, "from a", "a.txt"), (b, "from b", "b.txt")] {
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Completed, TerminalReason::Completed);
        assert_eq!(record.streamed(), text);
        let files: Vec<_> = record.changes[0].draft.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, [file]);
    }
    bench.assert_nothing_left();
}
