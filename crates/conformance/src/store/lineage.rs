//! What a turn goes on with: its agent's conversation, or what was said in its chat (SPEC W2).

use dispatch_core::{
    agent::OwnSettings,
    conversation::{Message, MessageState, Part, Role},
    ids::{MessageId, SessionId},
    ports::{AgentConversation, ChangeVerdict, Lineage, SettledMessage, Settlement},
    routing::Route,
    task::{Name, NewTask, Task, TaskState, TerminalReason, TurnOptions},
};

use super::{
    kit::{Kit, Running, cancelled, completed},
    subject::{Damage, StoreSubject},
};

/// Begins a turn that is routed so.
async fn routed(kit: &Kit, task: &Task, route: Route) -> Running {
    let turn = kit.begin(task.id).await;
    kit.view.store.record_route(&turn.key, route).await.unwrap();
    turn
}

async fn warm(kit: &Kit, task: &Task) -> Running {
    routed(kit, task, Route::WarmAcp).await
}

async fn task_for(kit: &Kit, session: SessionId, agent: Option<&str>) -> Task {
    let options = TurnOptions { agent: agent.and_then(Name::new), ..TurnOptions::default() };
    let new = NewTask { options, session: Some(session), ..kit.new_task() };
    kit.view.records.create_task(new).await.unwrap()
}

/// The conversation that the chat's turn goes on with.
async fn of_chat(kit: &Kit, turn: &Running, worktree: &str) -> Option<String> {
    let found = kit.view.store.agent_session(&turn.key, Lineage::Chat, worktree).await.unwrap();
    found.map(|(conversation, _)| conversation.id)
}

async fn end(kit: &Kit, turn: &Running) {
    kit.complete(turn, ChangeVerdict::Leave).await;
}

/// A chat goes on with the last conversation that was recorded in it, but one of its task alone does not.
pub async fn a_chat_goes_on_with_its_last_conversation(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.task().await;
    let turn = warm(&kit, &first).await;
    assert_eq!(of_chat(&kit, &turn, "worktree").await, None);
    kit.record_conversation(&turn, "one").await;
    end(&kit, &turn).await;
    assert_eq!(of_chat(&kit, &turn, "worktree").await, None, "the turn is over");

    let turn = warm(&kit, &kit.task_in(first.session).await).await;
    assert_eq!(of_chat(&kit, &turn, "worktree").await.as_deref(), Some("one"));
    assert_eq!(kit.own_conversation(&turn, "worktree").await, None);
    kit.record_conversation(&turn, "two").await;
    kit.record_conversation(&turn, "three").await;
    end(&kit, &turn).await;

    let turn = warm(&kit, &kit.task_in(first.session).await).await;
    for _ in 0..2 {
        assert_eq!(of_chat(&kit, &turn, "worktree").await.as_deref(), Some("three"));
    }
}

/// It comes with the claim under which it was recorded last, by which a node knows whether its own agent ran that turn,
/// and with what was chosen in it before.
pub async fn a_conversation_is_told_with_the_claim_that_recorded_it(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let first = kit.task().await;
    end(&kit, &warm(&kit, &first).await).await;
    let mut last = None;
    for (node, model) in [(&kit, Some("usual")), (&other, None), (&kit, Some("another"))] {
        let turn = warm(node, &node.task_in(first.session).await).await;
        for _ in 0..2 {
            let found = node.view.store.agent_session(&turn.key, Lineage::Chat, "worktree").await.unwrap();
            assert_eq!(found, last);
        }
        let own = OwnSettings { model: model.map(Into::into), ..OwnSettings::default() };
        let conversation = AgentConversation { id: "the same".into(), own };
        node.view.store.record_agent_session(&turn.key, &conversation, "worktree").await.unwrap();
        last = Some((conversation, turn.key.epoch));
        end(node, &turn).await;
    }
}

/// It is used by the same agent, by the same route, in the same worktree and chat only.
pub async fn a_conversation_is_its_agents_routes_and_worktrees_own(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let first = kit.task().await;
    let turn = warm(&kit, &first).await;
    kit.record_conversation(&turn, "one").await;
    end(&kit, &turn).await;

    for (agent, route) in [
        (Some("goose"), Route::OneShotAcp),
        (Some("qwen"), Route::WarmAcp),
        (Some("native"), Route::WarmAcp),
        (None, Route::WarmAcp),
    ] {
        let turn = routed(&kit, &task_for(&kit, first.session, agent).await, route).await;
        assert_eq!(of_chat(&kit, &turn, "worktree").await, None, "{agent:?} by {route}");
        kit.record_conversation(&turn, &format!("of {agent:?}")).await;
        end(&kit, &turn).await;
    }
    let turn = warm(&kit, &kit.task().await).await;
    assert_eq!(of_chat(&kit, &turn, "worktree").await, None, "another chat");

    let turn = warm(&kit, &kit.task_in(first.session).await).await;
    assert_eq!(of_chat(&kit, &turn, "another").await, None);
    assert_eq!(of_chat(&kit, &turn, "worktree").await.as_deref(), Some("one"));
}

