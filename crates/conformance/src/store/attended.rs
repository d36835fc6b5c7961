//! Tasks whose user sits in front of the one process that may run them.

use dispatch_core::{
    conversation::MessageState,
    ids::NodeId,
    ports::{ClaimRequest, RecordsError, Recovered, RecoveredAs, WaitsFor, WriteAnswer},
    task::{NewTask, Task, TaskState, TerminalReason},
};

use super::{
    kit::{Kit, names, random},
    subject::StoreSubject,
};

async fn attended(kit: &Kit, by: NodeId) -> Task {
    let new = NewTask { attended_by: Some(by), ..kit.new_task() };
    kit.view.records.create_task(new).await.unwrap()
}

async fn assert_abandoned(kit: &Kit, task: &Task) {
    let task = kit.reread(task.id).await;
    assert_eq!((task.state, task.reason), (TaskState::Cancelled, Some(TerminalReason::NodeLost)));
    assert!(task.finished_at.is_some() && !task.stop_requested);
}

/// Its own node claims it, by name; nobody else, and nobody by chance.
pub async fn an_attended_task_is_its_own_nodes(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let task = attended(&kit, kit.lease.node).await;
    assert!(task.attended && !kit.task().await.attended);
    assert_eq!(kit.view.records.waits_for(task.id).await.unwrap(), WaitsFor::ItsProcess);
    assert!(other.claim_only(task.id).await.is_none());
    for kit in [&kit, &other] {
        assert!(kit.claim(9).await.iter().all(|claim| claim.task.id != task.id));
    }
    let claim = kit.claim_only(task.id).await.unwrap();
    assert!(claim.task.attended);
    let lost = kit.view.store.claim(&kit.lease, &ClaimRequest::any(9)).await.unwrap();
    assert!(lost.iter().all(|claim| claim.task.id != task.id), "still only by name");
    assert!(kit.view.store.requeue(&claim.key(), &[]).await.unwrap().0 == WriteAnswer::Done);
    assert!(other.claim_only(task.id).await.is_none());
}

/// Nobody would ever run it.
pub async fn an_attended_task_of_no_live_node_is_refused(subject: &dyn StoreSubject) {
    let (kit, left, dying) = (Kit::new(subject).await, Kit::new(subject).await, Kit::new(subject).await);
    left.view.store.leave(&left.lease).await.unwrap();
    subject.die(dying.view).await;
    let before = kit.dump().await;
    for by in [NodeId::from_random(random()), left.lease.node, dying.lease.node] {
        let new = NewTask { attended_by: Some(by), ..kit.new_task() };
        let error = kit.view.records.create_task(new).await.unwrap_err();
        assert!(matches!(error, RecordsError::Refused(_)), "{error}");
    }
    assert_eq!(kit.dump().await, before);
}

/// Its process died before it was claimed: cancelled, and its session goes on.
pub async fn an_attended_task_ends_with_its_node(subject: &dyn StoreSubject) {
    let (kit, dying) = (Kit::new(subject).await, Kit::new(subject).await);
    let (task, mine) = (attended(&kit, dying.lease.node).await, attended(&kit, kit.lease.node).await);
    let next = kit.task_in(task.session).await;
    assert_eq!(kit.view.store.recover().await.unwrap(), []);
    subject.die(dying.view).await;
    let cancelled = vec![Recovered { task: task.id, became: RecoveredAs::Cancelled }];
    assert_eq!(kit.view.store.recover().await.unwrap(), cancelled);
    assert_eq!(kit.view.store.recover().await.unwrap(), []);
    assert_abandoned(&kit, &task).await;
    assert_eq!(names(&kit.frames(task.session).await), ["task_state"]);
    assert!(kit.claim_only(next.id).await.is_some() && kit.claim_only(mine.id).await.is_some());
}

/// Its process leaves: cancelled at once, without a recovery.
pub async fn an_attended_task_ends_as_its_node_leaves(subject: &dyn StoreSubject) {
    let (kit, leaving) = (Kit::new(subject).await, Kit::new(subject).await);
    let task = attended(&kit, leaving.lease.node).await;
    let requeued = attended(&kit, leaving.lease.node).await;
    let key = leaving.claim_only(requeued.id).await.unwrap().key();
    leaving.view.store.requeue(&key, &[]).await.unwrap();
    leaving.view.store.leave(&leaving.lease).await.unwrap();
    for task in [&task, &requeued] {
        assert_abandoned(&kit, task).await;
    }
    assert_eq!(kit.view.store.recover().await.unwrap(), []);
}

/// Its process died while it ran: without its prompt out it is cancelled, as nobody waits for it; otherwise
/// it is interrupted like any other.
pub async fn an_attended_turn_of_a_dead_node_is_not_pending_again(subject: &dyn StoreSubject) {
    let (kit, dying) = (Kit::new(subject).await, Kit::new(subject).await);
    let (unsent, sent) = (attended(&kit, dying.lease.node).await, attended(&kit, dying.lease.node).await);
    dying.begin(unsent.id).await;
    let turn = dying.begin(sent.id).await;
    dying.view.store.record_prompt_sent(&turn.key).await.unwrap();
    subject.die(dying.view).await;
    let recovered = kit.view.store.recover().await.unwrap();
    let became = |task: &Task, became| Recovered { task: task.id, became };
    let wanted = [became(&unsent, RecoveredAs::Cancelled), became(&sent, RecoveredAs::Interrupted)];
    assert_eq!(recovered, wanted);
    assert_abandoned(&kit, &unsent).await;
    assert_eq!(kit.answer(&unsent).await.state, MessageState::Cancelled);
}
