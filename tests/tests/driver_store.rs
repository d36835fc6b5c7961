//! A turn whose record, worktree or watcher fails: nothing is lost, doubled or settled over missing frames.

use std::path::PathBuf;

use boocoder_tests::faults::{Bench, Fault, Record, Step, WORK, When};
use dispatch_core::{
    agent::{AgentUpdate, EndedHow, NoticeCode},
    change::CheckpointKind,
    ids::TaskId,
    ports::{Lineage, Recovered, RecoveredAs, StopAnswer, Store},
    task::{Task, TaskState, TerminalReason},
};
use dispatch_driver::{TurnReport, inbox, run_turn};

/// The writes of an ordinary turn, each with which of its kind it is, in their order.
const WRITES: [(&str, usize); 11] = [
    ("record_route", 1),
    ("begin_message", 1),
    ("record_checkpoint", 1),
    ("append", 1),
    ("record_agent_session", 1),
    ("record_prompt_sent", 1),
    ("append", 2),
    ("append", 3),
    ("record_checkpoint", 2),
    ("settle", 1),
    ("record_checkpoint", 3),
];

/// The first write that is made with the prompt out.
const PROMPTED: usize = 6;

/// The frames of the turn's start, which are written while the prompt goes out: before or after it.
const START_FRAMES: usize = 3;

fn assert_complete(bench: &Bench, record: &Record) {
    record.assert_ended(TaskState::Completed, TerminalReason::Completed);
    assert_eq!(record.streamed(), "one two");
    assert_eq!(record.changes.len(), 1);
    assert_eq!(bench.agent.seen().prompts, [WORK], "the prompt goes out once");
}

fn assert_all_published(bench: &Bench, record: &Record) {
    assert_eq!(bench.watcher.seen(record.task.session), record.frames, "everything is published, in order");
}

