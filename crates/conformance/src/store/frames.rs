//! The frame log (SPEC 6).

use dispatch_core::{
    agent::{
        AgentCommand, AgentSettings, Answer, Choice, NoticeCode, PlanEntry, Setting, ToolCall, ToolContent,
        Usage,
    },
    conversation::Role,
    frame::{About, FrameBody},
    ids::Seq,
    ports::ChangeVerdict,
};

use super::{
    kit::{Kit, a_request, gapless},
    subject::StoreSubject,
};

fn every_kind_of_content() -> Vec<FrameBody> {
    let nasty = "nul \0, quote ' \" \\, \u{feff}\u{2028}\u{10ffff} e\u{301}, \u{1b}[31m\r\n";
    let tool_call = ToolCall {
        id: nasty.into(),
        title: "t".into(),
        content: vec![ToolContent::Text { text: nasty.into() }],
        ..ToolCall::default()
    };
    let request = a_request("1", tool_call.clone());
    vec![
        FrameBody::MessageStarted { role: Role::Assistant },
        FrameBody::delta(nasty),
        FrameBody::Delta { content: nasty.into(), placeholder: true },
        FrameBody::ReasoningDelta { content: nasty.into() },
        FrameBody::delta("x".repeat(dispatch_core::frame::MAX_DELTA_BYTES)),
        FrameBody::ToolCall { tool_call },
        FrameBody::Plan {
            entries: vec![PlanEntry { content: nasty.into(), status: "pending".into(), priority: "".into() }],
        },
        FrameBody::Usage { usage: Usage { input_tokens: Some(u64::MAX), ..Usage::default() } },
        FrameBody::AgentCommands {
            commands: vec![AgentCommand { name: nasty.into(), description: "d".into(), hint: None }],
        },
        FrameBody::AgentSettings {
            settings: AgentSettings {
                model: Setting {
                    current: Some(nasty.into()),
                    choices: vec![Choice { id: nasty.into(), name: "n".into(), description: "".into() }],
                },
                ..AgentSettings::default()
            },
        },
        FrameBody::PermissionRequest { request, waits_s: Some(60) },
        FrameBody::PermissionResolved { id: "1".into(), answer: Answer::Deny },
        FrameBody::Notice { code: NoticeCode::AgentOddity, text: nasty.into() },
    ]
}

/// Whatever an agent says reads back as it was, NUL included (SAFETY 0, finding 10).
pub async fn frames_read_back_as_they_were(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let bodies = every_kind_of_content();
    let appended = kit.append_all(&turn, Some(turn.message), &bodies).await;
    let about =
        About { chat_id: Some(turn.key.chat), message_id: Some(turn.message), task_id: Some(turn.key.task) };
    let told: Vec<_> = appended.frames(turn.key.session, about, bodies).collect();
    assert_eq!(kit.frames(turn.key.session).await, told);
}

/// `seq` is gapless from 1, across turns and attempts.
pub async fn frames_are_numbered_without_a_gap(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.running().await;
    let second = kit.task_in(first.key.session).await;
    kit.append(&first, "a").await;
    let two = [FrameBody::delta("b"), FrameBody::delta("c")];
    let appended = kit.append_all(&first, None, &two).await;
    assert_eq!(appended.first, Seq(2));
    kit.complete(&first, ChangeVerdict::Leave).await;
    let second = kit.begin(second.id).await;
    kit.append(&second, "d").await;
    let frames = kit.frames(first.key.session).await;
    assert!(gapless(&frames));
    assert_eq!(frames.len(), 6);
    assert_eq!(frames[1].about.message_id, None);
    assert_eq!(frames[5].about.task_id, Some(second.key.task));
}

/// A turn and a command append to one session at once, and it stays gapless.
pub async fn concurrent_appends_leave_no_gap(subject: &dyn StoreSubject) {
    const EACH: usize = 25;
    let (one, two) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = one.running().await;
    let mut waiting = Vec::new();
    for _ in 0..EACH {
        waiting.push(one.task_in(turn.key.session).await.id);
    }
    let streaming = async {
        for _ in 0..EACH {
            one.append(&turn, "text").await;
        }
    };
    let stopping = async {
        for task in waiting {
            two.view.store.request_stop(task).await.unwrap();
        }
    };
    tokio::join!(streaming, stopping);
    let frames = two.frames(turn.key.session).await;
    assert!(gapless(&frames));
    assert_eq!(frames.len(), 2 * EACH);
}

/// A subscriber asks for what comes after its last frame, and gets no other session's (SPEC 8).
pub async fn frames_are_read_after_a_place(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (turn, other) = (kit.running().await, kit.running().await);
    for text in ["a", "b", "c"] {
        kit.append(&turn, text).await;
        kit.append(&other, "other").await;
    }
    let read = async |after, limit| -> Vec<i64> {
        let frames = kit.view.records.frames(turn.key.session, Seq(after), limit).await.unwrap();
        assert!(frames.iter().all(|frame| frame.session_id == turn.key.session));
        frames.iter().map(|frame| frame.seq.0).collect()
    };
    assert_eq!(read(0, 0).await, [1, 2, 3]);
    assert_eq!(read(1, 0).await, [2, 3]);
    assert_eq!(read(0, 2).await, [1, 2]);
    assert_eq!(read(3, 9).await, [0; 0]);
}
