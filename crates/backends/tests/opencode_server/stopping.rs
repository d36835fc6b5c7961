//! Stop: a turn's prompt is aborted and the server stays; one that does not obey is cut off (SPEC S4).

use std::time::Duration;

use dispatch_core::agent::{AgentUpdate, EndedHow};
use dispatch_core::ports::Close;
use dispatch_core::profile::Stop;
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::desk::Desk;
use crate::fake::Manner;
use crate::support::waiting::within;

#[tokio::test]
async fn a_stop_aborts_the_turn_and_the_server_stays() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn_that_said(1, "so far ").await;
    let kept = desk.servers();
    turn.control.stop(Stop::Ask).await;
    turn.control.stop(Stop::Ask).await;
    desk.fake.called("POST /session/ses_1/abort", 1).await;
    // As the real server does: idle when it is asked, and again when it has cleared up.
    let aborted = json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
    voice.say("session.error", json!({"error": aborted}));
    voice.idle();
    let mut answer = voice.answer("msg_a", true);
    (answer["error"], answer["finish"]) = (aborted, json!(null));
    voice.say("message.updated", json!({"info": answer}));
    voice.idle();
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("so far ", EndedHow::Cancelled));
    assert_eq!(desk.servers(), kept);
    desk.over().await;
}

#[tokio::test]
async fn an_abort_that_is_not_heard_is_sent_again() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn(1).await;
    turn.control.stop(Stop::Ask).await;
    desk.fake.called("POST /session/ses_1/abort", 2).await;
    voice.answer_with("done");
    turn.finish().await;
    desk.over().await;
}

/// An abort that may still be on its way would end the conversation's next turn.
#[tokio::test]
async fn an_abort_that_is_not_answered_costs_the_server() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn(1).await;
    desk.fake.never_answer("POST /session/ses_1/abort");
    turn.control.stop(Stop::Ask).await;
    desk.fake.called("POST /session/ses_1/abort", 1).await;
    voice.answer_with("done");
    let (_, end) = turn.finish().await;
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(desk.servers(), [0_u32; 0]);
    desk.over().await;
}

#[tokio::test]
async fn a_turn_that_does_not_obey_is_cut_off_and_others_go_on() {
    let desk = Desk::new(Manner::Good).await;
    let (mut disobedient, _) = desk.turn(1).await;
    let (other, voice) = desk.turn(2).await;
    let kept = desk.servers();
    disobedient.control.stop(Stop::Terminate).await;
    let end = disobedient.end().await;
    assert_eq!(end.how, EndedHow::Cancelled);
    disobedient.control.stop(Stop::Kill).await;
    disobedient.close(Close::Return).await;
    assert_eq!(desk.servers(), kept, "the other turn runs on it");

    // The line of work takes no turn until the server is gone, and then a new one.
    let next = desk.start(desk.spec(1));
    let others = async {
        desk.fake.event("server.heartbeat", json!({}));
        voice.answer_with("done");
        other.finish().await
    };
    let (next, (said, _)) = tokio::join!(next, others);
    assert_eq!(said.text(), "done");
    let next = next.unwrap();
    assert_ne!(desk.servers(), kept);
    assert_eq!(next.info.notices, [], "nothing crashed");
    next.close(Close::Return).await;
    desk.over().await;
}

/// It was asked harder than it needed: what it had done was still to be heard.
#[tokio::test]
async fn a_turn_that_had_ended_when_it_was_cut_off_costs_the_next_one_nothing() {
    let desk = Desk::with(Manner::Good, |settings| settings.recycling = Duration::from_millis(50)).await;
    let (turn, voice) = desk.turn(1).await;
    let (mut other, others) = desk.turn(2).await;
    let kept = desk.servers();
    voice.answer_with("done");
    // What comes later on the one stream has come: so has what came before it.
    others.begin_answer("msg_b");
    others.begin_text("msg_b", "prt_b");
    others.delta("prt_b", "heard");
    other.until_said("heard").await;
    turn.control.stop(Stop::Terminate).await;
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("done", EndedHow::Completed));
    let next = desk.start(desk.spec(1)).await.unwrap();
    assert_eq!(desk.servers(), kept);
    next.close(Close::Return).await;
    other.close(Close::Kill).await;
    desk.over().await;
}

