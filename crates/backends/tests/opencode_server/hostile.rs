//! Servers that send too much, or what nobody can read.

use dispatch_core::agent::{EndedHow, NoticeCode};
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::desk::Desk;
use crate::fake::{Manner, event};

/// A turn whose owner is slow loses its events and asks for what they told; another one hears its own meanwhile.
#[tokio::test]
async fn a_flood_costs_its_own_turn_its_events_and_nobody_their_text() {
    let desk = Desk::new(Manner::Good).await;
    let (slow, flooded) = desk.turn(1).await;
    let (quick, other) = desk.turn(2).await;
    flooded.begin_answer("msg_a");
    flooded.begin_text("msg_a", "prt_a");
    let piece = "x".repeat(64 << 10);
    for _ in 0..80 {
        flooded.delta("prt_a", &piece);
    }
    let text = piece.repeat(80);
    flooded.end_text("msg_a", "prt_a", &text);
    flooded.store(&[("msg_a", "prt_a", &text[..2 << 20], true)]);
    other.answer_with("quick");
    assert_eq!(quick.finish().await.0.text(), "quick");
    flooded.end_answer("msg_a");
    flooded.idle();
    let (said, end) = slow.finish().await;
    assert_eq!(end.how, EndedHow::Completed);
    // The line with the whole text was too long for the stream; what is stored is shorter than that.
    assert_eq!(said.text().len(), 2 << 20);
    desk.over().await;
}

#[tokio::test]
async fn a_line_that_is_too_long_is_asked_for_otherwise() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn(1).await;
    voice.is_busy(true);
    voice.store(&[("msg_a", "prt_a", "asked for", true)]);
    voice.begin_answer("msg_a");
    desk.fake.line("data: {\"payload\":");
    for _ in 0..100 {
        desk.fake.line(&"[".repeat(1 << 20));
    }
    desk.fake.line("\n\n");
    let finish = async {
        desk.fake.called("GET /question", 1).await;
        voice.is_busy(false);
        voice.end_answer("msg_a");
        voice.idle();
    };
    let ((said, end), ()) = tokio::join!(turn.finish(), finish);
    assert_eq!((said.text().as_str(), end.how), ("asked for", EndedHow::Completed));
    desk.over().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_an_endless_answer_is_not_awaited() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn(1).await;
    desk.fake.answer_endlessly("GET /session/ses_1/message", 1 << 30);
    voice.is_busy(true);
    for line in ["data: nonsense\n\n", "data: {}\n\n", "event: x\n", "data: {\"payload\":{\"type\":7}}\n\n"] {
        desk.fake.line(line);
    }
    voice.say("message.updated", json!({"info": {"id": 7}}));
    voice.say("message.part.updated", json!({}));
    voice.answer_with("done");
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("done", EndedHow::Completed));
    let oddities = said.notice(NoticeCode::AgentOddity).unwrap();
    assert!(oddities.contains("events that could not be read (2 times)"), "{oddities}");

    // With a gap it is asked, in vain, and the turn ends all the same.
    let (turn, voice) = desk.turn(2).await;
    desk.fake.answer_endlessly("GET /session/ses_2/message", 1 << 30);
    desk.fake.cut();
    desk.fake.streams(2).await;
    voice.answer_with("done");
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("done", EndedHow::Completed));
    assert!(said.notice(NoticeCode::AgentOddity).unwrap().contains("text that was lost"));
    desk.over().await;
}

/// Says this, of which nobody can make anything, until the turn has ended by that.
async fn says_nothing_of_meaning(desk: &Desk, babble: &str) {
    let (turn, voice) = desk.turn(1).await;
    voice.is_busy(true);
    for _ in 0..140 {
        desk.fake.line(babble);
    }
    let (said, end) = turn.finish().await;
    let EndedHow::Failed(failure) = end.how else { panic!("{end:?}") };
    assert_eq!(failure.reason, TerminalReason::OutputLimit);
    assert!(failure.text.contains("said more than 128 MiB"), "{}", failure.text);
    assert_eq!(said.text(), "");
}

fn long() -> String {
    "[".repeat(1 << 20)
}

#[tokio::test]
async fn a_server_that_says_much_to_nobody_is_not_listened_to() {
    let of_nobody = json!({"sessionID": "ses_of_nobody", "messageID": "m", "delta": long()});
    for babble in [long(), event("message.part.delta", of_nobody)] {
        let desk = Desk::new(Manner::Good).await;
        says_nothing_of_meaning(&desk, &babble).await;
        assert_eq!(desk.servers(), [0_u32; 0]);
        desk.over().await;
    }
}

#[tokio::test]
async fn a_turn_of_which_much_is_said_that_means_nothing_is_ended() {
    let desk = Desk::new(Manner::Good).await;
    let busy = json!({"sessionID": "ses_1", "status": {"type": "busy"}, "x": long()});
    says_nothing_of_meaning(&desk, &event("session.status", busy)).await;
    desk.over().await;
}