const KINDS: [CheckpointKind; 3] = [CheckpointKind::Before, CheckpointKind::After, CheckpointKind::Final];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_turn_makes_these_writes() {
    let bench = Bench::new().await;
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let report = bench.run(&node, task.id).await;
    let record = bench.record(task.id).await;
    assert_complete(&bench, &record);
    assert_all_published(&bench, &record);
    let change = Some(record.changes[0].id);
    let (state, reason) = (TaskState::Completed, TerminalReason::Completed);
    assert_eq!(report, Some(TurnReport::Settled { state, reason, change }));
    assert_eq!(record.kinds(), KINDS);
    bench.assert_nothing_left();
    for (call, nth) in WRITES {
        assert!(bench.faults.made(call) >= nth, "{call} {nth}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_unavailable_for_a_moment_is_made_again() {
    for (call, nth) in WRITES {
        let bench = Bench::new().await;
        bench.faults.plant(call, nth..=nth + 1, When::Before, Fault::Unavailable);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        bench.run(&node, task.id).await;
        let record = bench.record(task.id).await;
        assert_complete(&bench, &record);
        assert_all_published(&bench, &record);
        assert_eq!(record.kinds(), KINDS, "{call} {nth}");
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_not_made_twice() {
    for (call, nth) in WRITES {
        let bench = Bench::new().await;
        bench.faults.plant(call, nth..=nth + 1, When::After, Fault::Unavailable);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        bench.run(&node, task.id).await;
        let record = bench.record(task.id).await;
        assert_complete(&bench, &record);
        assert_all_published(&bench, &record);
        assert_eq!(record.kinds(), KINDS, "{call} {nth}");
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_fails_holds_nothing() {
    let bench = Bench::new().await;
    bench.faults.plant("claim", 1..=1, When::Before, Fault::Unavailable);
    bench.faults.plant("claim", 2..=2, When::Before, Fault::Failed);
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    assert!(node.run_task(task.id).await.is_err());
    bench.record(task.id).await.assert_pending();
    bench.run(&node, task.id).await;
    assert_complete(&bench, &bench.record(task.id).await);
}

/// What recovery must make of a task whose turn was given up.
fn assert_recovered(recovered: &[Recovered], task: TaskId, became: RecoveredAs) {
    assert_eq!(recovered, [Recovered { task, became }]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_for_good_ends_the_turn_and_recovery_settles_it() {
    for (i, (call, nth)) in WRITES.into_iter().enumerate() {
        for fault in [Fault::Failed, Fault::Panic] {
            let bench = Bench::new().await;
            let step = format!("{call} {nth} {fault:?}");
            let (node, task) = (bench.node().await, bench.task(WORK).await);
            // From this write on nothing can be written any more.
            let later = &WRITES[i..];
            for &(call, nth) in later.iter().rev() {
                bench.faults.plant_from(call, nth, fault);
            }
            let report = bench.run(&node, task.id).await;
            assert_eq!(bench.agent.seen().open, 0, "{step}: the agent is closed");
            if i == WRITES.len() - 1 {
                // What fails after settling turns no task into a failure (SPEC T14).
                assert_complete(&bench, &bench.record(task.id).await);
                continue;
            }
            assert_eq!(report, Some(TurnReport::Abandoned), "{step}");
            assert_eq!(
                bench.record(task.id).await.task.state,
                TaskState::Running,
                "{step}: nothing was settled"
            );
            bench.faults.clear();
            drop(node);
            recover_and_go_on(&bench, &task, i >= PROMPTED, &step).await;
        }
    }
}

/// Ends the life of the nodes that ran so far, and checks what becomes of a task that they left.
async fn recover_and_go_on(bench: &Bench, task: &Task, prompted: bool, step: &str) {
    let prompts = bench.agent.seen().prompts.len();
    if !prompted {
        assert_eq!(prompts, 0, "{step}: nothing was sent");
    }
    bench.kill_nodes().await;
    let node = bench.node().await;
    let recovered = node.recover().await.expect("a store");
    let record = bench.record(task.id).await;
    if !prompted {
        assert_recovered(&recovered, task.id, RecoveredAs::Pending);
        record.assert_pending();
        bench.run(&node, task.id).await;
        bench.record(task.id).await.assert_ended(TaskState::Completed, TerminalReason::Completed);
        bench.assert_nothing_left();
        return;
    }
    assert_recovered(&recovered, task.id, RecoveredAs::Interrupted);
    record.assert_ended(TaskState::Interrupted, TerminalReason::NodeLost);
    assert!("one two".starts_with(&record.streamed()), "{step}: {record:#?}");
    assert_ne!(bench.machine.worktrees(), Vec::<PathBuf>::new(), "{step}: the worktree is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_settled_over_frames_that_were_not_recorded() {
    for fault in [Fault::Failed, Fault::Panic] {
        let bench = Bench::new().await;
        let last_words = bench.faults.hold("append", 3, When::Before);
        bench.faults.plant("append", 3..=3, When::Before, fault);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        let turn = bench.start(&node, task.id);
        last_words.reached().await;
        // The turn goes on to its settlement, which waits for the write alone.
        bench.faults.until_made("record_checkpoint", 2).await;
        last_words.open();
        assert_eq!(bench.ended(turn).await, Some(TurnReport::Abandoned));
        assert_eq!(bench.faults.made("settle"), 0, "{fault:?}");
        recover_and_go_on(&bench, &task, true, "append 3").await;
    }
}

/// Takes a task away from its node as a second one would: the node is held dead, and the task recovered.
async fn take_over(bench: &Bench) -> Vec<Recovered> {
    bench.kill_nodes().await;
    bench.store.recover().await.expect("a store")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_was_fenced_off_writes_nothing_more() {
    for (i, (call, nth)) in WRITES.into_iter().enumerate().take(WRITES.len() - 1) {
        let bench = Bench::new().await;
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        let gate = bench.faults.hold(call, nth, When::Before);
        let turn = bench.start(&node, task.id);
        gate.reached().await;
        let recovered = take_over(&bench).await;
        let prompted = recovered == [Recovered { task: task.id, became: RecoveredAs::Interrupted }];
        if i != START_FRAMES {
            assert_eq!(prompted, i >= PROMPTED, "{call} {nth}: {recovered:?}");
        }
        // Another epoch has it now, and waits.
        let other = if prompted { None } else { Some(bench.claim(task.id).await) };
        let before = bench.record(task.id).await;
        gate.open();
        assert_eq!(bench.ended(turn).await, Some(TurnReport::Abandoned), "{call} {nth}");
        let after = bench.record(task.id).await;
        assert_eq!(
            (&after.task, &after.answers, &after.frames),
            (&before.task, &before.answers, &before.frames)
        );
        assert_eq!(bench.agent.seen().open, 0, "{call} {nth}");
        assert!(bench.agent.seen().prompts.len() <= usize::from(prompted), "{call} {nth}");
        if let Some((_, claim)) = other {
            let (_handle, inbox) = inbox();
            let report = run_turn(bench.ports(), &bench.config(), claim, inbox).await;
            assert!(matches!(report, TurnReport::Settled { state: TaskState::Completed, .. }), "{report:?}");
            assert_complete(&bench, &bench.record(task.id).await);
            bench.assert_nothing_left();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_only_the_record_knows_of_wins() {
    for (i, (call, nth)) in WRITES.into_iter().enumerate().take(WRITES.len() - 1) {
        let bench = Bench::new().await;
        bench.faults.plant_from("renew", 1, Fault::Unavailable);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        let gate = bench.faults.hold(call, nth, When::Before);
        let turn = bench.start(&node, task.id);
        gate.reached().await;
        // This node hears of it from its writes alone: no wake-up, no renewal.
        let stopped = bench.store.request_stop(task.id).await.expect("a store");
        assert_eq!(stopped, StopAnswer::Stopping);
        gate.open();
        bench.ended(turn).await;
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Cancelled, TerminalReason::Stopped);
        if i != START_FRAMES {
            assert_eq!(bench.agent.seen().prompts.len(), usize::from(i >= PROMPTED), "{call} {nth}");
        }
        assert_eq!(record.kinds().last(), Some(&CheckpointKind::Final), "{call} {nth}");
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_without_a_checkpoint_before_it_goes_on_and_says_so() {
    for (call, fault) in
        [("checkpoint", Fault::Failed), ("checkpoint", Fault::Panic), ("record_checkpoint", Fault::Failed)]
    {
        let bench = Bench::new().await;
        bench.faults.plant(call, 1..=1, When::Before, fault);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        bench.run(&node, task.id).await;
        let record = bench.record(task.id).await;
        assert_complete(&bench, &record);
        assert!(record.has_notice(NoticeCode::NoCheckpoint), "{call}: {:?}", record.names());
        assert_eq!(record.kinds(), KINDS[1..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worktree_that_cannot_be_made_fails_the_task() {
    for (fault, when) in [
        (Fault::Failed, When::Before),
        (Fault::Failed, When::After),
        (Fault::Panic, When::Before),
        (Fault::Panic, When::After),
    ] {
        let bench = Bench::new().await;
        bench.faults.plant("prepare", 1..=1, when, fault);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        bench.run(&node, task.id).await;
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Failed, TerminalReason::NoWorktree);
        assert_eq!(bench.agent.seen().prompts, Vec::<String>::new());
        bench.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_computed_fails_the_task_and_keeps_the_worktree() {
    for (call, nth, fault) in
        [("collect", 1, Fault::Failed), ("collect", 1, Fault::Panic), ("record_checkpoint", 2, Fault::Failed)]
    {
        let bench = Bench::new().await;
        bench.faults.plant(call, nth..=nth, When::Before, fault);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        bench.run(&node, task.id).await;
        assert_kept(&bench, &bench.record(task.id).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_takes_too_long_fails_the_task_and_keeps_the_worktree() {
    let mut bench = Bench::new().await;
    bench.limits.collect = std::time::Duration::from_millis(50);
    let gate = bench.faults.hold("collect", 1, When::Before);
    let settled = bench.faults.hold("settle", 1, When::After);
    let (node, task) = (bench.node().await, bench.task(WORK).await);
    let turn = bench.start(&node, task.id);
    settled.reached().await;
    // The end was written while the change was still being computed.
    assert_kept(&bench, &bench.record(task.id).await);
    gate.open();
    settled.open();
    bench.ended(turn).await;
    assert_kept(&bench, &bench.record(task.id).await);
}

/// Checks SPEC T14's end of a turn whose change could not be computed.
fn assert_kept(bench: &Bench, record: &Record) {
    record.assert_ended(TaskState::Failed, TerminalReason::DiffFailed);
    assert_eq!(record.streamed(), "one two", "the text is settled all the same");
    let summary = record.task.summary.as_deref().unwrap_or_default();
    assert!(summary.starts_with("could not compute the changes: "), "{summary}");
    let kept = bench.machine.worktrees().into_iter().find(|path| path.join("made.txt").exists());
    let kept = kept.expect("the worktree is kept");
    assert!(summary.contains(&*kept.to_string_lossy()), "{summary} does not name {}", kept.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worktree_that_cannot_be_removed_fails_no_task() {
    for (when, fault) in
        [(When::Before, Fault::Failed), (When::After, Fault::Failed), (When::Before, Fault::Panic)]
    {
        let bench = Bench::new().await;
        bench.faults.plant("release", 1..=1, when, fault);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        bench.run(&node, task.id).await;
        assert_complete(&bench, &bench.record(task.id).await);
        assert_eq!(bench.machine.worktrees().is_empty(), when == When::After);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_panics_delays_and_loses_nothing() {
    for nth in 1..=3 {
        let bench = Bench::new().await;
        bench.faults.plant("publish", nth..=nth, When::Before, Fault::Panic);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        bench.run(&node, task.id).await;
        let record = bench.record(task.id).await;
        record.assert_ended(TaskState::Completed, TerminalReason::Completed);
        assert_eq!((record.streamed().as_str(), record.changes.len()), ("one two", 1));
        bench.assert_nothing_left();
    }
}

/// Nothing of such a task has gone out, so a store that is broken for a while is no reason for it to fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_cannot_be_recorded_leaves_the_task_to_recovery() {
    for fault in [Fault::Failed, Fault::Panic] {
        let bench = Bench::new().await;
        bench.faults.plant("record_route", 1..=1, When::Before, fault);
        let (node, task) = (bench.node().await, bench.task(WORK).await);
        assert_eq!(bench.run(&node, task.id).await, Some(TurnReport::Abandoned), "{fault:?}");
        drop(node);
        recover_and_go_on(&bench, &task, false, "record_route").await;
    }
}

/// An agent may name its conversation anew while it works, and just before it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_name_of_a_conversation_is_recorded_before_the_end() {
    let bench = Bench::new().await;
    let named = |name: &str| Step::Say(vec![AgentUpdate::Conversation(name.into())]);
    bench.agent.script("renames", &[named("second"), named("third"), Step::End(EndedHow::Completed)]);
    let task = bench.task("renames").await;
    let (_, claim) = bench.claim(task.id).await;
    let key = claim.key();
    let second = bench.faults.hold("record_agent_session", 2, When::Before);
    let recorded = bench.faults.hold("record_agent_session", 2, When::After);
    let settling = bench.faults.hold("settle", 1, When::Before);
    let (_handle, inbox) = inbox();
    let config = bench.config();
    let looked_at = async {
        second.reached().await;
        // All but the end is recorded.
        bench.faults.until_made("record_checkpoint", 2).await;
        second.open();
        recorded.reached().await;
        recorded.open();
        settling.reached().await;
        let worktree = bench.record(task.id).await.checkpoints[0].worktree.clone();
        let found = bench.store.agent_session(&key, Lineage::Chat, &worktree).await.expect("a store");
        settling.open();
        found.map(|(conversation, _)| conversation.id)
    };
    let (report, found) = tokio::join!(run_turn(bench.ports(), &config, claim, inbox), looked_at);
    assert_eq!(found.as_deref(), Some("third"));
    assert!(matches!(report, TurnReport::Settled { state: TaskState::Completed, .. }), "{report:?}");
}
