//! Stop (SPEC S1, S2).

use dispatch_core::{
    conversation::MessageState,
    frame::FrameBody,
    ids::TaskId,
    ports::{ChangeVerdict, StopAnswer, WriteAnswer},
    task::{TaskState, TerminalReason},
};

use super::{
    kit::{Kit, cancelled, completed, names, random},
    subject::StoreSubject,
};

/// A running task: marked, from anywhere, any number of times.
pub async fn stopping_a_running_task_marks_it(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = kit.running().await;
    for kit in [&kit, &other, &kit] {
        assert_eq!(kit.view.store.request_stop(turn.key.task).await.unwrap(), StopAnswer::Stopping);
    }
    let task = kit.reread(turn.key.task).await;
    assert_eq!((task.state, task.stop_requested), (TaskState::Running, true));
    assert_eq!(kit.frames(task.session).await, [], "the turn itself says how it ends");
}

/// A waiting task: cancelled at once, and said so once; repeating gets the same answer.
pub async fn stopping_a_waiting_task_cancels_it(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    for _ in 0..3 {
        assert_eq!(kit.view.store.request_stop(task.id).await.unwrap(), StopAnswer::Cancelled);
    }
    let task = kit.reread(task.id).await;
    assert_eq!((task.state, task.reason), (TaskState::Cancelled, Some(TerminalReason::Stopped)));
    assert!(task.stop_requested && task.finished_at.is_some());
    let frames = kit.frames(task.session).await;
    let body = FrameBody::TaskState { state: TaskState::Cancelled, reason: Some(TerminalReason::Stopped) };
    assert_eq!(frames.iter().map(|frame| &frame.body).collect::<Vec<_>>(), [&body]);
    assert!(kit.claim(9).await.is_empty());
}

/// Cancelling a waiting task lets those behind it go on, in order, and leaves the one before it alone.
pub async fn stopping_a_waiting_task_keeps_the_order(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.task().await;
    let (second, third) = (kit.task_in(first.session).await, kit.task_in(first.session).await);
    kit.view.store.request_stop(first.id).await.unwrap();
    let turn = kit.begin(second.id).await;
    kit.view.store.request_stop(third.id).await.unwrap();
    assert_eq!(kit.reread(second.id).await.state, TaskState::Running);
    kit.complete(&turn, ChangeVerdict::Leave).await;
    assert!(kit.claim(9).await.is_empty());
}

/// A task that waits again after an attempt keeps no `streaming` message behind when it is stopped.
pub async fn stopping_a_requeued_task_ends_its_message(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    kit.view.store.requeue(&turn.key, &[]).await.unwrap();
    assert_eq!(kit.view.store.request_stop(turn.key.task).await.unwrap(), StopAnswer::Cancelled);
    assert_eq!(kit.answer(&turn.claim.task).await.state, MessageState::Cancelled);
    let frames = kit.frames(turn.key.session).await;
    assert_eq!(names(&frames), ["message_complete", "task_state", "agent_status"]);
}

/// A task that has ended says how; there is none of that id.
pub async fn stopping_what_has_ended_changes_nothing(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    kit.complete(&turn, ChangeVerdict::Leave).await;
    let before = kit.dump().await;
    for _ in 0..2 {
        let answer = kit.view.store.request_stop(turn.key.task).await.unwrap();
        assert_eq!(answer, StopAnswer::AlreadyEnded(TaskState::Completed));
    }
    let nobody = TaskId::from_random(random());
    assert_eq!(kit.view.store.request_stop(nobody).await.unwrap(), StopAnswer::NotFound);
    assert_eq!(kit.dump().await, before);
}

/// SPEC S2: an accepted Stop stands. Nothing goes out, completes or goes back to the queue after it.
pub async fn an_accepted_stop_comes_first(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let store = &kit.view.store;
    store.request_stop(turn.key.task).await.unwrap();
    let before = kit.dump().await;
    assert_eq!(store.record_prompt_sent(&turn.key).await.unwrap(), WriteAnswer::StopFirst);
    let settled = store.settle(&turn.key, &completed(&turn)).await.unwrap();
    assert_eq!(settled, (WriteAnswer::StopFirst, vec![]));
    let requeued = store.requeue(&turn.key, &[FrameBody::delta("x")]).await.unwrap();
    assert_eq!(requeued, (WriteAnswer::StopFirst, vec![]));
    assert_eq!(kit.dump().await, before);
}

/// What is streamed between a Stop and the end is kept; then the turn ends cancelled.
pub async fn a_stopped_turn_ends_cancelled(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.prompted().await;
    let next = kit.task_in(turn.key.session).await;
    kit.view.store.request_stop(turn.key.task).await.unwrap();
    kit.append(&turn, "last words").await;
    let (answer, frames) = kit.view.store.settle(&turn.key, &cancelled(&turn)).await.unwrap();
    assert_eq!((answer, names(&frames)), (WriteAnswer::Done, vec!["task_state"]));
    let task = kit.reread(turn.key.task).await;
    assert_eq!((task.state, task.reason), (TaskState::Cancelled, Some(TerminalReason::Stopped)));
    assert_eq!(kit.answer(&task).await.state, MessageState::Cancelled);
    let answer = kit.view.store.request_stop(task.id).await.unwrap();
    assert_eq!(answer, StopAnswer::AlreadyEnded(TaskState::Cancelled));
    assert!(kit.claim_only(next.id).await.is_some());
}

/// Whichever commits first has decided: a Stop and an end race, and the record agrees with both answers.
pub async fn a_stop_and_an_end_race_fairly(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    for _ in 0..20 {
        let turn = kit.prompted().await;
        let end = completed(&turn);
        let (settled, stopped) = tokio::join!(
            kit.view.store.settle(&turn.key, &end),
            other.view.store.request_stop(turn.key.task)
        );
        let task = kit.reread(turn.key.task).await;
        match (settled.unwrap().0, stopped.unwrap()) {
            (WriteAnswer::Done, StopAnswer::AlreadyEnded(TaskState::Completed)) => {
                assert_eq!((task.state, task.stop_requested), (TaskState::Completed, false));
            }
            (WriteAnswer::StopFirst, StopAnswer::Stopping) => {
                assert_eq!((task.state, task.stop_requested), (TaskState::Running, true));
            }
            both => panic!("{both:?}"),
        }
    }
}
