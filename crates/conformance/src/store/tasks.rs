//! Making tasks (SPEC T3).

use dispatch_core::{
    conversation::{MessageState, Part},
    ids::{ChatId, ProjectId, SessionId},
    ports::{NewProject, RecordsError, TaskFilter},
    task::{Name, NewTask, PermissionPolicy, Task, TaskState, TurnOptions},
};

use super::{
    kit::{Kit, random, user_messages},
    subject::StoreSubject,
};

async fn refused(kit: &Kit, new: NewTask) -> RecordsError {
    let before = kit.dump().await;
    let error = kit.view.records.create_task(new).await.unwrap_err();
    assert_eq!(kit.dump().await, before, "{error}");
    error
}

/// Neither session nor chat: a new session with a chat, named after the task.
pub async fn a_task_alone_gets_a_session_and_a_chat(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let input = "é".repeat(50);
    let new = NewTask { input: input.clone(), ..kit.new_task() };
    let task = kit.view.records.create_task(new).await.unwrap();
    let session = kit.view.records.session(task.session).await.unwrap();
    assert_eq!(session.title, format!("Task [goose]: {}", "é".repeat(30)));
    assert_eq!((session.project, session.open), (kit.project.id, true));
    assert_eq!(session.chats, [task.chat]);
    assert!(!task.from_chat);
    let new = NewTask { input, options: TurnOptions::default(), ..kit.new_task() };
    let native = kit.view.records.create_task(new).await.unwrap();
    let session = kit.view.records.session(native.session).await.unwrap();
    assert_eq!(session.title, format!("Task: {}", "é".repeat(40)));
}

/// A task reads back as it was asked for, and waits.
pub async fn a_task_reads_back_as_it_was(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let options = TurnOptions {
        agent: Name::new("qwen"),
        model: Name::new("m"),
        mode: Name::new("plan"),
        thinking: Name::new("high"),
    };
    let new = NewTask {
        input: "  nul \0 and\nmore  ".into(),
        options: options.clone(),
        permissions: PermissionPolicy::Deny,
        ..kit.new_task()
    };
    let task = kit.view.records.create_task(new.clone()).await.unwrap();
    assert_eq!(task, kit.reread(task.id).await);
    assert_eq!((task.input.as_str(), &task.options), (new.input.as_str(), &options));
    assert_eq!((task.permissions, task.state), (PermissionPolicy::Deny, TaskState::Pending));
    assert_eq!((task.attempt, task.epoch, task.started_at), (0, None, None));
    assert!(!task.stop_requested);
}

/// Each task has exactly one user message, whole, from the moment it exists.
pub async fn a_task_has_one_user_message(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let input = "x".repeat(1 << 20);
    let new = NewTask { input: input.clone(), ..kit.new_task() };
    let task = kit.view.records.create_task(new).await.unwrap();
    kit.begin(task.id).await;
    let messages = kit.view.records.messages(task.chat).await.unwrap();
    let [message] = user_messages(&messages)[..] else { panic!("{} messages", messages.len()) };
    assert_eq!((message.id, message.task), (task.user_message, task.id));
    assert_eq!(message.state, MessageState::Complete);
    assert_eq!((message.content.len(), message.content_truncated), (50_000, true));
    assert!(message.parts == [Part::Text { text: input, placeholder: false }]);
}

/// A session alone: its newest open chat.
pub async fn a_sessions_newest_open_chat_is_used(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.task().await;
    let second = kit.task_in(first.session).await;
    assert_eq!((second.session, second.chat), (first.session, first.chat));
    assert!(second.from_chat);
    subject.close_chat(first.chat).await;
    let third = kit.task_in(first.session).await;
    assert_eq!(third.session, first.session);
    assert_ne!(third.chat, first.chat);
    assert_eq!(kit.task_in(first.session).await.chat, third.chat);
    let session = kit.view.records.session(first.session).await.unwrap();
    assert_eq!(session.chats, [first.chat, third.chat]);
}

/// A chat alone: its session; both: both.
pub async fn a_chat_is_continued(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.task().await;
    for session in [None, Some(first.session)] {
        let new = NewTask { session, chat: Some(first.chat), ..kit.new_task() };
        let next = kit.view.records.create_task(new).await.unwrap();
        assert_eq!((next.session, next.chat), (first.session, first.chat));
        assert!(next.from_chat);
    }
}

