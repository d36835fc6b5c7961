//! Many nodes at once, each as fast as it can.

use std::{collections::HashMap, sync::Arc};

use dispatch_core::{
    frame::FrameBody,
    ids::{MessageId, SessionId, TaskId},
    ports::{ClaimRequest, Lease, Records, Store, TaskFilter, WriteAnswer},
    task::{NewTask, Task, TaskState, TerminalReason},
};
use store::PostgresStore;

use crate::{PostgresSubject, work};

const NODES: usize = 4;
const SESSIONS: usize = 5;
const TASKS: usize = 120;

async fn run(store: &PostgresStore, lease: &Lease) -> usize {
    let claims = store.claim(lease, &ClaimRequest::any(4)).await.unwrap();
    for claim in &claims {
        let key = claim.key();
        let (answer, message) =
            store.begin_message(&key, MessageId::from_random(work::random()), None).await.unwrap();
        assert_eq!(answer, WriteAnswer::Done);
        store.append(&key, 1, Some(message), &[FrameBody::delta("text")]).await.unwrap().unwrap();
        let end = work::completed(message);
        if store.settle(&key, &end).await.unwrap().0 == WriteAnswer::StopFirst {
            let (state, reason) = (TaskState::Cancelled, TerminalReason::Stopped);
            let end = dispatch_core::ports::Settlement { state, reason, ..end };
            assert_eq!(store.settle(&key, &end).await.unwrap().0, WriteAnswer::Done);
        }
    }
    claims.len()
}

async fn node(store: Arc<PostgresStore>) {
    let lease = work::join(&store).await;
    let waiting = TaskFilter { state: Some(TaskState::Pending), ..TaskFilter::default() };
    loop {
        let ran = run(&store, &lease).await;
        assert!(store.recover().await.unwrap().is_empty(), "every node lives");
        if ran == 0 && store.tasks(&waiting).await.unwrap().is_empty() {
            return;
        }
    }
}

fn of(new: &NewTask, session: SessionId) -> NewTask {
    NewTask { id: TaskId::from_random(work::random()), session: Some(session), ..new.clone() }
}

/// SPEC D2, D3, D4: every task is run once or stopped, those of a session one after another in order, and
/// nobody waits for somebody who waits for him.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_nodes_runs_every_task_once_and_in_order() {
    let subject = PostgresSubject::fresh();
    let mut stores = Vec::new();
    for _ in 0..NODES {
        stores.push(subject.store().await);
    }
    let new = work::new_task(&stores[0]).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(work::task(&stores[0]).await.session);
    }
    let mut busy: Vec<_> = stores.iter().map(|store| tokio::spawn(node(store.clone()))).collect();
    for (store, first) in stores.iter().zip(0..) {
        let (store, sessions, new) = (store.clone(), sessions.clone(), new.clone());
        busy.push(tokio::spawn(async move {
            for number in first..first + TASKS / NODES {
                let task = store.create_task(of(&new, sessions[number % SESSIONS])).await.unwrap();
                if number % 3 == 0 {
                    store.request_stop(task.id).await.unwrap();
                }
            }
        }));
    }
    for one in busy {
        tokio::time::timeout(work::SOON, one).await.expect("it ends").unwrap();
    }
    // A node may have left before the last request came.
    node(stores[0].clone()).await;
    let tasks = stores[0].tasks(&TaskFilter::default()).await.unwrap();
    assert_eq!(tasks.len(), SESSIONS + TASKS);
    assert!(tasks.iter().all(|task| task.state.is_terminal() && task.attempt <= 1));
    let mut turns: HashMap<SessionId, Vec<&Task>> = HashMap::new();
    for task in tasks.iter().rev().filter(|task| task.attempt == 1) {
        turns.entry(task.session).or_default().push(task);
    }
    for turns in turns.values() {
        for two in turns.windows(2) {
            assert!(two[0].epoch < two[1].epoch && two[0].finished_at <= two[1].started_at);
        }
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(subject.database().sql(deadlocks).unwrap(), "0");
}
