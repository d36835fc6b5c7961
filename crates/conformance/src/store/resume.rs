//! Going on with what was cut off (SPEC D6, D7).

use dispatch_core::{
    agent::{Cost, Usage},
    conversation::MessageState,
    frame::FrameBody,
    ids::TaskId,
    ports::{ChangeVerdict, RecordsError, Settlement, StopAnswer, WriteAnswer},
    task::{NewTask, TaskState, TerminalReason},
};

use super::{
    kit::{Kit, Running, cancelled, completed, names, random},
    subject::StoreSubject,
};

/// Lets a turn, whose prompt is out, be interrupted by the death of its process.
async fn interrupted(subject: &dyn StoreSubject, kit: &Kit, task: TaskId) -> Running {
    let dying = Kit::new(subject).await;
    let turn = dying.begin(task).await;
    dying.record_conversation(&turn, "before").await;
    dying.record_conversation(&turn, &format!("of {task}")).await;
    dying.view.store.record_prompt_sent(&turn.key).await.unwrap();
    dying.append(&turn, "so far").await;
    let cost = Some(Cost { amount: 0.25, currency: "USD".into() });
    let usage = FrameBody::Usage { usage: Usage { cost, ..Usage::default() } };
    dying.append_all(&turn, Some(turn.message), &[usage]).await;
    subject.die(dying.view).await;
    kit.view.store.recover().await.unwrap();
    turn
}

/// The conversation that a turn of a one-shot route goes on with.
async fn conversation(kit: &Kit, turn: &Running) -> Option<String> {
    kit.own_conversation(turn, "another worktree").await
}

/// Ends a turn as a shutdown does.
async fn shut_down(kit: &Kit, turn: &Running) {
    let end = Settlement { reason: TerminalReason::Shutdown, ..cancelled(turn) };
    assert_eq!(kit.view.store.settle(&turn.key, &end).await.unwrap().0, WriteAnswer::Done);
}

async fn refused(kit: &Kit, task: TaskId) {
    let before = kit.dump().await;
    let error = kit.view.records.resume_task(task).await.unwrap_err();
    assert!(matches!(error, RecordsError::Refused(_)), "{error}");
    assert_eq!(kit.dump().await, before);
}

/// An interrupted task is pending again, for an attempt with a new message and the agent's conversation.
pub async fn an_interrupted_task_is_resumed(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    let old = interrupted(subject, &kit, task.id).await;
    assert!(!old.claim.resumed);
    let resumed = kit.view.records.resume_task(task.id).await.unwrap();
    assert_eq!(resumed, kit.reread(task.id).await);
    assert_eq!((resumed.state, resumed.reason), (TaskState::Pending, None));
    assert_eq!((resumed.summary, resumed.finished_at, resumed.assistant_message), (None, None, None));
    let frames = kit.frames(task.session).await;
    let pending = FrameBody::TaskState { state: TaskState::Pending, reason: None };
    assert_eq!(frames.last().unwrap().body, pending);
    assert_eq!(kit.view.records.resume_task(task.id).await.unwrap(), kit.reread(task.id).await);

    let turn = kit.begin(task.id).await;
    assert!(turn.claim.resumed);
    assert_eq!(conversation(&kit, &turn).await, Some(format!("of {}", task.id)));
    assert_eq!(turn.claim.task.attempt, 2);
    assert_ne!(turn.message, old.message);
    assert_eq!(kit.view.records.resume_task(task.id).await.unwrap().state, TaskState::Running);
    kit.view.store.record_prompt_sent(&turn.key).await.unwrap();
    kit.complete(&turn, ChangeVerdict::Leave).await;
    let messages = kit.view.records.messages(task.chat).await.unwrap();
    let states: Vec<_> = messages.iter().map(|message| (message.state, message.content.as_str())).collect();
    let wanted = [(MessageState::Failed, "so far"), (MessageState::Complete, "done")];
    assert_eq!(states[1..], wanted);
}

/// A task that a shutdown cancelled is resumed, and what its attempts cost is added up.
pub async fn a_task_that_a_shutdown_cancelled_is_resumed(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.prompted().await;
    shut_down(&kit, &first).await;
    kit.view.records.resume_task(first.key.task).await.unwrap();
    let second = kit.begin(first.key.task).await;
    assert_eq!(conversation(&kit, &second).await, None, "its agent had told no id");
    kit.view.store.record_prompt_sent(&second.key).await.unwrap();
    assert_eq!(kit.view.store.settle(&second.key, &completed(&second)).await.unwrap().0, WriteAnswer::Done);
    let cost = Cost { amount: 0.5, currency: "USD".into() };
    assert_eq!(kit.reread(first.key.task).await.cost, Some(cost));
    let totals = kit.view.records.totals(kit.project.id).await.unwrap();
    assert_eq!((totals.tasks, totals.input_tokens, totals.output_tokens), (1, 20, 10));
}

