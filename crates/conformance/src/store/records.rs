//! Looking things up.

use std::path::{Path, PathBuf};

use dispatch_core::{
    change::CheckpointKind,
    ids::{ChangeId, ChatId, CheckpointId, ProjectId, Seq, SessionId, TaskId},
    ports::{ChangeVerdict, Decision, NewProject, RecordsError, SettledChange},
    routing::ChangeUse,
};

use super::{
    kit::{Kit, change, checkpoint, random},
    subject::StoreSubject,
};

/// A project is made once a path; one without a path once a name.
pub async fn a_project_is_made_once(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let records = &kit.view.records;
    let new =
        |name: &str, path: Option<&str>| NewProject { name: name.into(), path: path.map(PathBuf::from) };
    let b = records.ensure_project(new("b", Some("/b"))).await.unwrap();
    let a = records.ensure_project(new("a", None)).await.unwrap();
    assert_eq!(records.ensure_project(new("renamed", Some("/b"))).await.unwrap(), b);
    assert_eq!(records.ensure_project(new("a", None)).await.unwrap(), a);
    assert_eq!(records.project(b.id).await.unwrap(), b);
    assert_eq!(records.project_at(Path::new("/b")).await.unwrap(), Some(b.clone()));
    assert_eq!(records.project_at(Path::new("/c")).await.unwrap(), None);
    assert_eq!(records.projects().await.unwrap(), [a, b, kit.project.clone()], "by name");
}

/// A path is bytes: it need not be UTF-8.
pub async fn a_projects_path_is_kept_byte_for_byte(subject: &dyn StoreSubject) {
    use std::os::unix::ffi::OsStrExt;
    let kit = Kit::new(subject).await;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"/a \xff\n'\"/b"));
    let new = NewProject { name: "odd".into(), path: Some(path.clone()) };
    let made = kit.view.records.ensure_project(new).await.unwrap();
    assert_eq!(made.path.as_ref(), Some(&path));
    assert_eq!(kit.view.records.project_at(&path).await.unwrap(), Some(made));
}

/// An id may be abbreviated as long as it fits one thing only, to four digits at least.
pub async fn an_id_may_be_abbreviated(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let records = &kit.view.records;
    let mut ids = Vec::new();
    for last in [0x01, 0x02] {
        let mut bytes = [0xab; 16];
        bytes[2] = last;
        let id = ChangeId::from_random(bytes);
        let turn = kit.running().await;
        let new = SettledChange { id, ..change(ChangeUse::Append, "a", &[]) };
        kit.complete(&turn, ChangeVerdict::Queue(Box::new(new))).await;
        ids.push(id);
    }
    assert_eq!(records.find_change("abab01").await.unwrap().id, ids[0]);
    assert_eq!(records.find_change("ABAB02").await.unwrap().id, ids[1]);
    assert_eq!(records.find_change(&ids[1].to_string()).await.unwrap().id, ids[1]);
    let ambiguous = records.find_change("abab").await.unwrap_err();
    assert!(matches!(ambiguous, RecordsError::Ambiguous { what: "change", .. }), "{ambiguous}");
    for nothing in ["abac", "zzzz", "ab%_", "abab01'", &"a".repeat(33)] {
        let missing = records.find_change(nothing).await.unwrap_err();
        assert!(matches!(missing, RecordsError::NotFound { what: "change", .. }), "{missing}");
    }
    for short in ["", "aba"] {
        let refused = records.find_change(short).await.unwrap_err();
        assert!(matches!(refused, RecordsError::Refused(_)), "{refused}");
    }
}

/// Tasks and checkpoints are found by an abbreviated id as well.
pub async fn tasks_and_checkpoints_are_found_by_prefix(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let new = checkpoint(CheckpointKind::Before, "a", None);
    let made = kit.view.records.add_checkpoint(turn.key.task, new.clone()).await.unwrap();
    assert_eq!(kit.view.records.add_checkpoint(turn.key.task, new).await.unwrap(), made);
    let task = turn.key.task.to_string();
    assert_eq!(kit.view.records.find_task(&task[..8]).await.unwrap().id, turn.key.task);
    let found = kit.view.records.find_checkpoint(&made.id.to_string()[..8]).await.unwrap();
    assert_eq!(found, made);
    assert_eq!(kit.view.records.checkpoint(made.id).await.unwrap(), made);
}

/// What is not there is an answer of its own.
pub async fn what_is_not_there_is_not_found(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let records = &kit.view.records;
    let bytes = random();
    let change = ChangeId::from_random(bytes);
    let errors = [
        records.project(ProjectId::from_random(bytes)).await.unwrap_err(),
        records.task(TaskId::from_random(bytes)).await.unwrap_err(),
        records.session(SessionId::from_random(bytes)).await.unwrap_err(),
        records.messages(ChatId::from_random(bytes)).await.unwrap_err(),
        records.frames(SessionId::from_random(bytes), Seq(0), 1).await.unwrap_err(),
        records.checkpoint(CheckpointId::from_random(bytes)).await.unwrap_err(),
        records.decide(change, Decision::Applied).await.unwrap_err(),
        records.totals(ProjectId::from_random(bytes)).await.unwrap_err(),
        records.find_task(&change.to_string()).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, RecordsError::NotFound { .. }), "{error}");
    }
}

/// Everything that was answered is there after the process died and another one opened the record.
pub async fn everything_survives_the_process(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.prompted().await;
    kit.append(&turn, "text").await;
    let new = change(ChangeUse::Supersede, "a", &["x"]);
    kit.complete(&turn, ChangeVerdict::Queue(Box::new(new))).await;
    kit.task_in(turn.key.session).await;
    let before = kit.dump().await;
    subject.die(kit.view).await;
    let again = Kit::new(subject).await;
    assert_eq!(again.dump().await, before);
    assert_eq!(again.claim(9).await.len(), 1);
}
