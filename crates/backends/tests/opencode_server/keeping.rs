//! Which server a turn gets.

use dispatch_core::agent::EndedHow;
use dispatch_core::ports::Close;
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::desk::Desk;
use crate::fake::Manner;

#[tokio::test]
async fn a_server_whose_program_was_replaced_takes_no_new_turns() {
    let desk = Desk::new(Manner::Good).await;
    let (first, voice) = desk.turn(1).await;
    let old = desk.servers();
    desk.fake.replace_program();
    let second = desk.start(desk.spec(2)).await.unwrap();
    assert_eq!(second.info.notices, [], "nothing was lost");
    assert_eq!((desk.servers().len(), desk.servers()[0]), (2, old[0]), "its turn goes on");
    voice.answer_with("done");
    let (said, end) = first.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("done", EndedHow::Completed));
    let new = desk.servers();
    assert!(new.len() == 1 && new != old, "{new:?} after {old:?}");
    second.close(Close::Return).await;
    desk.fake.replace_program();
    let third = desk.start(desk.spec(3)).await.unwrap();
    assert!(desk.servers().len() == 1 && desk.servers() != new, "one that nobody uses makes way at once");
    third.close(Close::Return).await;
    desk.over().await;
}

/// Somebody will log in, which a running server may not notice.
#[tokio::test]
async fn a_server_that_is_not_let_in_takes_no_new_turns() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn(1).await;
    let (other, others) = desk.turn(2).await;
    let old = desk.servers();
    let error = json!({"name": "ProviderAuthError", "data": {"message": "no key"}});
    voice.say("session.error", json!({"error": error}));
    voice.idle();
    let (_, end) = turn.finish().await;
    assert!(
        matches!(&end.how, EndedHow::Failed(failure) if failure.reason == TerminalReason::Unauthorised),
        "{end:?}"
    );
    let next = desk.start(desk.spec(1)).await.unwrap();
    assert_eq!((desk.servers().len(), desk.servers()[0]), (2, old[0]));
    others.answer_with("done");
    assert_eq!(other.finish().await.0.text(), "done");
    assert!(desk.servers().len() == 1 && desk.servers() != old);
    next.close(Close::Return).await;
    desk.over().await;
}