/// It is the oldest of its session again: before those that wait, after the one that runs.
pub async fn a_resumed_task_is_the_oldest_of_its_session(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.prompted().await;
    let session = first.key.session;
    let (second, third) = (kit.task_in(session).await, kit.task_in(session).await);
    shut_down(&kit, &first).await;
    kit.view.records.resume_task(first.key.task).await.unwrap();
    assert!(kit.claim_only(second.id).await.is_none());
    let again = kit.begin(first.key.task).await;
    kit.view.store.record_prompt_sent(&again.key).await.unwrap();
    shut_down(&kit, &again).await;
    let turn = kit.begin(second.id).await;
    kit.view.records.resume_task(first.key.task).await.unwrap();
    assert!(kit.claim(9).await.is_empty(), "the second one runs");
    kit.complete(&turn, ChangeVerdict::Leave).await;
    let turn = kit.begin(first.key.task).await;
    assert!(kit.claim_only(third.id).await.is_none());
    kit.complete(&turn, ChangeVerdict::Leave).await;
    assert!(kit.claim_only(third.id).await.is_some());
}

/// Each task goes on with its own conversation, whatever another one of its chat has begun since.
pub async fn a_resumed_task_goes_on_with_its_own_conversation(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.task().await;
    interrupted(subject, &kit, first.id).await;
    let second = kit.task_in(first.session).await;
    assert_eq!(second.chat, first.chat);
    interrupted(subject, &kit, second.id).await;
    for task in [&first, &second] {
        kit.view.records.resume_task(task.id).await.unwrap();
        let turn = kit.begin(task.id).await;
        assert!(turn.claim.resumed);
        assert_eq!(conversation(&kit, &turn).await, Some(format!("of {}", task.id)));
        // Still, after an attempt that came to nothing.
        kit.view.store.requeue(&turn.key, &[]).await.unwrap();
        let turn = kit.begin(task.id).await;
        assert!(turn.claim.resumed);
        assert_eq!(conversation(&kit, &turn).await, Some(format!("of {}", task.id)));
        kit.complete(&turn, ChangeVerdict::Leave).await;
    }
}

/// A resumed task that is stopped while it waits keeps what its earlier attempts left, and nothing is told twice.
pub async fn a_resumed_task_may_be_stopped(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let task = kit.task().await;
    interrupted(subject, &kit, task.id).await;
    let cost = kit.reread(task.id).await.cost;
    assert_eq!(cost, Some(Cost { amount: 0.25, currency: "USD".into() }));
    kit.view.records.resume_task(task.id).await.unwrap();
    let messages = kit.view.records.messages(task.chat).await.unwrap();
    let told = kit.frames(task.session).await.len();
    assert_eq!(kit.view.store.request_stop(task.id).await.unwrap(), StopAnswer::Cancelled);
    let task = kit.reread(task.id).await;
    assert_eq!((task.state, task.reason), (TaskState::Cancelled, Some(TerminalReason::Stopped)));
    assert_eq!((task.cost, task.summary), (cost, None));
    assert_eq!(kit.view.records.messages(task.chat).await.unwrap(), messages);
    assert_eq!(names(&kit.frames(task.session).await[told..]), ["task_state"]);
    refused(&kit, task.id).await;
}

/// A task that was attended is anybody's once it is resumed.
pub async fn a_resumed_task_is_not_attended(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let new = NewTask { attended_by: Some(kit.lease.node), ..kit.new_task() };
    let task = kit.view.records.create_task(new).await.unwrap();
    let turn = kit.begin(task.id).await;
    kit.view.store.record_prompt_sent(&turn.key).await.unwrap();
    shut_down(&kit, &turn).await;
    assert!(!kit.view.records.resume_task(task.id).await.unwrap().attended);
    assert_eq!(other.claim(9).await.pop().unwrap().task.id, task.id);
}

/// What ended in another way stays so; a closed session or chat takes no attempt.
pub async fn what_was_not_cut_off_is_not_resumed(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (done, stopped) = (kit.running().await, kit.running().await);
    kit.complete(&done, ChangeVerdict::Leave).await;
    kit.view.store.settle(&stopped.key, &cancelled(&stopped)).await.unwrap();
    let (in_closed_session, in_closed_chat) = (kit.running().await, kit.running().await);
    for turn in [&in_closed_session, &in_closed_chat] {
        shut_down(&kit, turn).await;
    }
    kit.view.records.close_session(in_closed_session.key.session).await.unwrap();
    subject.close_chat(in_closed_chat.key.chat).await;
    for turn in [done, stopped, in_closed_session, in_closed_chat] {
        refused(&kit, turn.key.task).await;
    }
    let nobody = kit.view.records.resume_task(TaskId::from_random(random())).await.unwrap_err();
    assert!(matches!(nobody, RecordsError::NotFound { what: "task", .. }), "{nobody}");
}
