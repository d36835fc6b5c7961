//! Text as people and agents write it.

use dispatch_core::{
    agent::{NoticeCode, OwnSettings},
    conversation::Part,
    frame::FrameBody,
    ports::{AgentConversation, NewProject, SettledMessage, Settlement},
    task::{Name, NewTask, TurnOptions},
};

use super::{
    kit::{Kit, completed, user_messages},
    subject::StoreSubject,
};

/// Everything that some engine or encoding has been known to stumble over.
const NASTY: &str =
    "nul \0, \u{fffd}\u{feff}\u{2028}\u{10ffff} e\u{301} \u{1b}[31m\r\n quote ' \" \\ \\u0000 %_ {$1} ?1";

/// A line of it, where the engine cannot hold U+0000 and shows it as U+2400.
fn shown(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

/// What is asked, streamed and answered is kept to the last character; names and titles but for U+0000.
pub async fn text_is_kept_as_it_was(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let records = &kit.view.records;
    let project = NewProject { name: NASTY.into(), path: None };
    let project = records.ensure_project(project.clone()).await.unwrap();
    assert_eq!(shown(&project.name), shown(NASTY));
    assert_eq!(records.project(project.id).await.unwrap().name, project.name);

    let options = TurnOptions {
        agent: Name::new(NASTY),
        model: Name::new(NASTY),
        mode: Name::new(NASTY),
        thinking: Name::new(NASTY),
    };
    let new = NewTask { input: NASTY.into(), options: options.clone(), ..kit.new_task() };
    let task = records.create_task(new).await.unwrap();
    assert_eq!((task.input.as_str(), &task.options), (NASTY, &options));
    let session = records.session(task.session).await.unwrap();
    assert!(shown(&session.title).starts_with("Task [nul \u{2400}"), "{}", session.title);
    assert_eq!(session.model.map(|model| shown(model.as_str())), Some(shown(NASTY)));

    let turn = kit.begin(task.id).await;
    let conversation = AgentConversation { id: NASTY.into(), own: OwnSettings::default() };
    kit.view.store.record_agent_session(&turn.key, &conversation, NASTY).await.unwrap();
    let frames =
        [FrameBody::delta(NASTY), FrameBody::Notice { code: NoticeCode::AgentOddity, text: NASTY.into() }];
    kit.append_all(&turn, Some(turn.message), &frames).await;
    let parts = vec![Part::Text { text: NASTY.into(), placeholder: false }];
    let message = completed(&turn).message.map(|message| SettledMessage {
        content: NASTY.into(),
        reasoning: NASTY.into(),
        parts: parts.clone(),
        ..message
    });
    let end = Settlement { summary: Some(NASTY.into()), message, ..completed(&turn) };
    kit.view.store.settle(&turn.key, &end).await.unwrap();
    let task = kit.reread(task.id).await;
    assert_eq!(task.summary.as_deref().map(shown), Some(shown(NASTY)));
    let stored: Vec<_> = kit.frames(task.session).await.into_iter().map(|frame| frame.body).collect();
    assert_eq!(stored[..2], frames);
    let answer = kit.answer(&task).await;
    assert_eq!(answer.parts, parts);
    assert_eq!((shown(&answer.content), shown(&answer.reasoning)), (shown(NASTY), shown(NASTY)));
}

/// However much is asked.
pub async fn a_very_long_input_is_kept_whole(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let input = NASTY.repeat((8 << 20) / NASTY.len());
    let task =
        kit.view.records.create_task(NewTask { input: input.clone(), ..kit.new_task() }).await.unwrap();
    assert!(kit.begin(task.id).await.claim.task.input == input);
    let messages = kit.view.records.messages(task.chat).await.unwrap();
    assert!(user_messages(&messages)[0].parts == [Part::Text { text: input, placeholder: false }]);
}
