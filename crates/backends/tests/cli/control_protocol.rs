//! Claude Code's control protocol, as it should be.

use dispatch_core::agent::{AgentUpdate, Answer, EndedHow, NoticeCode, ToolStatus};
use dispatch_core::ids::Epoch;
use dispatch_core::ports::Close;
use dispatch_core::profile::Stop;
use dispatch_core::task::Name;

use crate::claude::Fixture;
use crate::support::said::asked;
use crate::support::turn::assert_nothing_left;

#[tokio::test]
async fn turns_of_a_chat_share_a_process_and_each_costs_its_own() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.run("hello").await, ("turn 1".to_owned(), 1.5));
    assert_eq!(fixture.run("hello").await, ("turn 2".to_owned(), 1.0));
    assert_eq!(fixture.starts().len(), 1);
    fixture.shut_down().await;
}

#[tokio::test]
async fn it_says_what_it_offers_and_is_set_between_turns() {
    let mut fixture = Fixture::new();
    fixture.spec.model = Name::new("OPUS");
    fixture.spec.mode = Name::new("plan");
    assert_eq!(fixture.run("settings").await.0, "opus plan");
    fixture.spec.model = None;
    fixture.spec.mode = Name::new("bypassPermissions");
    let turn = fixture.prompt("settings").await;
    assert_eq!(turn.info.commands[0].name, "review");
    assert_eq!(turn.info.settings.model.choices[1].name, "Opus");
    assert_eq!(turn.info.notices[0].code, NoticeCode::OptionIgnored, "it lets everything happen");
    let (said, _) = turn.finish().await;
    assert_eq!(said.text(), "null default");
    assert_eq!(fixture.starts().len(), 1);
    fixture.shut_down().await;
}

#[tokio::test]
async fn leave_is_given_once_or_not() {
    let fixture = Fixture::new();
    for (answer, status) in [(Answer::Allow, ToolStatus::Completed), (Answer::Lapsed, ToolStatus::Failed)] {
        let mut turn = fixture.prompt("ask").await;
        let request = turn.until(asked).await;
        assert_eq!((request.tool_call.id.as_str(), request.tool_call.kind.as_str()), ("t1", "edit"));
        turn.control.answer("another", Answer::Allow).await;
        turn.control.answer(&request.id, answer).await;
        assert_eq!(turn.end().await.how, EndedHow::Completed);
        let last = |update: &AgentUpdate| match update {
            AgentUpdate::ToolCall(patch) => patch.status,
            _ => None,
        };
        assert_eq!(turn.updates.iter().rev().find_map(last), Some(status));
        turn.close(Close::Return).await;
    }
    fixture.shut_down().await;
}

#[tokio::test]
async fn an_interrupt_ends_the_turn_and_not_the_process() {
    let mut fixture = Fixture::new();
    let mut turn = fixture.prompt("hang").await;
    turn.until_said("waiting").await;
    turn.control.stop(Stop::Ask).await;
    assert_eq!(turn.end().await.how, EndedHow::Cancelled);
    fixture.spec.resume.clone_from(&turn.info.agent_session);
    turn.close(Close::Return).await;
    assert_eq!(fixture.run("hello").await, ("turn 2".to_owned(), 1.0));
    assert_eq!(fixture.starts().len(), 1);
    fixture.shut_down().await;
}

#[tokio::test]
async fn one_that_does_not_obey_is_killed_and_the_chat_goes_on_in_another() {
    let mut fixture = Fixture::new();
    let mut turn = fixture.prompt("deaf").await;
    turn.until_said("deaf").await;
    for rung in [Stop::Ask, Stop::Terminate, Stop::Kill] {
        turn.control.stop(rung).await;
    }
    assert_eq!(turn.end().await.how, EndedHow::Cancelled);
    fixture.spec.resume.clone_from(&turn.info.agent_session);
    let id = fixture.spec.resume.clone().unwrap();
    turn.close(Close::Kill).await;
    assert_nothing_left(&fixture.spec.run_tag);
    assert_eq!(fixture.run("hello").await.0, "turn 1");
    assert!(fixture.starts()[1].contains(&format!("--resume={id}")));
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_process_that_missed_a_turn_of_another_node_is_not_used_again() {
    let mut fixture = Fixture::new();
    fixture.run("hello").await;
    (fixture.spec.resume_epoch, fixture.spec.epoch) = (Some(Epoch(1)), Epoch(2));
    assert_eq!(fixture.run("hello").await.0, "turn 2");
    (fixture.spec.resume_epoch, fixture.spec.epoch) = (Some(Epoch(3)), Epoch(4));
    assert_eq!(fixture.run("hello").await.0, "turn 1", "of another process");
    assert!(fixture.starts()[1].contains("--resume="));
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_crash_is_told_and_the_next_turn_hears_of_it() {
    let mut fixture = Fixture::new();
    let mut turn = fixture.prompt("die").await;
    let end = turn.end().await;
    assert!(
        matches!(&end.how, EndedHow::Crashed(failure) if failure.text.contains("exit code 9")),
        "{end:?}"
    );
    fixture.spec.resume.clone_from(&turn.info.agent_session);
    turn.close(Close::Kill).await;
    let turn = fixture.prompt("hello").await;
    assert_eq!(turn.told(), [NoticeCode::BackendRestarted, NoticeCode::SessionLoaded]);
    turn.finish().await;
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_conversation_that_is_not_there_begins_anew() {
    let mut fixture = Fixture::new();
    fixture.spec.resume = Some("lost".to_owned());
    let turn = fixture.prompt("hello").await;
    assert_eq!(turn.told(), [NoticeCode::SessionNew]);
    assert_ne!(turn.info.agent_session.as_deref(), Some("lost"));
    assert_eq!(turn.finish().await.1.how, EndedHow::Completed);
    fixture.shut_down().await;
}