/// It outlives a Stop, a failure and an interruption; the last one recorded counts, also when an older task,
/// resumed, recorded it.
pub async fn a_conversation_is_kept_however_its_turn_ends(subject: &dyn StoreSubject) {
    let (kit, dying) = (Kit::new(subject).await, Kit::new(subject).await);
    let first = kit.task().await;
    let turn = warm(&dying, &first).await;
    dying.record_conversation(&turn, "interrupted").await;
    kit.view.store.record_prompt_sent(&turn.key).await.unwrap();
    subject.die(dying.view).await;
    kit.view.store.recover().await.unwrap();

    let next = async || warm(&kit, &kit.task_in(first.session).await).await;
    let turn = next().await;
    assert_eq!(of_chat(&kit, &turn, "worktree").await.as_deref(), Some("interrupted"));
    kit.record_conversation(&turn, "stopped").await;
    kit.view.store.settle(&turn.key, &cancelled(&turn)).await.unwrap();

    let turn = next().await;
    assert_eq!(of_chat(&kit, &turn, "worktree").await.as_deref(), Some("stopped"));
    kit.record_conversation(&turn, "failed").await;
    let failed =
        Settlement { state: TaskState::Failed, reason: TerminalReason::AgentFailed, ..completed(&turn) };
    kit.view.store.settle(&turn.key, &failed).await.unwrap();

    kit.view.records.resume_task(first.id).await.unwrap();
    let turn = warm(&kit, &first).await;
    assert_eq!(of_chat(&kit, &turn, "worktree").await.as_deref(), Some("failed"));
    assert_eq!(kit.own_conversation(&turn, "worktree").await.as_deref(), Some("interrupted"));
    kit.record_conversation(&turn, "resumed").await;
    end(&kit, &turn).await;
    assert_eq!(of_chat(&kit, &next().await, "worktree").await.as_deref(), Some("resumed"));
}

async fn history(kit: &Kit, turn: &Running) -> Vec<Message> {
    kit.view.store.history(&turn.key).await.unwrap()
}

/// Ends a turn in this way, with this said.
async fn say(kit: &Kit, turn: &Running, text: &str, end: Settlement) {
    let message = end.message.clone().map(|message| SettledMessage {
        content: text.into(),
        parts: vec![Part::Text { text: text.into(), placeholder: false }],
        ..message
    });
    kit.view.store.settle(&turn.key, &Settlement { message, ..end }).await.unwrap();
}

/// A turn is told what was said in its chat before it, task by task, with whatever was cut off; nothing of its
/// own task, of those behind it or of other chats.
pub async fn a_turn_is_told_what_was_said_before(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let input = |text: &str, session| NewTask { input: text.into(), session, ..kit.new_task() };
    let create = async |new| kit.view.records.create_task(new).await.unwrap();
    let elsewhere = kit.running().await;
    say(&kit, &elsewhere, "elsewhere", completed(&elsewhere)).await;
    // All of them wait before the first one is answered.
    let first = create(input("first", None)).await;
    let [second, third, _behind] = [
        create(input("second", Some(first.session))).await,
        create(input("third", Some(first.session))).await,
        create(input("behind", Some(first.session))).await,
    ];
    let turn = kit.begin(first.id).await;
    assert_eq!(history(&kit, &turn).await, []);
    say(&kit, &turn, "one", completed(&turn)).await;
    let turn = kit.begin(second.id).await;
    say(&kit, &turn, "two, cut", cancelled(&turn)).await;
    let turn = kit.begin(third.id).await;
    let told = history(&kit, &turn).await;
    let said: Vec<_> = told.iter().map(|m| (m.role, m.state, m.content.as_str())).collect();
    use MessageState::{Cancelled, Complete};
    let wanted = [
        (Role::User, Complete, "first"),
        (Role::Assistant, Complete, "one"),
        (Role::User, Complete, "second"),
        (Role::Assistant, Cancelled, "two, cut"),
    ];
    assert_eq!(said, wanted);
    let all = kit.view.records.messages(first.chat).await.unwrap();
    assert!(told.iter().all(|message| all.contains(message)), "whole, as they are read elsewhere");
    assert_eq!(history(&kit, &turn).await, told);
    say(&kit, &turn, "three", completed(&turn)).await;
    assert_eq!(history(&kit, &turn).await, [], "the turn is over");
}

/// A resumed task is told nothing of its own earlier attempts, nor of what came after it; what cannot be read is
/// left out.
pub async fn a_resumed_turn_is_told_what_came_before_its_task(subject: &dyn StoreSubject) {
    let (kit, dying) = (Kit::new(subject).await, Kit::new(subject).await);
    let first = kit.running().await;
    say(&kit, &first, "one", completed(&first)).await;
    let second = kit.task_in(first.key.session).await;
    let turn = dying.begin(second.id).await;
    dying.view.store.record_prompt_sent(&turn.key).await.unwrap();
    dying.append(&turn, "two, cut").await;
    subject.die(dying.view).await;
    kit.view.store.recover().await.unwrap();
    let third = kit.begin(kit.task_in(first.key.session).await.id).await;
    let contents = async |turn: &Running| -> Vec<(Role, String)> {
        history(&kit, turn).await.into_iter().map(|message| (message.role, message.content)).collect()
    };
    let user = || (Role::User, "do it".to_owned());
    let answer = |text: &str| (Role::Assistant, text.to_owned());
    assert_eq!(contents(&third).await, [user(), answer("one"), user(), answer("two, cut")]);
    say(&kit, &third, "three", completed(&third)).await;

    kit.view.records.resume_task(second.id).await.unwrap();
    let turn = kit.begin(second.id).await;
    assert_eq!(contents(&turn).await, [user(), answer("one")]);
    let message: MessageId = first.message;
    subject.damage(Damage::MessageParts(message)).await;
    assert_eq!(contents(&turn).await, [user()]);
}
