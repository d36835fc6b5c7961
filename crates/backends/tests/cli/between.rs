//! What Claude Code says between two turns, and how it drifts.

use dispatch_core::agent::{AgentUpdate, EndedHow, NoticeCode};
use dispatch_core::task::Name;

use crate::claude::Fixture;
use crate::support::said::asked;
use crate::until::until;

#[tokio::test]
async fn a_turn_that_it_had_by_itself_is_no_turn_of_ours() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.run("strays").await.0, "well");
    let mut turn = fixture.open().await;
    turn.start().await.unwrap();
    // All of it is in the pipe when the prompt goes out.
    std::fs::write(fixture.worktree.path().join("go"), "").unwrap();
    fixture.until_there("said").await;
    turn.prompt("hello").await;
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("turn 2", EndedHow::Completed));
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_it_still_has_when_the_prompt_comes_is_no_turn_of_ours() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.run("owes").await.0, "well");
    let (said, end) = fixture.prompt("hello").await.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("turn 2", EndedHow::Completed));
    assert_eq!(said.all(asked), []);
    // What that turn asked was refused.
    fixture.run("hello").await;
    let answers = || std::fs::read_to_string(fixture.worktree.path().join("answers")).unwrap_or_default();
    until(|| answers().contains(r#""behavior":"deny""#) && answers().contains(r#""own""#)).await;
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_it_had_by_itself_makes_way() {
    let mut fixture = Fixture::new();
    fixture.run("works").await;
    fixture.until_there("said").await;
    assert_eq!(fixture.run("hello").await.0, "turn 2");
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_it_has_by_itself_just_before_it_reads_the_prompt_is_not_the_prompts() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.run("races").await, ("ownmine".to_owned(), 1.0));
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_mode_that_it_has_drifted_to_is_told_and_set_back() {
    let mut fixture = Fixture::new();
    let turn = fixture.prompt("drifts").await;
    fixture.spec.resume.clone_from(&turn.info.agent_session);
    let (said, _) = turn.finish().await;
    let modes = said.all(|update| match update {
        AgentUpdate::Settings(settings) => settings.mode.current.as_deref(),
        _ => None,
    });
    assert_eq!(modes.last(), Some(&"plan"));
    assert_eq!(fixture.run("settings").await.0, "haiku own", "its own mode, since no other was asked for");
    assert_eq!(fixture.run("settings").await.0, "null own", "it has told its model only now");
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_mode_that_is_asked_for_is_set_whatever_it_begins_in() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.run("settings").await.0, "own own");
    fixture.spec.mode = Name::new("default");
    assert_eq!(fixture.run("settings").await.0, "own default");
    fixture.spec.mode = None;
    assert_eq!(fixture.run("settings").await.0, "own own");
    fixture.shut_down().await;
    let mut fixture = Fixture::new();
    fixture.spec.mode = Name::new("default");
    assert_eq!(fixture.run("settings").await.0, "own default");
    fixture.shut_down().await;
}

#[tokio::test]
async fn one_that_has_closed_its_output_gets_no_other_prompt() {
    let mut fixture = Fixture::new();
    fixture.run("closes").await;
    fixture.until_there("closed").await;
    let turn = fixture.prompt("hello").await;
    assert!(turn.told().contains(&NoticeCode::BackendRestarted));
    assert_eq!(turn.finish().await.1.how, EndedHow::Completed);
    assert_eq!(fixture.starts().len(), 2);
    fixture.shut_down().await;
}