/// The session stores the task's model, else the default one.
pub async fn a_session_stores_the_model(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    for (model, wanted) in [(Name::new("own"), "own"), (None, "default")] {
        let options = TurnOptions { model, ..TurnOptions::default() };
        let new = NewTask { options, default_model: Name::new("default"), ..kit.new_task() };
        let task = kit.view.records.create_task(new).await.unwrap();
        let session = kit.view.records.session(task.session).await.unwrap();
        assert_eq!(session.model, Name::new(wanted));
    }
}

/// An empty input is refused, and leaves nothing behind.
pub async fn an_empty_task_is_refused(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    for input in ["", " \n\t"] {
        let error = refused(&kit, NewTask { input: input.into(), ..kit.new_task() }).await;
        assert!(matches!(error, RecordsError::Refused(_)), "{error}");
    }
}

/// What is closed takes no more tasks.
pub async fn a_closed_session_or_chat_is_refused(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (one, two) = (kit.task().await, kit.task().await);
    subject.close_chat(one.chat).await;
    kit.view.records.close_session(two.session).await.unwrap();
    let in_closed = [
        NewTask { chat: Some(one.chat), ..kit.new_task() },
        NewTask { session: Some(two.session), ..kit.new_task() },
        NewTask { chat: Some(two.chat), ..kit.new_task() },
    ];
    for new in in_closed {
        let error = refused(&kit, new).await;
        assert!(matches!(error, RecordsError::Refused(_)), "{error}");
    }
    assert!(!kit.view.records.session(two.session).await.unwrap().open);
}

/// A chat of another session, a session of another project: refused.
pub async fn what_belongs_elsewhere_is_refused(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (one, two) = (kit.task().await, kit.task().await);
    let elsewhere = NewProject { name: "other".into(), path: Some("/other".into()) };
    let elsewhere = kit.view.records.ensure_project(elsewhere).await.unwrap();
    let wrong = [
        NewTask { session: Some(one.session), chat: Some(two.chat), ..kit.new_task() },
        NewTask { session: Some(one.session), project: elsewhere.id, ..kit.new_task() },
        NewTask { chat: Some(one.chat), project: elsewhere.id, ..kit.new_task() },
    ];
    for new in wrong {
        let error = refused(&kit, new).await;
        assert!(matches!(error, RecordsError::Refused(_)), "{error}");
    }
}

/// What does not exist is named.
pub async fn what_does_not_exist_is_named(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let nothing = [
        ("project", NewTask { project: ProjectId::from_random(random()), ..kit.new_task() }),
        ("session", NewTask { session: Some(SessionId::from_random(random())), ..kit.new_task() }),
        ("chat", NewTask { chat: Some(ChatId::from_random(random())), ..kit.new_task() }),
    ];
    for (wanted, new) in nothing {
        let error = refused(&kit, new).await;
        assert!(matches!(error, RecordsError::NotFound { what, .. } if what == wanted), "{error}");
    }
}

/// Newest first, by project, session and state, at most as many as asked for.
pub async fn tasks_are_listed_newest_first(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.task().await;
    let (second, third) = (kit.task_in(first.session).await, kit.task().await);
    kit.claim_only(third.id).await.unwrap();
    let list = async |filter: TaskFilter| {
        let tasks: Vec<Task> = kit.view.records.tasks(&filter).await.unwrap();
        tasks.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    let any = TaskFilter::default;
    assert_eq!(list(any()).await, [third.id, second.id, first.id]);
    assert_eq!(list(TaskFilter { limit: 2, ..any() }).await, [third.id, second.id]);
    let session = TaskFilter { session: Some(first.session), ..any() };
    assert_eq!(list(session.clone()).await, [second.id, first.id]);
    let pending = TaskFilter { state: Some(TaskState::Pending), ..any() };
    assert_eq!(list(pending).await, [second.id, first.id]);
    let running = TaskFilter { state: Some(TaskState::Running), ..session };
    assert!(list(running).await.is_empty());
    let project = TaskFilter { project: Some(kit.project.id), ..any() };
    assert_eq!(list(project).await.len(), 3);
    let nobody = TaskFilter { project: Some(ProjectId::from_random(random())), ..any() };
    assert!(list(nobody).await.is_empty());
}
