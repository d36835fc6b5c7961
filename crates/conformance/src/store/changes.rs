//! Pending changes (SPEC R1, R2, R3).

use dispatch_core::{
    change::{Change, ChangeState, CheckpointKind},
    frame::FrameBody,
    ids::{ChangeId, SessionId},
    ports::{
        ChangeFilter, ChangeVerdict, Decision, NewChange, NewCheckpoint, RecordsError, SettledChange,
        Settlement,
    },
    routing::ChangeUse,
};

use super::{
    kit::{Kit, change, checkpoint, completed},
    subject::StoreSubject,
};

/// Runs a turn of the session (a new one where none is given) that ends with this verdict.
async fn turn(kit: &Kit, session: Option<SessionId>, verdict: ChangeVerdict) -> SessionId {
    let task = match session {
        Some(session) => kit.task_in(session).await,
        None => kit.task().await,
    };
    let turn = kit.begin(task.id).await;
    kit.complete(&turn, verdict).await;
    task.session
}

fn queue(new: &SettledChange) -> ChangeVerdict {
    ChangeVerdict::Queue(Box::new(new.clone()))
}

async fn read(kit: &Kit, id: ChangeId) -> Change {
    kit.view.records.find_change(&id.to_string()).await.unwrap()
}

async fn states(kit: &Kit, ids: &[ChangeId]) -> Vec<ChangeState> {
    let mut states = Vec::new();
    for id in ids {
        states.push(read(kit, *id).await.state);
    }
    states
}

/// A change reads back as it was, with whom it belongs to.
pub async fn a_change_reads_back_as_it_was(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let running = kit.running().await;
    let new = SettledChange { from_failed_turn: true, ..change(ChangeUse::Append, "a", &["x", "y/z"]) };
    kit.complete(&running, queue(&new)).await;
    let found = read(&kit, new.id).await;
    assert_eq!(found.draft, new.draft);
    assert_eq!((found.project, found.session), (kit.project.id, running.key.session));
    assert_eq!((found.task, found.agent.as_str()), (running.key.task, "goose"));
    assert!(found.from_failed_turn && !found.rejected_before);
    assert_eq!((found.superseded_by, found.decided_at), (None, None));
}

/// R1: the newest replaces the pending one, which is kept; the frame names it.
pub async fn a_superseding_change_replaces_the_pending_one(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (a, b) = (change(ChangeUse::Supersede, "a", &["x"]), change(ChangeUse::Supersede, "b", &["x"]));
    let session = turn(&kit, None, queue(&a)).await;
    let running = kit.begin(kit.task_in(session).await.id).await;
    let frame = FrameBody::PendingChange {
        id: b.id,
        agent: "goose".into(),
        replaces: None,
        files: 1,
        additions: 2,
        deletions: 1,
    };
    let mut end = Settlement { change: queue(&b), ..completed(&running) };
    end.frames.insert(0, frame);
    let (_, frames) = kit.view.store.settle(&running.key, &end).await.unwrap();
    assert!(
        matches!(&frames[0].body, FrameBody::PendingChange { replaces: Some(id), .. } if *id == a.id),
        "{frames:?}"
    );
    assert!(kit.frames(session).await.contains(&frames[0]));
    let old = read(&kit, a.id).await;
    assert_eq!((old.state, old.superseded_by), (ChangeState::Superseded, Some(b.id)));
    assert_eq!(read(&kit, b.id).await.state, ChangeState::Pending);
}

/// R1: appended, applied and rejected ones, and other sessions', are never touched by it.
pub async fn superseding_touches_no_other_change(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let new = |mode, name| change(mode, name, &["x"]);
    let appended = new(ChangeUse::Append, "appended");
    let applied = new(ChangeUse::Supersede, "applied");
    let rejected = new(ChangeUse::Supersede, "rejected");
    let elsewhere = new(ChangeUse::Supersede, "elsewhere");
    turn(&kit, None, queue(&elsewhere)).await;
    let session = turn(&kit, None, queue(&appended)).await;
    for (change, decision) in [(&applied, Decision::Applied), (&rejected, Decision::Rejected)] {
        turn(&kit, Some(session), queue(change)).await;
        kit.view.records.decide(change.id, decision).await.unwrap();
    }
    turn(&kit, Some(session), queue(&new(ChangeUse::Supersede, "last"))).await;
    use ChangeState::{Applied, Pending, Rejected};
    let ids = [appended.id, applied.id, rejected.id, elsewhere.id];
    assert_eq!(states(&kit, &ids).await, [Pending, Applied, Rejected, Pending]);
}

