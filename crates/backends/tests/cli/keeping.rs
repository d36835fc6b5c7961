//! Which Claude Code a chat goes on with, and in which conversation.

use backends::pool::Keeper;
use dispatch_core::agent::{AgentUpdate, EndedHow, NoticeCode};
use dispatch_core::ports::{Backend, Close, Opened};
use dispatch_core::task::{Name, TerminalReason};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::claude::Fixture;
use crate::common::{Turn, assert_nothing_left, text, until, within};

/// What a turn was told of what it goes on with.
fn told(turn: &Turn) -> Vec<NoticeCode> {
    turn.info.notices.iter().map(|notice| notice.code).collect()
}

#[tokio::test]
async fn a_replaced_program_is_started_anew() {
    let mut fixture = Fixture::new();
    fixture.run("hello").await;
    fixture.replace_program();
    let mut turn = fixture.prompt("hello").await;
    assert_eq!(told(&turn), [NoticeCode::SessionLoaded], "nothing was lost");
    turn.end().await;
    assert_eq!(text(&turn.updates), "turn 1", "of another process");
    within(turn.session.close(Close::Return)).await;
    assert!(fixture.starts()[1].contains("--resume="));
    assert_eq!(fixture.pool.warm().len(), 1);
    fixture.shut_down().await;
}

/// Somebody will log in, which a running process may not notice.
#[tokio::test]
async fn one_that_is_not_let_in_is_not_kept() {
    let mut fixture = Fixture::new();
    fixture.run("hello").await;
    let mut turn = fixture.prompt("expired").await;
    let EndedHow::Failed(failure) = turn.end().await.how else { panic!("{:?}", turn.updates) };
    assert_eq!(failure.reason, TerminalReason::Unauthorised);
    within(turn.session.close(Close::Return)).await;
    assert_eq!(fixture.pool.warm(), []);
    assert_eq!(fixture.run("hello").await.0, "turn 1");
    assert!(fixture.starts()[1].contains("--resume="));
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_conversation_that_is_another_than_was_told_is_a_new_one() {
    let mut fixture = Fixture::new();
    fixture.spec.resume = Some("earlier".to_owned());
    let mut turn = fixture.prompt("moves").await;
    assert_eq!(told(&turn), [NoticeCode::SessionLoaded]);
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    let news = turn.updates.iter().filter_map(|update| match update {
        AgentUpdate::Conversation(id) => Some(id.as_str()),
        AgentUpdate::Notice(notice) if notice.code == NoticeCode::SessionNew => Some("new"),
        _ => None,
    });
    assert_eq!(news.collect::<Vec<_>>(), ["elsewhere", "new"]);
    assert_eq!(text(&turn.updates), "turn 1");
    within(turn.session.close(Close::Return)).await;

    fixture.spec.resume = Some("elsewhere".to_owned());
    let mut turn = fixture.prompt("hello").await;
    assert_eq!(told(&turn), [], "it is the process's own");
    turn.end().await;
    assert!(!turn.updates.iter().any(|update| matches!(update, AgentUpdate::Conversation(_))));
    assert_eq!(text(&turn.updates), "turn 2");
    within(turn.session.close(Close::Return)).await;
    fixture.shut_down().await;
}

#[tokio::test]
async fn what_is_said_in_another_conversation_is_no_answer() {
    let fixture = Fixture::new();
    let mut turn = fixture.prompt("leaks").await;
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    assert_eq!(text(&turn.updates), "well");
    let oddity = turn.updates.iter().find_map(|update| match update {
        AgentUpdate::Notice(notice) if notice.code == NoticeCode::AgentOddity => Some(notice.text.as_str()),
        _ => None,
    });
    assert_eq!(oddity, Some("passed over what the agent sent: lines of another conversation"));
    within(turn.session.close(Close::Return)).await;
    fixture.shut_down().await;
}

/// Half way, nobody knows what it has made of what it was told.
#[tokio::test]
async fn a_stop_while_a_kept_process_gets_ready_ends_it_and_the_next_turn_says_so() {
    let mut fixture = Fixture::new();
    fixture.run("hello").await;
    kill(Pid::from_raw(fixture.pool.warm()[0].pid.cast_signed()), Signal::SIGSTOP).unwrap();
    fixture.spec.model = Name::new("opus");
    let Opened { mut session, .. } = within(fixture.backend.open(fixture.spec.clone())).await.unwrap();
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(50), session.start()).await;
    assert!(given_up.is_err());
    within(session.close(Close::Return)).await;
    assert_eq!(fixture.pool.warm(), []);
    let mut turn = fixture.prompt("hello").await;
    assert_eq!(told(&turn), [NoticeCode::BackendRestarted, NoticeCode::SessionLoaded]);
    assert!(turn.info.notices[0].text.contains("was stopped while it got ready"));
    turn.end().await;
    within(turn.session.close(Close::Return)).await;
    fixture.shut_down().await;
}

/// It takes a while until all of its crowd is killed.
#[tokio::test]
async fn a_turn_that_is_given_up_while_its_process_is_replaced_leaves_nothing() {
    let mut fixture = Fixture::new();
    fixture.spec.resume = Some("crowd".to_owned());
    let Opened { mut session, .. } = within(fixture.backend.open(fixture.spec.clone())).await.unwrap();
    tokio::select! {
        biased;
        () = until(|| fixture.pool.warm().iter().all(|kept| kept.turns == 0)) => {}
        _ = session.start() => panic!("it got ready"),
    }
    within(session.close(Close::Return)).await;
    assert_eq!(fixture.pool.warm(), []);
    assert_nothing_left(&fixture.spec);
    fixture.shut_down().await;
}
