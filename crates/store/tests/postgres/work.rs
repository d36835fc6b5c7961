//! Tasks and turns to test with.

use std::{future::Future, time::Duration};

use dispatch_core::{
    agent::Usage,
    conversation::MessageState,
    frame::FrameBody,
    ids::{MessageId, NodeId, TaskId},
    ports::{
        ChangeVerdict, ClaimRequest, Lease, NewProject, NodeInfo, Records, SettledMessage, Settlement, Store,
    },
    task::{Claim, Name, NewTask, PermissionPolicy, Task, TaskState, TerminalReason, TurnOptions},
};
use store::PostgresStore;

/// Generous: the machine may be slow.
pub const SOON: Duration = Duration::from_secs(60);

pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub async fn join(store: &PostgresStore) -> Lease {
    store.join(&NodeInfo { id: NodeId::from_random(random()), label: "test".into() }).await.unwrap()
}

pub async fn new_task(store: &PostgresStore) -> NewTask {
    let project = NewProject { name: "project".into(), path: Some("/somewhere".into()) };
    NewTask {
        id: TaskId::from_random(random()),
        project: store.ensure_project(project).await.unwrap().id,
        input: "do it".into(),
        options: TurnOptions { agent: Name::new("goose"), ..TurnOptions::default() },
        permissions: PermissionPolicy::Ask,
        session: None,
        chat: None,
        default_model: None,
        attended_by: None,
    }
}

pub async fn task(store: &PostgresStore) -> Task {
    let new = new_task(store).await;
    store.create_task(new).await.unwrap()
}

/// A claimed task whose message is begun.
pub async fn turn(store: &PostgresStore, lease: &Lease) -> (Claim, MessageId) {
    let task = task(store).await;
    let claim = store.claim(lease, &ClaimRequest::only(task.id)).await.unwrap().pop().unwrap();
    let fresh = MessageId::from_random(random());
    let (_, message) = store.begin_message(&claim.key(), fresh, None).await.unwrap();
    (claim, message)
}

pub fn completed(message: MessageId) -> Settlement {
    Settlement {
        state: TaskState::Completed,
        reason: TerminalReason::Completed,
        summary: Some("done".into()),
        cost: None,
        message: Some(SettledMessage {
            id: message,
            state: MessageState::Complete,
            content: "done".into(),
            content_truncated: false,
            reasoning: String::new(),
            reasoning_truncated: false,
            parts: vec![],
            usage: Usage::default(),
        }),
        change: ChangeVerdict::Leave,
        frames: vec![FrameBody::TaskState {
            state: TaskState::Completed,
            reason: Some(TerminalReason::Completed),
        }],
    }
}

/// Asks again until there is an answer.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}