/// R2: each task adds its own.
pub async fn appended_changes_stand_side_by_side(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let kept = change(ChangeUse::Supersede, "kept", &["x"]);
    let session = turn(&kit, None, queue(&kept)).await;
    let (a, b) = (change(ChangeUse::Append, "a", &["x"]), change(ChangeUse::Append, "b", &["x"]));
    turn(&kit, Some(session), queue(&a)).await;
    turn(&kit, Some(session), queue(&b)).await;
    assert_eq!(states(&kit, &[kept.id, a.id, b.id]).await, [ChangeState::Pending; 3]);
}

/// R1: a turn that changed nothing leaves the pending one as it was; one that went back to the base withdraws it.
pub async fn going_back_to_the_base_withdraws_the_pending_one(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (a, b) = (change(ChangeUse::Append, "a", &["x"]), change(ChangeUse::Supersede, "b", &["x"]));
    let session = turn(&kit, None, queue(&a)).await;
    turn(&kit, Some(session), queue(&b)).await;
    let before = read(&kit, b.id).await;
    turn(&kit, Some(session), ChangeVerdict::Leave).await;
    assert_eq!(read(&kit, b.id).await, before);
    turn(&kit, Some(session), ChangeVerdict::Withdraw).await;
    assert_eq!(states(&kit, &[a.id, b.id]).await, [ChangeState::Pending, ChangeState::Withdrawn]);
    turn(&kit, Some(session), ChangeVerdict::Withdraw).await;
}

/// R3: edits that were rejected stay in the worktree until a restore, and later changes of them say so.
pub async fn rejected_edits_are_marked_until_restored(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let new = |name, paths: &[&str]| change(ChangeUse::Supersede, name, paths);
    let rejected = new("rejected", &["x"]);
    let running = kit.running().await;
    let session = running.key.session;
    let after = checkpoint(CheckpointKind::After, "after", Some(running.message));
    kit.view.store.record_checkpoint(&running.key, after).await.unwrap();
    kit.complete(&running, queue(&rejected)).await;
    kit.view.records.decide(rejected.id, Decision::Rejected).await.unwrap();
    let marked = async |change: SettledChange| {
        turn(&kit, Some(session), queue(&change)).await;
        read(&kit, change.id).await.rejected_before
    };
    assert!(marked(new("again", &["w", "x"])).await);
    assert!(!marked(new("other files", &["y"])).await);
    assert!(!marked(change(ChangeUse::Append, "own worktree", &["x"])).await);
    let restore = checkpoint(CheckpointKind::PreRestore, "restore", None);
    let elsewhere = NewCheckpoint { worktree: "another".into(), ..restore.clone() };
    kit.view.records.add_checkpoint(running.key.task, elsewhere).await.unwrap();
    assert!(marked(new("not restored", &["x"])).await);
    kit.view.records.add_checkpoint(running.key.task, restore).await.unwrap();
    assert!(!marked(new("after", &["x"])).await);
}

/// R3: after an apply, its result is what the session's next change is compared with; neither other sessions'
/// changes nor those of per-task worktrees, nor what was not applied, count.
pub async fn an_applied_change_is_compared_with(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let new = |mode, name| change(mode, name, &["x"]);
    let elsewhere = new(ChangeUse::Supersede, "elsewhere");
    turn(&kit, None, queue(&elsewhere)).await;
    kit.view.records.decide(elsewhere.id, Decision::Applied).await.unwrap();
    let appended = new(ChangeUse::Append, "appended");
    let session = turn(&kit, None, queue(&appended)).await;
    kit.view.records.decide(appended.id, Decision::Applied).await.unwrap();

    let mut wanted = None;
    for (name, decision) in [
        ("first", Some(Decision::Applied)),
        ("rejected", Some(Decision::Rejected)),
        ("second", Some(Decision::Applied)),
        ("superseded", None),
        ("pending", None),
    ] {
        let running = kit.begin(kit.task_in(session).await.id).await;
        let compared = async || kit.view.store.compared_with(&running.key).await.unwrap();
        assert_eq!(compared().await, wanted, "before {name}");
        let new = new(ChangeUse::Supersede, name);
        kit.complete(&running, queue(&new)).await;
        assert_eq!(compared().await, None, "the turn is over");
        if let Some(decision) = decision {
            kit.view.records.decide(new.id, decision).await.unwrap();
        }
        if decision == Some(Decision::Applied) {
            wanted = Some(new.draft.result_tree);
        }
    }
    let running = kit.begin(kit.task_in(session).await.id).await;
    assert_eq!(kit.view.store.compared_with(&running.key).await.unwrap(), wanted);
}

