//! Wake-ups (SPEC D1): hints that something can be claimed or is to be stopped, between processes too.

use std::time::Duration;

use dispatch_core::{
    ports::{ChangeVerdict, Settlement},
    task::TerminalReason,
};

use super::{
    kit::{Ears, Kit, cancelled},
    subject::StoreSubject,
};

/// A new task, one behind another whose turn ends, and one that waits again.
pub async fn what_becomes_claimable_wakes_every_process(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let mut ears = Ears::new([&kit, &other]);
    let first = kit.task().await;
    ears.hear("a new task").await;

    kit.task_in(first.session).await;
    let turn = kit.begin(first.id).await;
    let mut ears = Ears::new([&kit, &other]);
    kit.complete(&turn, ChangeVerdict::Leave).await;
    ears.hear("the next of a session").await;

    let turn = kit.running().await;
    let mut ears = Ears::new([&kit, &other]);
    kit.view.store.requeue(&turn.key, &[]).await.unwrap();
    ears.hear("a requeued task").await;

    let behind = kit.task_in(turn.key.session).await;
    let mut ears = Ears::new([&kit, &other]);
    kit.view.store.request_stop(turn.key.task).await.unwrap();
    ears.hear("the next after a waiting one was cancelled").await;

    let turn = kit.begin(behind.id).await;
    let end = Settlement { reason: TerminalReason::Shutdown, ..cancelled(&turn) };
    kit.view.store.settle(&turn.key, &end).await.unwrap();
    let mut ears = Ears::new([&kit, &other]);
    kit.view.records.resume_task(behind.id).await.unwrap();
    ears.hear("a resumed task").await;
}

/// What recovery gives back.
pub async fn a_recovered_task_wakes_every_process(subject: &dyn StoreSubject) {
    let (kit, other, dying) = (Kit::new(subject).await, Kit::new(subject).await, Kit::new(subject).await);
    dying.running().await;
    subject.die(dying.view).await;
    let mut ears = Ears::new([&kit, &other]);
    kit.view.store.recover().await.unwrap();
    ears.hear("a recovered task").await;
}

/// A Stop of a running task, also one that a close accepts.
pub async fn an_accepted_stop_wakes_every_process(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let (one, two) = (kit.running().await, kit.running().await);
    let mut ears = Ears::new([&kit, &other]);
    other.view.store.request_stop(one.key.task).await.unwrap();
    ears.hear("a Stop").await;
    let mut ears = Ears::new([&kit, &other]);
    other.view.records.close_session(two.key.session).await.unwrap();
    ears.hear("a close").await;
}

/// Waiting may be given up at any time: the wake-up comes to whoever waits next.
pub async fn a_wake_up_is_not_lost_with_who_waited(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let mut ears = Ears::new([&kit, &other]);
    for _ in 0..3 {
        for ear in &mut ears.0 {
            let _ = tokio::time::timeout(Duration::ZERO, ear.next()).await;
        }
        kit.task().await;
        ears.hear("a task").await;
    }
}
