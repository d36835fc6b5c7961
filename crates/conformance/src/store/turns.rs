//! What a turn writes while it runs (SPEC T2 to T6).

use dispatch_core::{
    change::CheckpointKind,
    conversation::{MessageState, Role},
    ids::MessageId,
    ports::{ChangeVerdict, WriteAnswer},
    routing::Route,
    task::Name,
};

use super::{
    kit::{Kit, checkpoint, random, snapshot},
    subject::StoreSubject,
};

/// The route of the first claim is kept by later attempts (SPEC 3).
pub async fn a_route_is_kept_by_later_attempts(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    for route in [Route::OneShotAcp, Route::WarmAcp] {
        let key = kit.claim_only(task.id).await.unwrap().key();
        assert_eq!(kit.view.store.record_route(&key, route).await.unwrap(), WriteAnswer::Done);
        assert_eq!(kit.reread(task.id).await.route, Some(Route::OneShotAcp));
        kit.view.store.requeue(&key, &[]).await.unwrap();
    }
    assert_eq!(kit.claim_only(task.id).await.unwrap().task.route, Some(Route::OneShotAcp));
}

/// SPEC T5: an empty assistant message, `streaming`, with the task's model.
pub async fn a_message_begins_empty(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    let key = kit.claim_only(task.id).await.unwrap().key();
    let fresh = MessageId::from_random(random());
    let model = Name::new("qwen3");
    let begun = kit.view.store.begin_message(&key, fresh, model.as_ref()).await.unwrap();
    assert_eq!(begun, (WriteAnswer::Done, fresh));
    assert_eq!(kit.reread(task.id).await.assistant_message, Some(fresh));
    let message = kit.answer(&task).await;
    assert_eq!((message.role, message.state), (Role::Assistant, MessageState::Streaming));
    assert_eq!((message.model, message.task, message.chat), (model, task.id, task.chat));
    assert_eq!((message.content.as_str(), message.parts.len()), ("", 0));
    assert_eq!(message.finished_at, None);
}

/// SPEC D6: a message that an earlier attempt left empty is used again, also by the same attempt.
pub async fn an_empty_message_is_used_again(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.running().await;
    let again = kit.view.store.begin_message(&first.key, MessageId::from_random(random()), None).await;
    assert_eq!(again.unwrap(), (WriteAnswer::Done, first.message));
    kit.view.store.requeue(&first.key, &[]).await.unwrap();
    let second = kit.begin(first.key.task).await;
    assert_eq!(second.message, first.message);
    assert_eq!(kit.view.records.messages(first.key.chat).await.unwrap().len(), 2);
}

/// The same snapshot twice is recorded once; another one beside it.
pub async fn a_snapshot_is_recorded_once(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    for name in ["a", "a", "b"] {
        let new = checkpoint(CheckpointKind::Before, name, Some(turn.message));
        assert_eq!(kit.view.store.record_checkpoint(&turn.key, new).await.unwrap(), WriteAnswer::Done);
    }
    let found = kit.view.records.checkpoints(turn.key.task).await.unwrap();
    assert_eq!(found.iter().map(|c| &c.snapshot).collect::<Vec<_>>(), [&snapshot("a"), &snapshot("b")]);
    let first = &found[0];
    assert_eq!((first.task, first.session), (turn.key.task, turn.key.session));
    assert_eq!((first.message, first.kind), (Some(turn.message), CheckpointKind::Before));
    assert_eq!(first.worktree, "worktree");
}

/// A worktree is removed after its turn was settled: the checkpoint before that needs the epoch alone.
pub async fn a_checkpoint_may_follow_the_end(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    kit.complete(&turn, ChangeVerdict::Leave).await;
    let new = checkpoint(CheckpointKind::Final, "end", Some(turn.message));
    assert_eq!(kit.view.store.record_checkpoint(&turn.key, new).await.unwrap(), WriteAnswer::Done);
    assert_eq!(kit.view.records.checkpoints(turn.key.task).await.unwrap().len(), 1);
}

/// The epoch can be asked for while the task runs, and only then.
pub async fn the_running_epoch_is_told(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    let epoch = async || kit.view.store.running_epoch(task.id).await.unwrap();
    assert_eq!(epoch().await, None);
    let turn = kit.begin(task.id).await;
    assert_eq!(epoch().await, Some(turn.key.epoch));
    kit.complete(&turn, ChangeVerdict::Leave).await;
    assert_eq!(epoch().await, None);
}

/// A turn that goes back to the queue waits in its place, and says so (SPEC D6, D7).
pub async fn a_requeued_task_waits_in_its_place(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let (behind, other) = (kit.task_in(turn.key.session).await, kit.task().await);
    let frame = dispatch_core::frame::FrameBody::TaskState {
        state: dispatch_core::task::TaskState::Pending,
        reason: None,
    };
    let (answer, frames) = kit.view.store.requeue(&turn.key, std::slice::from_ref(&frame)).await.unwrap();
    assert_eq!(answer, WriteAnswer::Done);
    assert_eq!(frames, kit.frames(turn.key.session).await);
    assert_eq!(frames[0].body, frame);
    assert!(kit.claim_only(behind.id).await.is_none());
    let order: Vec<_> = kit.claim(9).await.iter().map(|claim| claim.task.id).collect();
    assert_eq!(order, [turn.key.task, other.id]);
}

/// SPEC D4: a task whose prompt has gone out never goes back to the queue by itself.
pub async fn a_prompt_that_is_out_is_never_requeued(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.prompted().await;
    let before = kit.dump().await;
    assert!(kit.view.store.requeue(&turn.key, &[]).await.is_err());
    assert_eq!(kit.dump().await, before);
}
