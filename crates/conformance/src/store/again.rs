//! Calls that are made again because their answer was lost (SAFETY F7): done once, answered alike.

use dispatch_core::{
    frame::FrameBody,
    ports::{ChangeVerdict, NewChange, WriteAnswer},
    routing::ChangeUse,
    task::NewTask,
};

use super::{
    kit::{Kit, change},
    subject::StoreSubject,
};

/// A task is made once for an id, and shown as it stands to whoever asks again.
pub async fn a_task_is_made_once_for_an_id(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let new = kit.new_task();
    let made = kit.view.records.create_task(new.clone()).await.unwrap();
    assert_eq!(made.id, new.id);
    let before = kit.dump().await;
    assert_eq!(kit.view.records.create_task(new.clone()).await.unwrap(), made);
    assert_eq!(kit.dump().await, before);
    let turn = kit.begin(made.id).await;
    kit.complete(&turn, ChangeVerdict::Leave).await;
    kit.view.records.close_session(made.session).await.unwrap();
    let again = NewTask { session: Some(made.session), ..new };
    assert_eq!(kit.view.records.create_task(again).await.unwrap(), kit.reread(made.id).await);
}

/// The last append of a claim, made again, tells where its frames went; those of another claim are its own.
pub async fn an_append_is_made_once(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let append = async |key, batch, text: &str| {
        let frames = [FrameBody::delta(text), FrameBody::delta("more")];
        kit.view.store.append(&key, batch, None, &frames).await.unwrap().unwrap()
    };
    let first = append(turn.key, 1, "a").await;
    assert_eq!(append(turn.key, 1, "a").await, first);
    let second = append(turn.key, 2, "b").await;
    assert_eq!(second.first.0, 3);
    for _ in 0..3 {
        assert_eq!(append(turn.key, 2, "b").await, second);
    }
    kit.view.store.requeue(&turn.key, &[]).await.unwrap();
    let next = kit.begin(turn.key.task).await;
    assert_eq!(append(next.key, 1, "c").await.first.0, 5);
    let texts: Vec<_> = kit.frames(turn.key.session).await.into_iter().map(|frame| frame.body).collect();
    let wanted = ["a", "more", "b", "more", "c", "more"].map(FrameBody::delta);
    assert_eq!(texts, wanted);
}

/// An append that was overtaken is refused: it was given up and made again while it was still on its way.
pub async fn an_overtaken_append_is_refused(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let append = async |batch| kit.view.store.append(&turn.key, batch, None, &[FrameBody::delta("a")]).await;
    append(1).await.unwrap().unwrap();
    let second = append(2).await.unwrap().unwrap();
    assert_eq!(append(1).await.unwrap(), None);
    assert_eq!(append(2).await.unwrap(), Some(second));
    assert_eq!(kit.frames(turn.key.session).await.len(), 2);
}

/// An append made again is told where its frames went, also when its turn has ended meanwhile.
pub async fn an_append_is_answered_again_after_the_end(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let frames = [FrameBody::delta("a")];
    let append = async |batch| kit.view.store.append(&turn.key, batch, None, &frames).await.unwrap();
    let appended = append(1).await;
    assert!(appended.is_some());
    kit.view.store.requeue(&turn.key, &[]).await.unwrap();
    assert_eq!((append(1).await, append(2).await), (appended, None));
    kit.begin(turn.key.task).await;
    assert_eq!(append(1).await, appended);
    assert_eq!(kit.frames(turn.key.session).await.len(), 1);
}

/// A turn that went back to the queue is told so again, until another attempt runs.
pub async fn a_turn_is_requeued_once(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let frames = [FrameBody::delta("going back")];
    let requeued = kit.view.store.requeue(&turn.key, &frames).await.unwrap();
    assert_eq!((requeued.0, requeued.1.len()), (WriteAnswer::Done, 1));
    let before = kit.dump().await;
    assert_eq!(kit.view.store.requeue(&turn.key, &frames).await.unwrap(), requeued);
    assert_eq!(kit.dump().await, before);
    kit.begin(turn.key.task).await;
    assert_eq!(kit.view.store.requeue(&turn.key, &frames).await.unwrap().0, WriteAnswer::Fenced);
}

/// An end that recovery wrote is not the turn's own.
pub async fn an_end_by_recovery_is_not_the_turns_own(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (sent, unsent) = (kit.prompted().await, kit.running().await);
    kit.view.store.leave(&kit.lease).await.unwrap();
    assert_eq!(kit.view.store.recover().await.unwrap().len(), 2);
    let before = kit.dump().await;
    for turn in [&sent, &unsent] {
        let late = kit.view.store.settle(&turn.key, &super::kit::completed(turn)).await.unwrap();
        assert_eq!(late, (WriteAnswer::Fenced, vec![]));
        let late = kit.view.store.requeue(&turn.key, &[]).await.unwrap();
        assert_eq!(late, (WriteAnswer::Fenced, vec![]));
    }
    assert_eq!(kit.dump().await, before);
}

/// A user's change is recorded once for an id.
pub async fn a_users_change_is_made_once(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let new = NewChange { task: kit.task().await.id, change: change(ChangeUse::Append, "a", &["x"]) };
    let made = kit.view.records.add_change(new.clone()).await.unwrap();
    assert_eq!(kit.view.records.add_change(new).await.unwrap(), made);
}
