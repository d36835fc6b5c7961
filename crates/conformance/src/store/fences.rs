//! A write under an older epoch changes nothing (SPEC D5).

use dispatch_core::{
    agent::ToolCall,
    change::CheckpointKind,
    frame::FrameBody,
    ids::{Epoch, MessageId},
    ports::{AgentConversation, ChangeVerdict, WriteAnswer},
    routing::Route,
    task::TurnKey,
};

use super::{
    kit::{Kit, Running, a_request, checkpoint, completed, random},
    subject::StoreSubject,
};

/// Tries every write but a checkpoint under `key`, and expects each to be fenced off.
async fn all_fenced(kit: &Kit, turn: &Running, key: TurnKey) {
    let store = &kit.view.store;
    let before = kit.dump().await;
    assert_eq!(store.settle(&key, &completed(turn)).await.unwrap(), (WriteAnswer::Fenced, vec![]));
    let requeued = store.requeue(&key, &[FrameBody::delta("late")]).await.unwrap();
    assert_eq!(requeued, (WriteAnswer::Fenced, vec![]));
    assert_eq!(kit.dump().await, before);
    all_but_ends_fenced(kit, turn, key).await;
}

/// The same without the ends, of which the turn's own may be made again.
async fn all_but_ends_fenced(kit: &Kit, turn: &Running, key: TurnKey) {
    let store = &kit.view.store;
    let before = kit.dump().await;
    let request = a_request("late", ToolCall::default());
    let frames = [FrameBody::delta("late"), FrameBody::PermissionRequest { request, waits_s: Some(60) }];
    assert_eq!(store.record_route(&key, Route::Native).await.unwrap(), WriteAnswer::Fenced);
    let fresh = MessageId::from_random(random());
    assert_eq!(store.begin_message(&key, fresh, None).await.unwrap().0, WriteAnswer::Fenced);
    let late = AgentConversation { id: "late".into(), ..AgentConversation::default() };
    assert_eq!(store.record_agent_session(&key, &late, "w").await.unwrap(), WriteAnswer::Fenced);
    assert_eq!(store.record_prompt_sent(&key).await.unwrap(), WriteAnswer::Fenced);
    assert_eq!(store.append(&key, turn.batch(), Some(turn.message), &frames).await.unwrap(), None);
    assert_eq!(kit.dump().await, before);
}

/// Another attempt runs: the older one's writes change nothing.
pub async fn writes_of_an_older_epoch_change_nothing(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let old = kit.running().await;
    kit.view.store.requeue(&old.key, &[]).await.unwrap();
    kit.begin(old.key.task).await;
    all_fenced(&kit, &old, old.key).await;
    let before = kit.dump().await;
    let new = checkpoint(CheckpointKind::Before, "late", None);
    assert_eq!(kit.view.store.record_checkpoint(&old.key, new).await.unwrap(), WriteAnswer::Fenced);
    assert_eq!(kit.dump().await, before);
}

/// The task waits again: its last attempt's writes change nothing.
pub async fn writes_of_a_requeued_turn_change_nothing(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    kit.view.store.requeue(&turn.key, &[]).await.unwrap();
    let late = kit.view.store.settle(&turn.key, &completed(&turn)).await.unwrap();
    assert_eq!(late, (WriteAnswer::Fenced, vec![]));
    all_but_ends_fenced(&kit, &turn, turn.key).await;
}

/// The turn has ended: nothing of it follows (SPEC T13).
pub async fn writes_after_the_end_change_nothing(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    kit.complete(&turn, ChangeVerdict::Leave).await;
    let late = kit.view.store.requeue(&turn.key, &[FrameBody::delta("late")]).await.unwrap();
    assert_eq!(late, (WriteAnswer::Fenced, vec![]));
    all_but_ends_fenced(&kit, &turn, turn.key).await;
}

/// An epoch that never was, and a task that was never claimed.
pub async fn writes_of_a_made_up_epoch_change_nothing(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    all_fenced(&kit, &turn, TurnKey { epoch: Epoch(turn.key.epoch.0 + 1), ..turn.key }).await;
    let task = kit.task().await;
    let key = TurnKey { task: task.id, session: task.session, chat: task.chat, epoch: turn.key.epoch };
    all_fenced(&kit, &turn, key).await;
}