#[tokio::test]
async fn a_line_of_work_that_was_cut_off_waits_for_others_no_longer_than_it_may() {
    let desk = Desk::with(Manner::Good, |settings| settings.recycling = Duration::from_millis(50)).await;
    let (mut disobedient, _) = desk.turn(1).await;
    let (other, voice) = desk.turn(2).await;
    disobedient.control.stop(Stop::Kill).await;
    disobedient.end().await;
    disobedient.close(Close::Return).await;
    let failure = desk.start(desk.spec(1)).await.err().unwrap();
    assert_eq!(failure.reason, TerminalReason::CouldNotStart);
    assert!(failure.text.contains("did not stop when it was asked"), "{}", failure.text);
    voice.answer_with("done");
    other.finish().await;
    desk.over().await;
}

/// Otherwise it would never be replaced, as long as turns come.
#[tokio::test]
async fn a_server_that_is_to_be_replaced_takes_no_new_turns() {
    let desk = Desk::new(Manner::Good).await;
    let (mut disobedient, _) = desk.turn(1).await;
    let (other, voice) = desk.turn(2).await;
    let kept = desk.servers();
    disobedient.control.stop(Stop::Kill).await;
    disobedient.end().await;
    disobedient.close(Close::Return).await;
    let third = desk.start(desk.spec(3)).await.unwrap();
    assert_eq!((kept.len(), desk.servers().len()), (1, 2));
    let next = desk.start(desk.spec(1));
    let others = async {
        voice.answer_with("done");
        other.finish().await
    };
    // The third one's turn goes on meanwhile.
    let (next, _) = tokio::join!(next, others);
    next.unwrap().close(Close::Return).await;
    third.close(Close::Return).await;
    desk.over().await;
}

#[tokio::test]
async fn a_server_with_no_other_turn_is_gone_when_the_session_is_closed() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, _) = desk.turn(1).await;
    turn.control.stop(Stop::Kill).await;
    turn.end().await;
    turn.close(Close::Return).await;
    assert_eq!(desk.servers(), [0_u32; 0]);
    desk.over().await;
}

/// As when the dispatcher loses a turn half way: what still runs is aborted, and the server kept if it obeys.
#[tokio::test]
async fn closing_a_turn_that_runs_aborts_it() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn(1).await;
    voice.is_busy(false);
    let kept = desk.servers();
    turn.close(Close::Kill).await;
    assert_eq!(desk.fake.calls("POST /session/ses_1/abort"), 1);
    assert_eq!(desk.servers(), kept);

    let (turn, voice) = desk.turn(2).await;
    voice.is_busy(true);
    turn.close(Close::Kill).await;
    assert_eq!(desk.servers(), [0_u32; 0], "it is busy all the same");
    desk.over().await;
}

#[tokio::test]
async fn a_retry_is_said_once_and_can_be_stopped() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, voice) = desk.turn(1).await;
    voice.begin_answer("msg_a");
    for attempt in 1..4 {
        let status =
            json!({"type": "retry", "attempt": attempt, "message": "HTTP 503 overloaded", "next": 0});
        voice.say("session.status", json!({"status": status}));
        voice.status("busy");
    }
    let retried = |update: &AgentUpdate| match update {
        AgentUpdate::Notice(notice) => Some(notice.text.clone()),
        _ => None,
    };
    assert!(turn.until(retried).await.ends_with("tries again: HTTP 503 overloaded"));
    // Aborted while it waits, opencode reports no error.
    let mut answer = voice.answer("msg_a", true);
    answer["finish"] = json!(null);
    voice.say("message.updated", json!({"info": answer}));
    voice.idle();
    let (said, end) = within(turn.finish()).await;
    assert_eq!(said.all(retried).len(), 1);
    assert!(
        matches!(&end.how, EndedHow::Failed(failure) if failure.reason == TerminalReason::ModelOverloaded)
    );
    desk.over().await;
}
