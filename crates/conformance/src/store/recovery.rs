//! Turns of dead nodes (SPEC D6).

use dispatch_core::{
    agent::{Answer, ToolCall, ToolStatus, Usage},
    conversation::{MessageState, Part},
    frame::{AgentStatus, FrameBody, StatusReason},
    ports::{Recovered, RecoveredAs, WriteAnswer},
    task::{TaskState, TerminalReason},
};

use super::{
    kit::{Kit, Running, a_request, completed, gapless, names},
    subject::StoreSubject,
};

/// A process that lives, and one that dies when it is told to.
async fn two(subject: &dyn StoreSubject) -> (Kit, Kit) {
    (Kit::new(subject).await, Kit::new(subject).await)
}

async fn recovered(kit: &Kit) -> Vec<Recovered> {
    kit.view.store.recover().await.unwrap()
}

fn one(turn: &Running, became: RecoveredAs) -> Vec<Recovered> {
    vec![Recovered { task: turn.key.task, became }]
}

/// The prompt was not out: pending again, in its place, with the message that is still empty.
pub async fn an_unsent_turn_is_pending_again(subject: &dyn StoreSubject) {
    let (kit, dying) = two(subject).await;
    let turn = dying.running().await;
    let (behind, later) = (kit.task_in(turn.key.session).await, kit.task().await);
    subject.die(dying.view).await;
    assert_eq!(recovered(&kit).await, one(&turn, RecoveredAs::Pending));
    let task = kit.reread(turn.key.task).await;
    assert_eq!((task.state, task.reason), (TaskState::Pending, None));
    assert_eq!(kit.answer(&task).await.state, MessageState::Streaming);
    let frames = kit.frames(task.session).await;
    assert_eq!(names(&frames), ["task_state", "agent_status"]);
    let late = kit.view.store.append(&turn.key, turn.batch(), None, &[FrameBody::delta("late")]).await;
    assert_eq!(late.unwrap(), None);
    let order: Vec<_> = kit.claim(9).await.iter().map(|claim| claim.task.id).collect();
    assert_eq!(order, [task.id, later.id]);
    assert!(kit.claim_only(behind.id).await.is_none());
}

/// The prompt was out: interrupted, with everything streamed, and never run again by itself.
pub async fn a_sent_turn_is_interrupted(subject: &dyn StoreSubject) {
    let (kit, dying) = two(subject).await;
    let turn = dying.prompted().await;
    let streamed = [
        FrameBody::MessageStarted { role: dispatch_core::conversation::Role::Assistant },
        FrameBody::ReasoningDelta { content: "hm".into() },
        FrameBody::delta("so "),
        FrameBody::delta("far"),
        FrameBody::Usage { usage: Usage { output_tokens: Some(7), ..Usage::default() } },
    ];
    dying.append_all(&turn, Some(turn.message), &streamed).await;
    subject.die(dying.view).await;
    assert_eq!(recovered(&kit).await, one(&turn, RecoveredAs::Interrupted));
    let task = kit.reread(turn.key.task).await;
    assert_eq!((task.state, task.reason), (TaskState::Interrupted, Some(TerminalReason::NodeLost)));
    assert!(task.finished_at.is_some() && task.summary.is_some());

    let message = kit.answer(&task).await;
    assert_eq!(message.state, MessageState::Failed);
    assert_eq!((message.content.as_str(), message.reasoning.as_str()), ("so far", "hm"));
    assert_eq!(message.usage.output_tokens, Some(7));
    assert!(
        matches!(
            message.parts.as_slice(),
            [Part::Reasoning { .. }, Part::Text { text, .. }, Part::Error { .. }] if text == "so far"
        ),
        "{:?}",
        message.parts
    );

    let frames = kit.frames(task.session).await;
    assert!(gapless(&frames));
    assert_eq!(names(&frames[5..]), ["message_complete", "task_state", "agent_status"]);
    let status = FrameBody::AgentStatus {
        agent: "goose".into(),
        status: AgentStatus::Error,
        reason: StatusReason::Interrupted,
    };
    assert_eq!(frames.last().unwrap().body, status);
    assert!(kit.claim(9).await.is_empty());
    let late = kit.view.store.settle(&turn.key, &completed(&turn)).await.unwrap();
    assert_eq!(late.0, WriteAnswer::Fenced);
}

