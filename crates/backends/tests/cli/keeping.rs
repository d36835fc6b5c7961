//! Which Claude Code a chat goes on with, and in which conversation.

use backends::pool::Keeper;
use dispatch_core::agent::{AgentUpdate, EndedHow, NoticeCode};
use dispatch_core::ports::Close;
use dispatch_core::task::{Name, TerminalReason};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::claude::Fixture;
use crate::support::turn::assert_nothing_left;
use crate::until::until;

#[tokio::test]
async fn a_replaced_program_is_started_anew() {
    let mut fixture = Fixture::new();
    fixture.run("hello").await;
    fixture.replace_program();
    let turn = fixture.prompt("hello").await;
    assert_eq!(turn.told(), [NoticeCode::SessionLoaded], "nothing was lost");
    let (said, _) = turn.finish().await;
    assert_eq!(said.text(), "turn 1", "of another process");
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
    turn.close(Close::Return).await;
    assert_eq!(fixture.pool.warm(), []);
    assert_eq!(fixture.run("hello").await.0, "turn 1");
    assert!(fixture.starts()[1].contains("--resume="));
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_conversation_that_is_another_than_was_told_is_a_new_one() {
    let mut fixture = Fixture::new();
    fixture.spec.resume = Some("earlier".to_owned());
    let turn = fixture.prompt("moves").await;
    assert_eq!(turn.told(), [NoticeCode::SessionLoaded]);
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("turn 1", EndedHow::Completed));
    let news = said.all(|update| match update {
        AgentUpdate::Conversation(id) => Some(id.as_str()),
        AgentUpdate::Notice(notice) if notice.code == NoticeCode::SessionNew => Some("new"),
        _ => None,
    });
    assert_eq!(news, ["elsewhere", "new"]);

    fixture.spec.resume = Some("elsewhere".to_owned());
    let turn = fixture.prompt("hello").await;
    assert_eq!(turn.told(), [], "it is the process's own");
    let (said, _) = turn.finish().await;
    assert!(!said.0.iter().any(|update| matches!(update, AgentUpdate::Conversation(_))));
    assert_eq!(said.text(), "turn 2");
    fixture.shut_down().await;
}

#[tokio::test]
async fn what_is_said_in_another_conversation_is_no_answer() {
    let fixture = Fixture::new();
    let (said, end) = fixture.prompt("leaks").await.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("well", EndedHow::Completed));
    let oddity = said.notice(NoticeCode::AgentOddity);
    assert_eq!(oddity, Some("passed over what the agent sent: lines of another conversation"));
    fixture.shut_down().await;
}

/// Half way, nobody knows what it has made of what it was told.
#[tokio::test]
async fn a_stop_while_a_kept_process_gets_ready_ends_it_and_the_next_turn_says_so() {
    let mut fixture = Fixture::new();
    fixture.run("hello").await;
    kill(Pid::from_raw(fixture.pool.warm()[0].pid.cast_signed()), Signal::SIGSTOP).unwrap();
    fixture.spec.model = Name::new("opus");
    let mut turn = fixture.open().await;
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(50), turn.session.start()).await;
    assert!(given_up.is_err());
    turn.close(Close::Return).await;
    assert_eq!(fixture.pool.warm(), []);
    let turn = fixture.prompt("hello").await;
    assert_eq!(turn.told(), [NoticeCode::BackendRestarted, NoticeCode::SessionLoaded]);
    assert!(turn.info.notices[0].text.contains("was stopped while it got ready"));
    turn.finish().await;
    fixture.shut_down().await;
}

/// It takes a while until all of its crowd is killed.
#[tokio::test]
async fn a_turn_that_is_given_up_while_its_process_is_replaced_leaves_nothing() {
    let mut fixture = Fixture::new();
    fixture.spec.resume = Some("crowd".to_owned());
    let mut turn = fixture.open().await;
    tokio::select! {
        biased;
        () = until(|| fixture.pool.warm().iter().all(|kept| kept.turns == 0)) => {}
        _ = turn.session.start() => panic!("it got ready"),
    }
    turn.close(Close::Return).await;
    assert_eq!(fixture.pool.warm(), []);
    assert_nothing_left(&fixture.spec.run_tag);
    fixture.shut_down().await;
}