/// R4: what waits for a decision when its session is closed can still be applied.
pub async fn a_closed_sessions_changes_stay_appliable(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (a, b) = (change(ChangeUse::Append, "a", &["x"]), change(ChangeUse::Supersede, "b", &["x"]));
    let session = turn(&kit, None, queue(&a)).await;
    turn(&kit, Some(session), queue(&b)).await;
    kit.view.records.close_session(session).await.unwrap();
    assert_eq!(states(&kit, &[a.id, b.id]).await, [ChangeState::Pending; 2]);
    for id in [a.id, b.id] {
        let decided = kit.view.records.decide(id, Decision::Applied).await.unwrap();
        assert_eq!(decided.state, ChangeState::Applied);
    }
}

/// A decision is made once; the same again changes nothing, another one is refused.
pub async fn a_decision_is_made_once(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    for (decision, other, state) in [
        (Decision::Applied, Decision::Rejected, ChangeState::Applied),
        (Decision::Rejected, Decision::Applied, ChangeState::Rejected),
    ] {
        let new = change(ChangeUse::Append, "a", &[]);
        turn(&kit, None, queue(&new)).await;
        let decided = kit.view.records.decide(new.id, decision).await.unwrap();
        assert_eq!(decided.state, state);
        assert!(decided.decided_at.is_some());
        assert_eq!(kit.view.records.decide(new.id, decision).await.unwrap(), decided);
        let refused = kit.view.records.decide(new.id, other).await.unwrap_err();
        assert!(matches!(refused, RecordsError::Refused(_)), "{refused}");
        assert_eq!(read(&kit, new.id).await, decided);
    }
}

/// What was superseded or withdrawn cannot be decided any more.
pub async fn a_retired_change_cannot_be_decided(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (a, b) = (change(ChangeUse::Supersede, "a", &[]), change(ChangeUse::Supersede, "b", &[]));
    let session = turn(&kit, None, queue(&a)).await;
    turn(&kit, Some(session), queue(&b)).await;
    turn(&kit, Some(session), ChangeVerdict::Withdraw).await;
    for id in [a.id, b.id] {
        for decision in [Decision::Applied, Decision::Rejected] {
            let refused = kit.view.records.decide(id, decision).await.unwrap_err();
            assert!(matches!(refused, RecordsError::Refused(_)), "{refused}");
        }
    }
}

/// SPEC S3: a change that a user makes of a checkpoint stands beside the others.
pub async fn a_users_change_stands_beside_the_others(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let running = kit.running().await;
    let pending = change(ChangeUse::Supersede, "pending", &["x"]);
    kit.complete(&running, queue(&pending)).await;
    let own = change(ChangeUse::Supersede, "own", &["x"]);
    let new = NewChange { task: running.key.task, change: own.clone() };
    let added = kit.view.records.add_change(new).await.unwrap();
    assert_eq!((added.id, added.session), (own.id, running.key.session));
    assert_eq!(states(&kit, &[pending.id, own.id]).await, [ChangeState::Pending; 2]);
}

/// Newest first, by project, task and state, at most as many as asked for.
pub async fn changes_are_listed_newest_first(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let mut ids = Vec::new();
    let mut tasks = Vec::new();
    for name in ["a", "b", "c"] {
        let new = change(ChangeUse::Append, name, &[]);
        let running = kit.running().await;
        kit.complete(&running, queue(&new)).await;
        ids.push(new.id);
        tasks.push(running.key.task);
    }
    kit.view.records.decide(ids[0], Decision::Applied).await.unwrap();
    let list = async |filter: ChangeFilter| -> Vec<ChangeId> {
        kit.view.records.changes(&filter).await.unwrap().iter().map(|change| change.id).collect()
    };
    let any = ChangeFilter::default;
    assert_eq!(list(any()).await, [ids[2], ids[1], ids[0]]);
    assert_eq!(list(ChangeFilter { limit: 1, ..any() }).await, [ids[2]]);
    assert_eq!(list(ChangeFilter { task: Some(tasks[1]), ..any() }).await, [ids[1]]);
    let pending = ChangeFilter { state: Some(ChangeState::Pending), ..any() };
    assert_eq!(list(pending).await, [ids[2], ids[1]]);
    let project = ChangeFilter { project: Some(kit.project.id), limit: 9, ..any() };
    assert_eq!(list(project).await.len(), 3);
    let nobody = dispatch_core::ids::ProjectId::from_random(super::kit::random());
    assert!(list(ChangeFilter { project: Some(nobody), ..any() }).await.is_empty());
}
