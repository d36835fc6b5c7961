//! A turn's end (SPEC T10, T13).

use dispatch_core::{
    agent::{Cost, ToolCall},
    change::ChangeState,
    conversation::{MessageState, Part},
    frame::FrameBody,
    ids::MessageId,
    ports::{ChangeFilter, ChangeVerdict, SettledMessage, Settlement, WriteAnswer},
    routing::ChangeUse,
    task::TaskState,
};

use super::{
    kit::{Kit, change, completed, names, random},
    subject::StoreSubject,
};

/// Everything at once: message with its parts, task, change, and the last frames in order.
pub async fn settling_writes_everything(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.prompted().await;
    kit.append(&turn, "done").await;
    let wanted = completed(&turn);
    let new = change(ChangeUse::Append, "a", &["file"]);
    let frames = kit.complete(&turn, ChangeVerdict::Queue(Box::new(new.clone()))).await;
    assert_eq!(names(&frames), ["message_complete", "task_state"]);
    assert_eq!(frames, kit.frames(turn.key.session).await[1..]);
    assert!(frames.iter().all(|frame| frame.about.message_id == Some(turn.message)));

    let task = kit.reread(turn.key.task).await;
    assert_eq!((task.state, task.reason), (wanted.state, Some(wanted.reason)));
    assert_eq!((task.summary.clone(), task.cost.clone()), (wanted.summary, wanted.cost));
    assert!(task.finished_at >= task.started_at);

    let message = kit.answer(&task).await;
    let settled = wanted.message.unwrap();
    assert_eq!((message.state, &message.usage), (settled.state, &settled.usage));
    assert_eq!((&message.content, message.content_truncated), (&settled.content, false));
    assert_eq!((&message.reasoning, message.reasoning_truncated), (&settled.reasoning, true));
    assert_eq!(message.parts, settled.parts);
    assert!(message.finished_at.is_some());

    let changes = kit.view.records.changes(&ChangeFilter::default()).await.unwrap();
    assert_eq!((changes[0].id, changes[0].state), (new.id, ChangeState::Pending));
}

/// An end whose answer was lost is answered again, and changes nothing (SAFETY F7).
pub async fn settling_twice_changes_nothing(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    kit.append(&turn, "done").await;
    let frames = kit.complete(&turn, ChangeVerdict::Leave).await;
    kit.begin(kit.task_in(turn.key.session).await.id).await;
    let before = kit.dump().await;
    for _ in 0..2 {
        let again = kit.view.store.settle(&turn.key, &completed(&turn)).await.unwrap();
        assert_eq!(again, (WriteAnswer::Done, frames.clone()));
    }
    assert_eq!(kit.dump().await, before);
}

/// An end that cannot be written whole is not written at all.
pub async fn an_end_is_written_whole_or_not_at_all(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let before = kit.dump().await;
    let good = completed(&turn);
    let message = good
        .message
        .clone()
        .map(|message| SettledMessage { id: MessageId::from_random(random()), ..message });
    let change = ChangeVerdict::Queue(Box::new(change(ChangeUse::Supersede, "a", &[])));
    let strange = Settlement { message, change, ..good.clone() };
    assert!(kit.view.store.settle(&turn.key, &strange).await.is_err());
    let unfinished = Settlement { state: TaskState::Pending, ..good };
    assert!(kit.view.store.settle(&turn.key, &unfinished).await.is_err());
    assert_eq!(kit.dump().await, before);
    kit.complete(&turn, ChangeVerdict::Leave).await;
}

/// A turn that ended before its message was begun has none (SPEC T13).
pub async fn a_turn_may_end_without_a_message(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.running().await;
    let claim = kit.claim_only(kit.task().await.id).await.unwrap();
    let end = Settlement {
        message: None,
        frames: vec![FrameBody::TaskState { state: TaskState::Failed, reason: None }],
        state: TaskState::Failed,
        ..completed(&first)
    };
    assert_eq!(kit.view.store.settle(&claim.key(), &end).await.unwrap().0, WriteAnswer::Done);
    let task = kit.reread(claim.task.id).await;
    assert_eq!((task.state, task.assistant_message), (TaskState::Failed, None));
    assert_eq!(kit.view.records.messages(task.chat).await.unwrap().len(), 1);
}

/// No message stays `streaming`: one that an earlier attempt left empty ends with its task (SPEC 8).
pub async fn no_message_is_left_streaming(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.running().await;
    kit.view.store.requeue(&first.key, &[]).await.unwrap();
    let again = kit.claim_only(first.key.task).await.unwrap();
    let end = Settlement { message: None, state: TaskState::Failed, frames: vec![], ..completed(&first) };
    assert_eq!(kit.view.store.settle(&again.key(), &end).await.unwrap().0, WriteAnswer::Done);
    let message = kit.answer(&again.task).await;
    assert_eq!(message.state, MessageState::Failed);
    assert!(message.finished_at.is_some());
}

/// The complete text stays in the parts, however long (SPEC T15).
pub async fn long_parts_stay_whole(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let parts = vec![
        Part::Text { text: "ä\0".repeat(2 << 20), placeholder: false },
        Part::ToolCall { tool_call: ToolCall { id: "t".into(), ..ToolCall::default() } },
        Part::Error { reason: "stalled".into(), text: "why".into() },
    ];
    let mut end = completed(&turn);
    end.message.as_mut().unwrap().parts = parts.clone();
    kit.view.store.settle(&turn.key, &end).await.unwrap();
    assert!(kit.answer(&turn.claim.task).await.parts == parts);
}

/// Project totals are sums over turns, costs by currency (SPEC T10).
pub async fn totals_are_sums(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    for currency in ["USD", "EUR", "USD"] {
        let turn = kit.running().await;
        let cost = Some(Cost { amount: 0.25, currency: currency.into() });
        kit.view.store.settle(&turn.key, &Settlement { cost, ..completed(&turn) }).await.unwrap();
    }
    kit.task().await;
    let totals = kit.view.records.totals(kit.project.id).await.unwrap();
    assert_eq!((totals.tasks, totals.input_tokens, totals.output_tokens), (4, 30, 15));
    let cost = |amount, currency: &str| Cost { amount, currency: currency.into() };
    assert_eq!(totals.costs, [cost(0.25, "EUR"), cost(0.5, "USD")]);
}
