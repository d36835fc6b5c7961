//! Sessions as they stand, and their close (SPEC R4).

use dispatch_core::{
    frame::FrameBody,
    ids::{ProjectId, SessionId, TaskId},
    ports::{ChangeVerdict, NewProject, Orders, RecordsError, SessionFilter, WaitsFor, WriteAnswer},
    task::{NewTask, TaskState, TerminalReason},
};

use super::{
    kit::{Kit, cancelled, completed, random, stopped},
    subject::StoreSubject,
};

/// A session tells what it holds.
pub async fn a_session_tells_what_waits_and_runs(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    let view = async || kit.view.records.session(task.session).await.unwrap();
    assert_eq!((view().await.waiting, view().await.running), (1, None));
    kit.task_in(task.session).await;
    kit.task_in(task.session).await;
    assert_eq!((view().await.waiting, view().await.running), (3, None));
    let turn = kit.begin(task.id).await;
    assert_eq!((view().await.waiting, view().await.running), (2, Some(task.id)));
    kit.complete(&turn, ChangeVerdict::Leave).await;
    assert_eq!((view().await.waiting, view().await.running), (2, None));
}

/// Newest first, by project and whether they are open, at most as many as asked for; found by prefix.
pub async fn sessions_are_listed_newest_first(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let records = &kit.view.records;
    let (first, second) = (kit.task().await.session, kit.task().await.session);
    let other = NewProject { name: "other".into(), path: Some("/other".into()) };
    let other = records.ensure_project(other).await.unwrap().id;
    let third = NewTask { project: other, ..kit.new_task() };
    let third = records.create_task(third).await.unwrap().session;
    records.close_session(first).await.unwrap();
    let list = async |filter: SessionFilter| {
        let sessions = records.sessions(&filter).await.unwrap();
        sessions.into_iter().map(|session| session.id).collect::<Vec<_>>()
    };
    let any = SessionFilter::default;
    assert_eq!(list(any()).await, [third, second, first]);
    assert_eq!(list(SessionFilter { limit: 2, ..any() }).await, [third, second]);
    assert_eq!(list(SessionFilter { open: Some(true), ..any() }).await, [third, second]);
    assert_eq!(list(SessionFilter { open: Some(false), ..any() }).await, [first]);
    let here = SessionFilter { project: Some(kit.project.id), ..any() };
    assert_eq!(list(here.clone()).await, [second, first]);
    assert_eq!(list(SessionFilter { open: Some(true), ..here }).await, [second]);
    let nowhere = SessionFilter { project: Some(ProjectId::from_random(random())), ..any() };
    assert!(list(nowhere).await.is_empty());

    let listed = records.sessions(&any()).await.unwrap();
    for session in listed {
        assert_eq!(records.session(session.id).await.unwrap(), session);
        let prefix = &session.id.to_string()[..12];
        assert_eq!(records.find_session(prefix).await.unwrap(), session);
    }
    let missing = records.find_session(&SessionId::from_random(random()).to_string()).await.unwrap_err();
    assert!(matches!(missing, RecordsError::NotFound { what: "session", .. }), "{missing}");
}

