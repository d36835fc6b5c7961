//! Order, exclusivity and claims (SPEC D2, D3, D4).

use std::collections::HashSet;

use dispatch_core::{
    ids::TaskId,
    ports::{ChangeVerdict, ClaimRequest, WriteAnswer},
    task::TaskState,
};

use super::{
    kit::{Kit, a_node},
    subject::StoreSubject,
};

/// SPEC D2: across sessions the oldest first.
pub async fn a_claim_takes_the_oldest_first(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let mut wanted = Vec::new();
    for _ in 0..5 {
        wanted.push(kit.task().await.id);
    }
    let mut got: Vec<TaskId> = kit.claim(2).await.iter().map(|claim| claim.task.id).collect();
    got.extend(kit.claim(9).await.iter().map(|claim| claim.task.id));
    assert_eq!(got, wanted);
}

/// No more than there are slots for; none without a slot.
pub async fn a_claim_takes_at_most_the_free_slots(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    for _ in 0..3 {
        kit.task().await;
    }
    assert_eq!(kit.claim(0).await.len(), 0);
    assert_eq!(kit.claim(2).await.len(), 2);
    assert_eq!(kit.claim(2).await.len(), 1);
    assert_eq!(kit.claim(2).await.len(), 0);
}

/// `only` takes that task and no other, and nothing while that one is not claimable.
pub async fn a_claim_of_one_takes_just_that_one(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (older, wanted) = (kit.task().await, kit.task().await);
    let behind = kit.task_in(wanted.session).await;
    assert!(kit.claim_only(behind.id).await.is_none());
    assert_eq!(kit.claim_only(wanted.id).await.unwrap().task.id, wanted.id);
    assert!(kit.claim_only(wanted.id).await.is_none());
    assert_eq!(kit.reread(older.id).await.state, TaskState::Pending);
}

/// A claim shows the task as it now stands, and where its work is (SPEC T2).
pub async fn a_claimed_task_is_running_with_its_start_time(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    let claim = kit.claim(1).await.pop().unwrap();
    assert_eq!(claim.project_path, kit.project.path);
    assert_eq!(claim.task, kit.reread(task.id).await);
    assert_eq!((claim.task.state, claim.task.attempt), (TaskState::Running, 1));
    assert_eq!(claim.task.epoch, Some(claim.epoch));
    assert!(claim.task.started_at.unwrap() >= task.created_at);
    assert_eq!(kit.view.store.running_epoch(task.id).await.unwrap(), Some(claim.epoch));
}

/// Epochs only ever grow, whoever claims.
pub async fn every_claim_has_a_greater_epoch(subject: &dyn StoreSubject) {
    let (one, two) = (Kit::new(subject).await, Kit::new(subject).await);
    let mut last = None;
    for kit in [&one, &two, &one] {
        let claim = kit.claim_only(kit.task().await.id).await.unwrap();
        assert!(Some(claim.epoch) > last);
        last = Some(claim.epoch);
        let again = kit.view.store.requeue(&claim.key(), &[]).await.unwrap();
        assert_eq!(again.0, WriteAnswer::Done);
        let claim = kit.claim_only(claim.task.id).await.unwrap();
        assert!(Some(claim.epoch) > last);
        assert_eq!(claim.task.attempt, 2);
        last = Some(claim.epoch);
    }
}

/// SPEC D3: at most one running turn per session, whoever asks.
pub async fn a_second_running_turn_of_a_session_is_refused(subject: &dyn StoreSubject) {
    let (one, two) = (Kit::new(subject).await, Kit::new(subject).await);
    let first = one.task().await;
    let second = one.task_in(first.session).await;
    assert!(one.claim_only(first.id).await.is_some());
    for kit in [&one, &two] {
        assert!(kit.claim(9).await.is_empty());
        assert!(kit.claim_only(second.id).await.is_none());
    }
}

/// SPEC D2: within a session the oldest first, always.
pub async fn a_session_goes_on_with_its_oldest_task(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.task().await;
    let mut wanted = vec![first.id];
    for _ in 0..3 {
        wanted.push(kit.task_in(first.session).await.id);
    }
    for task in wanted {
        let turn = kit.begin(task).await;
        assert!(kit.claim(9).await.is_empty(), "the others wait");
        kit.complete(&turn, ChangeVerdict::Leave).await;
    }
}

/// SPEC D4: a task is claimed once, whatever the interleaving.
pub async fn two_claimers_never_get_one_task(subject: &dyn StoreSubject) {
    const TASKS: usize = 60;
    let (one, two) = (Kit::new(subject).await, Kit::new(subject).await);
    for _ in 0..TASKS {
        one.task().await;
    }
    let all = async |kit: &Kit| {
        let mut got = Vec::new();
        loop {
            let claims = kit.claim(1).await;
            let Some(claim) = claims.into_iter().next() else { return got };
            got.push(claim.task.id);
        }
    };
    let (mut got, more) = tokio::join!(all(&one), all(&two));
    got.extend(more);
    assert_eq!(got.len(), TASKS);
    assert_eq!(got.into_iter().collect::<HashSet<_>>().len(), TASKS);
}

/// SPEC D2: a session with many waiting tasks does not delay another's.
pub async fn a_hot_session_delays_no_other(subject: &dyn StoreSubject) {
    const WAITING: usize = 2_000;
    let kit = Kit::new(subject).await;
    let hot = kit.task().await;
    for _ in 0..WAITING {
        kit.task_in(hot.session).await;
    }
    let other = kit.task().await;
    let claims = kit.claim(9).await;
    let got: Vec<TaskId> = claims.iter().map(|claim| claim.task.id).collect();
    assert_eq!(got, [hot.id, other.id]);
}

/// Nothing is claimed for a node that this process is not.
pub async fn nothing_is_claimed_on_a_strange_lease(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    kit.task().await;
    let strange = dispatch_core::ports::Lease { node: a_node().id, ttl: None };
    assert!(kit.view.store.claim(&strange, &ClaimRequest::any(1)).await.unwrap().is_empty());
    assert_eq!(kit.claim(1).await.len(), 1);
}
