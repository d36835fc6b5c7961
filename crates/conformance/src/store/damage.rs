//! Rows that cannot be understood (SAFETY A39).

use dispatch_core::{
    conversation::MessageState,
    ids::Seq,
    ports::{ChangeFilter, ChangeVerdict, StopAnswer, TaskFilter},
    routing::ChangeUse,
    task::{TaskState, TerminalReason, TurnOptions},
};

use super::{
    kit::{Kit, change, names},
    subject::{Damage, StoreSubject},
};

/// A listing leaves a damaged row out and shows the others.
pub async fn listings_leave_damaged_rows_out(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let records = &kit.view.records;
    let (good, bad) = (kit.running().await, kit.running().await);
    let (kept, lost) = (change(ChangeUse::Append, "a", &[]), change(ChangeUse::Append, "b", &[]));
    for (turn, change) in [(&good, &kept), (&bad, &lost)] {
        kit.append(turn, "text").await;
        kit.complete(turn, ChangeVerdict::Queue(Box::new(change.clone()))).await;
    }
    subject.damage(Damage::TaskState(bad.key.task)).await;
    subject.damage(Damage::FrameBody(bad.key.session, Seq(1))).await;
    subject.damage(Damage::MessageParts(bad.message)).await;
    subject.damage(Damage::ChangeDraft(lost.id)).await;
    let tasks = records.tasks(&TaskFilter::default()).await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [good.key.task]);
    let changes = records.changes(&ChangeFilter::default()).await.unwrap();
    assert_eq!(changes.iter().map(|change| change.id).collect::<Vec<_>>(), [kept.id]);
    assert_eq!(records.messages(bad.key.chat).await.unwrap().len(), 1);
    assert_eq!(kit.frames(bad.key.session).await[0].seq, Seq(2));
    assert!(records.task(bad.key.task).await.is_err());
    assert!(records.find_change(&lost.id.to_string()).await.is_err());
}

/// A claim sets a damaged task aside, says what is wrong with it, and the queue moves on.
pub async fn a_damaged_task_is_set_aside(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let bad = kit.task().await;
    let next = kit.task_in(bad.session).await;
    let other = kit.task().await;
    subject.damage(Damage::TaskOptions(bad.id)).await;
    let claimed: Vec<_> = kit.claim(9).await.iter().map(|claim| claim.task.id).collect();
    assert_eq!(claimed, [next.id, other.id]);
    assert_eq!(names(&kit.frames(bad.session).await), ["task_state"]);
    let task = kit.reread(bad.id).await;
    assert_eq!((task.state, task.reason), (TaskState::Failed, Some(TerminalReason::Internal)));
    assert!(task.summary.unwrap().contains("options"), "it says what is wrong");
    assert_eq!((task.input, task.options), (bad.input, TurnOptions::default()));
    let frame = dispatch_core::frame::FrameBody::TaskState {
        state: TaskState::Failed,
        reason: Some(TerminalReason::Internal),
    };
    assert_eq!(kit.frames(bad.session).await[0].body, frame);
}

/// A turn whose frame log is damaged is recovered with what can be read of it.
pub async fn a_damaged_log_is_recovered_in_part(subject: &dyn StoreSubject) {
    let (kit, dying) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = dying.prompted().await;
    for text in ["a", "b", "c"] {
        dying.append(&turn, text).await;
    }
    subject.damage(Damage::FrameBody(turn.key.session, Seq(2))).await;
    subject.die(dying.view).await;
    kit.view.store.recover().await.unwrap();
    assert_eq!(kit.answer(&turn.claim.task).await.content, "ac");
}

/// A session whose head has a state that nobody knows goes on with its other tasks; recovery sets the head
/// aside, once.
pub async fn an_unknown_state_does_not_block_its_session(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let bad = kit.task().await;
    let waiting = kit.task_in(bad.session).await;
    subject.damage(Damage::TaskState(bad.id)).await;
    assert!(kit.view.records.task(bad.id).await.is_err());
    assert_eq!(kit.view.store.recover().await.unwrap(), []);
    let task = kit.reread(bad.id).await;
    assert_eq!((task.state, task.reason), (TaskState::Failed, Some(TerminalReason::Internal)));
    assert!(task.summary.is_some() && task.finished_at.is_some());
    assert!(kit.claim_only(waiting.id).await.is_some());
    let before = kit.dump().await;
    assert_eq!(kit.view.store.recover().await.unwrap(), []);
    assert_eq!(kit.dump().await, before);
}

/// A Stop of a task that cannot be understood ends it, and it reads afterwards.
pub async fn stopping_a_damaged_task_sets_it_aside(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (state, options) = (kit.task().await, kit.task().await);
    subject.damage(Damage::TaskState(state.id)).await;
    subject.damage(Damage::TaskOptions(options.id)).await;
    let stop = async |task| kit.view.store.request_stop(task).await.unwrap();
    for _ in 0..2 {
        assert_eq!(stop(state.id).await, StopAnswer::AlreadyEnded(TaskState::Failed));
        assert_eq!(stop(options.id).await, StopAnswer::Cancelled);
    }
    assert_eq!(kit.reread(state.id).await.state, TaskState::Failed);
    assert_eq!(kit.reread(options.id).await.state, TaskState::Cancelled);
}

/// A turn whose task was damaged under it is recovered all the same, and its task reads afterwards.
pub async fn a_damaged_turn_is_recovered(subject: &dyn StoreSubject) {
    let (kit, dying) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = dying.prompted().await;
    subject.damage(Damage::TaskOptions(turn.key.task)).await;
    subject.die(dying.view).await;
    assert_eq!(kit.view.store.recover().await.unwrap().len(), 1);
    assert_eq!(kit.reread(turn.key.task).await.state, TaskState::Interrupted);
    assert_eq!(kit.answer(&turn.claim.task).await.state, MessageState::Failed);
}