/// Closing ends what waits, stops what runs, and says which; doing it again changes nothing.
pub async fn closing_a_session_stops_its_work(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let records = &kit.view.records;
    let turn = kit.prompted().await;
    let waiting = [kit.task_in(turn.key.session).await, kit.task_in(turn.key.session).await];
    let other = kit.task().await;
    let closed = records.close_session(turn.key.session).await.unwrap();
    assert_eq!((closed.open, closed.waiting, closed.running), (false, 0, Some(turn.key.task)));
    let mut told = Vec::new();
    for frame in kit.frames(turn.key.session).await {
        let cancelled =
            FrameBody::TaskState { state: TaskState::Cancelled, reason: Some(TerminalReason::Stopped) };
        assert_eq!(frame.body, cancelled);
        told.push(frame.about.task_id.unwrap());
    }
    told.sort();
    let mut wanted = waiting.map(|task| task.id);
    wanted.sort();
    assert_eq!(told, wanted);
    for task in wanted {
        let task = kit.reread(task).await;
        assert_eq!((task.state, task.reason), (TaskState::Cancelled, Some(TerminalReason::Stopped)));
    }
    assert!(kit.reread(turn.key.task).await.stop_requested);
    assert_eq!(kit.view.store.renew(&kit.lease).await.unwrap(), Some(stopped(&turn)));
    let before = kit.dump().await;
    assert_eq!(records.close_session(turn.key.session).await.unwrap(), closed);
    assert_eq!(kit.dump().await, before);

    let late = kit.view.store.settle(&turn.key, &completed(&turn)).await.unwrap().0;
    assert_eq!(late, WriteAnswer::StopFirst);
    kit.view.store.settle(&turn.key, &cancelled(&turn)).await.unwrap();
    assert_eq!(records.session(turn.key.session).await.unwrap().running, None);
    assert_eq!(kit.claim(9).await.pop().unwrap().task.id, other.id);
    let missing = records.close_session(SessionId::from_random(random())).await.unwrap_err();
    assert!(matches!(missing, RecordsError::NotFound { what: "session", .. }), "{missing}");
}

/// A closed session that is opened again takes tasks, and goes on with what it had; what was cancelled stays so.
pub async fn a_closed_session_is_opened_again(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let records = &kit.view.records;
    let turn = kit.prompted().await;
    let session = turn.key.session;
    let waiting = kit.task_in(session).await;
    let kept = super::warm::kept(Some(turn.key.chat), 1);
    kit.view.store.record_warm(&kit.lease, &[kept]).await.unwrap();
    records.close_session(session).await.unwrap();
    let early = records.reopen_session(session).await.unwrap_err();
    assert!(matches!(early, RecordsError::Refused(_)), "its turn is still being stopped: {early}");
    assert!(!records.session(session).await.unwrap().open);
    kit.view.store.settle(&turn.key, &cancelled(&turn)).await.unwrap();

    let opened = records.reopen_session(session).await.unwrap();
    assert_eq!(opened, records.session(session).await.unwrap());
    assert_eq!((opened.open, opened.waiting, opened.running), (true, 0, None));
    assert_eq!(kit.reread(waiting.id).await.state, TaskState::Cancelled);
    assert_eq!(
        kit.view.store.renew(&kit.lease).await.unwrap(),
        Some(Orders::default()),
        "the agent may be kept"
    );
    let next = kit.task_in(session).await;
    assert_eq!(next.chat, turn.key.chat);
    kit.begin(next.id).await;
    let before = kit.dump().await;
    assert!(records.reopen_session(session).await.unwrap().open);
    assert_eq!(kit.dump().await, before);
    let missing = records.reopen_session(SessionId::from_random(random())).await.unwrap_err();
    assert!(matches!(missing, RecordsError::NotFound { what: "session", .. }), "{missing}");
}

/// What a task waits for: those before it in its session, else a slot, else nothing.
pub async fn what_a_task_waits_for_is_told(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let waits_for = async |task: TaskId| kit.view.records.waits_for(task).await.unwrap();
    let first = kit.task().await;
    let (second, third) = (kit.task_in(first.session).await, kit.task_in(first.session).await);
    kit.task().await;
    assert_eq!(waits_for(first.id).await, WaitsFor::Slot);
    let turn = kit.begin(first.id).await;
    assert_eq!(waits_for(first.id).await, WaitsFor::Nothing);
    assert_eq!(waits_for(second.id).await, WaitsFor::Behind { head: first.id, ahead: 1 });
    assert_eq!(waits_for(third.id).await, WaitsFor::Behind { head: first.id, ahead: 2 });
    kit.complete(&turn, ChangeVerdict::Leave).await;
    assert_eq!(waits_for(first.id).await, WaitsFor::Nothing);
    assert_eq!(waits_for(second.id).await, WaitsFor::Slot);
    assert_eq!(waits_for(third.id).await, WaitsFor::Behind { head: second.id, ahead: 1 });
    let nobody = kit.view.records.waits_for(TaskId::from_random(random())).await.unwrap_err();
    assert!(matches!(nobody, RecordsError::NotFound { what: "task", .. }), "{nobody}");
}
