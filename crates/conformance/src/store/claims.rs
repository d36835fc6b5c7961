//! What a claim may take (SPEC D9), and what it hands out again.

use dispatch_core::{
    ids::TaskId,
    ports::{ClaimRequest, WriteAnswer},
    task::{Claim, Name, NewTask, Task, TurnOptions},
};

use super::{kit::Kit, subject::StoreSubject};

async fn task_for(kit: &Kit, agent: Option<&str>) -> Task {
    let options = TurnOptions { agent: agent.and_then(Name::new), ..TurnOptions::default() };
    kit.view.records.create_task(NewTask { options, ..kit.new_task() }).await.unwrap()
}

fn limited(free: usize, limits: &[(Option<&str>, usize)]) -> ClaimRequest {
    let limits = limits.iter().map(|(agent, limit)| (agent.and_then(Name::new), *limit)).collect();
    ClaimRequest { limits, ..ClaimRequest::any(free) }
}

fn ids(claims: &[Claim]) -> Vec<TaskId> {
    claims.iter().map(|claim| claim.task.id).collect()
}

/// A claim whose answer was lost is handed out again, as it was, before anything new.
pub async fn a_lost_claim_is_handed_out_again(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    for _ in 0..3 {
        kit.task().await;
    }
    let lost = kit.claim(2).await;
    let claim = async |free, running: &[TaskId]| {
        let request = ClaimRequest { running: running.to_vec(), ..ClaimRequest::any(free) };
        kit.view.store.claim(&kit.lease, &request).await.unwrap()
    };
    assert_eq!(claim(0, &[]).await, []);
    assert_eq!(claim(1, &[]).await, lost[..1]);
    assert_eq!(claim(2, &[]).await, lost);
    assert_eq!(claim(1, &ids(&lost[..1])).await, lost[1..]);
    let all = claim(9, &[]).await;
    assert_eq!((&all[..2], all.len()), (&lost[..], 3));
    assert_eq!(claim(9, &ids(&all)).await, []);

    let only = ClaimRequest::only(lost[1].task.id);
    assert_eq!(kit.view.store.claim(&kit.lease, &only).await.unwrap(), lost[1..]);
    let sent = kit.view.store.record_prompt_sent(&lost[0].key()).await.unwrap();
    assert_eq!(sent, WriteAnswer::Done);
    assert_eq!(ids(&claim(9, &[]).await), ids(&all[1..]), "a turn whose prompt is out was heard of");
}

/// Only the node that holds a claim is handed it out again.
pub async fn a_lost_claim_is_its_own_nodes(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = kit.running().await;
    for request in [ClaimRequest::any(9), ClaimRequest::only(turn.key.task)] {
        assert_eq!(other.view.store.claim(&other.lease, &request).await.unwrap(), []);
    }
}

/// An agent with a limit gets at most that many; the others' are the oldest first.
pub async fn a_limited_agent_gets_at_most_its_limit(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let mut tasks = Vec::new();
    for agent in [Some("goose"), None, Some("goose"), Some("qwen"), None, Some("qwen"), Some("goose")] {
        tasks.push(task_for(&kit, agent).await.id);
    }
    let of = |numbers: &[usize]| numbers.iter().map(|number| tasks[*number]).collect::<Vec<_>>();
    let first = kit.claim_as(limited(3, &[(Some("goose"), 1), (None, 0)])).await;
    assert_eq!(ids(&first), of(&[0, 3, 5]));
    let second = kit.claim_as(limited(9, &[(Some("goose"), 1), (None, 1), (Some("nobody"), 3)])).await;
    assert_eq!(ids(&second), of(&[1, 2]));
    let only = ClaimRequest { limits: limited(1, &[(None, 0)]).limits, ..ClaimRequest::only(tasks[4]) };
    assert_eq!(kit.claim_as(only).await, []);
    assert_eq!(ids(&kit.claim(9).await), of(&[4, 6]));
}

/// SPEC D9: many tasks of an agent without room delay no other.
pub async fn a_hot_agent_delays_no_other(subject: &dyn StoreSubject) {
    const WAITING: usize = 300;
    let kit = Kit::new(subject).await;
    for _ in 0..WAITING {
        task_for(&kit, Some("goose")).await;
    }
    let other = task_for(&kit, Some("qwen")).await;
    assert_eq!(ids(&kit.claim_as(limited(4, &[(Some("goose"), 0)])).await), [other.id]);
    assert_eq!(kit.claim_as(limited(4, &[(Some("goose"), 0)])).await, []);
}
