//! Rows as no build of ours writes them: set aside, so that the queue moves on (SAFETY A39).

use dispatch_core::{
    ids::{NodeId, TaskId},
    ports::{ClaimRequest, NewProject, NodeInfo, Records, SessionFilter, Store, TaskFilter},
    task::{NewTask, PermissionPolicy, Project, Task, TaskState, TerminalReason, TurnOptions},
};
use store::SqliteStore;

use crate::subject::SqliteSubject;

/// Statements that damage the task `?1`, and whether it can be mended.
const DAMAGES: [(&str, bool); 8] = [
    ("UPDATE task_input SET options = CAST(x'7bff' AS TEXT) WHERE task = ?1", true),
    ("UPDATE task_input SET permissions = 'always' WHERE task = ?1", true),
    ("DELETE FROM task_input WHERE task = ?1", true),
    ("UPDATE task SET route = CAST(x'ff00' AS TEXT) WHERE num = ?1", true),
    ("UPDATE task SET user_message = NULL WHERE num = ?1", true),
    ("UPDATE message SET id = 'short' WHERE task = ?1", true),
    ("DELETE FROM chat WHERE num = (SELECT chat FROM task WHERE num = ?1)", false),
    ("DELETE FROM session WHERE num = (SELECT session FROM task WHERE num = ?1)", false),
];

async fn task(store: &SqliteStore, project: &Project, number: u8) -> Task {
    let new = NewTask {
        id: TaskId::from_random([number; 16]),
        project: project.id,
        input: "do it".into(),
        options: TurnOptions::default(),
        permissions: PermissionPolicy::Ask,
        session: None,
        chat: None,
        default_model: None,
        attended_by: None,
    };
    store.create_task(new).await.unwrap()
}

#[tokio::test]
async fn damaged_rows_never_hold_up_the_queue() {
    let subject = SqliteSubject::fresh();
    let store = SqliteStore::open(&subject.data_dir()).unwrap();
    let node = NodeInfo { id: NodeId::from_random([1; 16]), label: "test".into() };
    let lease = store.join(&node).await.unwrap();
    let project = store.ensure_project(NewProject { name: "p".into(), path: None }).await.unwrap();
    let mut bad = Vec::new();
    for (number, (damage, mendable)) in (1..).zip(DAMAGES) {
        bad.push((task(&store, &project, number).await.id, damage, mendable));
    }
    let good = task(&store, &project, 100).await;
    let raw = subject.raw();
    raw.execute_batch("PRAGMA foreign_keys = off").unwrap();
    for (id, damage, _) in &bad {
        let num: i64 =
            raw.query_row("SELECT num FROM task WHERE id = ?1", [id.to_string()], |row| row.get(0)).unwrap();
        assert_eq!(raw.execute(damage, [num]).unwrap(), 1, "{damage}");
    }
    store.tasks(&TaskFilter::default()).await.unwrap();
    store.sessions(&SessionFilter::default()).await.unwrap();

    let claims = store.claim(&lease, &ClaimRequest::any(99)).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.task.id).collect::<Vec<_>>(), [good.id]);
    for (id, damage, mendable) in bad {
        let read = store.task(id).await;
        assert_eq!(read.is_ok(), mendable, "{damage}: {read:?}");
        if let Ok(task) = read {
            assert_eq!((task.state, task.reason), (TaskState::Failed, Some(TerminalReason::Internal)));
            assert!(task.summary.is_some_and(|why| why.contains("cannot be read")), "{damage}");
        }
    }
    assert_eq!(
        store.claim(&lease, &ClaimRequest { running: vec![good.id], ..ClaimRequest::any(9) }).await.unwrap(),
        []
    );
}