/// What the agent left open is closed: nobody else will.
pub async fn an_interrupted_turn_leaves_nothing_open(subject: &dyn StoreSubject) {
    let (kit, dying) = two(subject).await;
    let turn = dying.prompted().await;
    let tool_call = ToolCall { id: "t".into(), status: ToolStatus::InProgress, ..ToolCall::default() };
    let request = a_request("1", tool_call.clone());
    let streamed = [
        FrameBody::ToolCall { tool_call: tool_call.clone() },
        FrameBody::PermissionRequest { request, waits_s: Some(60) },
    ];
    dying.append_all(&turn, Some(turn.message), &streamed).await;
    subject.die(dying.view).await;
    recovered(&kit).await;
    let closed = ToolCall { status: ToolStatus::Cancelled, ..tool_call };
    let message = kit.answer(&turn.claim.task).await;
    assert_eq!(message.parts[0], Part::ToolCall { tool_call: closed.clone() });
    let frames = kit.frames(turn.key.session).await;
    assert_eq!(frames[2].body, FrameBody::ToolCall { tool_call: closed });
    let resolved = FrameBody::PermissionResolved { id: "1".into(), answer: Answer::Cancelled };
    assert_eq!(frames[3].body, resolved);
}

/// An accepted Stop makes it cancelled instead, whether the prompt was out or not.
pub async fn a_stopped_turn_is_cancelled(subject: &dyn StoreSubject) {
    let (kit, dying) = two(subject).await;
    let turns = [dying.running().await, dying.prompted().await];
    dying.append(&turns[1], "so far").await;
    for turn in &turns {
        kit.view.store.request_stop(turn.key.task).await.unwrap();
    }
    subject.die(dying.view).await;
    let found = recovered(&kit).await;
    for (turn, found) in turns.iter().zip(found) {
        assert_eq!(found, Recovered { task: turn.key.task, became: RecoveredAs::Cancelled });
        let task = kit.reread(turn.key.task).await;
        assert_eq!((task.state, task.reason), (TaskState::Cancelled, Some(TerminalReason::Stopped)));
        assert_eq!(kit.answer(&task).await.state, MessageState::Cancelled);
        let frames = kit.frames(task.session).await;
        let last: Vec<_> = names(&frames).into_iter().filter(|name| *name != "delta").collect();
        assert_eq!(last, ["message_complete", "task_state", "agent_status"]);
    }
    assert_eq!(kit.answer(&turns[1].claim.task).await.content, "so far");
}

/// The session's next task goes on.
pub async fn after_recovery_the_next_task_goes_on(subject: &dyn StoreSubject) {
    let (kit, dying) = two(subject).await;
    let turn = dying.prompted().await;
    let next = kit.task_in(turn.key.session).await;
    subject.die(dying.view).await;
    assert!(kit.claim(9).await.is_empty(), "not before recovery");
    recovered(&kit).await;
    assert_eq!(kit.claim(9).await.pop().unwrap().task.id, next.id);
}

/// Only turns of dead nodes are touched.
pub async fn a_live_nodes_turns_are_left_alone(subject: &dyn StoreSubject) {
    let (kit, other) = two(subject).await;
    let (mine, theirs) = (kit.prompted().await, other.running().await);
    let before = kit.dump().await;
    for kit in [&kit, &other] {
        assert_eq!(recovered(kit).await, []);
    }
    assert_eq!(kit.dump().await, before);
    kit.append(&mine, "on").await;
    other.append(&theirs, "on").await;
}

/// Each turn is settled once, whoever asks and however often.
pub async fn each_turn_is_recovered_once(subject: &dyn StoreSubject) {
    let (kit, dying) = two(subject).await;
    let other = Kit::new(subject).await;
    let mut turns = Vec::new();
    for _ in 0..5 {
        turns.push(dying.prompted().await);
    }
    subject.die(dying.view).await;
    let (mut found, more) = tokio::join!(recovered(&kit), recovered(&other));
    found.extend(more);
    assert_eq!(found.len(), turns.len());
    assert_eq!(recovered(&kit).await, []);
    for turn in turns {
        let frames = kit.frames(turn.key.session).await;
        assert_eq!(names(&frames), ["message_complete", "task_state", "agent_status"]);
    }
}

/// Turns that a node still holds when it gives its lease back are recovered like a dead one's.
pub async fn a_node_that_left_is_recovered(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    kit.view.store.leave(&kit.lease).await.unwrap();
    assert_eq!(recovered(&kit).await, one(&turn, RecoveredAs::Pending));
}
