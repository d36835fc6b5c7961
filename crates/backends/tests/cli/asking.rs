//! Questions that Claude Code takes back, leaves open, or asks without end.

use dispatch_core::agent::{AgentUpdate, Answer, EndedHow};
use dispatch_core::ports::Close;

use crate::claude::Fixture;
use crate::peak::{assert_little_since, peak};
use crate::support::said::asked;
use crate::support::waiting::within;
use crate::until::until;

#[tokio::test]
async fn what_it_takes_back_is_open_no_more() {
    let fixture = Fixture::new();
    let mut turn = fixture.prompt("withdraws").await;
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    let request = turn.updates.iter().find_map(asked).unwrap();
    let withdrawn = AgentUpdate::PermissionWithdrawn(request.id.clone());
    assert!(turn.updates.contains(&withdrawn), "{:?}", turn.updates);
    turn.control.answer(&request.id, Answer::Allow).await;
    turn.close(Close::Return).await;
    assert!(!fixture.worktree.path().join("answers").exists());
    fixture.shut_down().await;
}

#[tokio::test]
async fn what_is_open_when_the_turn_ends_is_refused() {
    let fixture = Fixture::new();
    let mut turn = fixture.prompt("leaves").await;
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    let request = turn.updates.iter().find_map(asked).unwrap();
    turn.control.answer(&request.id, Answer::Allow).await;
    turn.close(Close::Return).await;
    let answers = fixture.worktree.path().join("answers");
    until(|| std::fs::read_to_string(&answers).is_ok_and(|answers| answers.ends_with('\n'))).await;
    let answers = std::fs::read_to_string(&answers).unwrap();
    assert!(answers.lines().count() == 1 && answers.contains(r#""behavior":"deny""#), "{answers}");
    fixture.shut_down().await;
}

#[tokio::test]
async fn one_that_asks_without_end_and_reads_nothing_is_let_go() {
    let mut fixture = Fixture::new();
    fixture.run("hello").await;
    let before = peak();
    fixture.run("pesters").await;
    fixture.until_kept(0).await;
    let mut turn = fixture.prompt("harasses").await;
    let EndedHow::Failed(failure) = turn.end().await.how else { panic!("{:?}", turn.updates) };
    assert!(failure.text.contains("does not read the answers"), "{}", failure.text);
    turn.close(Close::Return).await;
    assert_little_since(before);
    fixture.shut_down().await;
}

/// All is allowed, as by a policy.
#[tokio::test]
async fn one_that_begs_without_end_and_reads_nothing_costs_little() {
    let mut fixture = Fixture::new();
    fixture.run("hello").await;
    let before = peak();
    let mut turn = fixture.prompt("begs").await;
    let mut requests = 0;
    let end = loop {
        let end = within(turn.session.next(&mut turn.updates)).await;
        for update in std::mem::take(&mut turn.updates) {
            if let AgentUpdate::Permission(request) = update {
                requests += 1;
                turn.control.answer(&request.id, Answer::Allow).await;
            }
        }
        if let Some(end) = end {
            break end;
        }
    };
    let EndedHow::Failed(failure) = end.how else { panic!("{end:?}") };
    assert!(failure.text.contains("does not read the answers"), "{}", failure.text);
    assert!(requests < 1000, "{requests} requests were heard");
    turn.close(Close::Return).await;
    assert_little_since(before);
    fixture.shut_down().await;
}
