//! Streams that break, and servers that die.

use dispatch_core::agent::{EndedHow, NoticeCode};
use dispatch_core::ports::Close;
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::desk::Desk;
use crate::fake::Manner;

/// What is written while nobody listens is missing from the stream, and not stored before the part is complete.
#[tokio::test]
async fn a_broken_stream_loses_no_text_and_repeats_none() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, voice) = desk.turn_that_said(1, "one ").await;
    voice.is_busy(true);
    voice.store(&[("msg_a", "prt_a", "", false)]);
    desk.fake.cut();
    // Lost: "two ". Heard, but with a gap before it: "three ".
    desk.fake.streams(2).await;
    voice.delta("prt_a", "three ");
    voice.end_text("msg_a", "prt_a", "one two three ");
    turn.until_said("one two three ").await;
    // A part that begins after the gap is shown as it comes.
    voice.begin_text("msg_a", "prt_b");
    voice.delta("prt_b", "four ");
    turn.until_said("one two three four ").await;
    voice.end_text("msg_a", "prt_b", "four ");
    voice.store(&[("msg_a", "prt_a", "one two three ", true), ("msg_b", "prt_b", "four ", true)]);
    voice.is_busy(false);
    voice.end_answer("msg_a");
    voice.idle();
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("one two three four ", EndedHow::Completed));
    assert_eq!(said.notice(NoticeCode::AgentOddity), None, "nothing is missing");
    desk.over().await;
}

#[tokio::test]
async fn a_turn_that_ended_while_nobody_listened_is_whole() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn_that_said(1, "one ").await;
    voice.store(&[("msg_a", "prt_a", "one two ", true), ("msg_b", "prt_b", "three", true)]);
    voice.is_busy(false);
    desk.fake.cut();
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("one two three", EndedHow::Completed));
    assert_eq!(end.usage.total_tokens, Some(10));
    desk.over().await;
}

#[tokio::test]
async fn a_server_that_dies_crashes_its_turns_and_the_next_one_is_told() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, _) = desk.turn_that_said(1, "so far ").await;
    let [pid] = desk.servers()[..] else { panic!() };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::SIGKILL).unwrap();
    let end = turn.end().await;
    let EndedHow::Crashed(failure) = end.how else { panic!("{end:?}") };
    assert_eq!(failure.reason, TerminalReason::AgentCrashed);
    assert_eq!(failure.text, "agent opencode ended with signal SIGKILL before its turn was over");
    assert_eq!(turn.close(Close::Kill).await.text(), "so far ");
    assert_eq!(desk.servers(), [0_u32; 0]);

    let next = desk.start(desk.spec(2)).await.unwrap();
    assert_eq!(next.told(), [NoticeCode::BackendRestarted]);
    next.close(Close::Return).await;
    let after = desk.start(desk.spec(2)).await.unwrap();
    assert_eq!(after.info.notices, [], "said once");
    after.close(Close::Return).await;
    desk.over().await;
}

/// A conversation's messages are asked for while its turn runs, and tell less than its events already have.
#[tokio::test]
async fn an_answer_that_is_older_than_the_events_changes_nothing() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, voice) = desk.turn(1).await;
    voice.is_busy(true);
    voice.store(&[("msg_a", "prt_a", "", false)]);
    voice.begin_answer("msg_a");
    voice.end_text("msg_a", "prt_a", "whole");
    voice.end_answer("msg_a");
    turn.until_said("whole").await;
    desk.fake.cut();
    let finish = async {
        desk.fake.called("GET /question", 1).await;
        voice.store(&[("msg_a", "prt_a", "whole", true)]);
        voice.is_busy(false);
        voice.idle();
    };
    let ((said, end), ()) = tokio::join!(turn.finish(), finish);
    assert_eq!((said.text().as_str(), end.how), ("whole", EndedHow::Completed));
    assert_eq!(end.usage.total_tokens, Some(5));
    assert_eq!(json!(said.notice(NoticeCode::AgentOddity)), json!(null));
    desk.over().await;
}

/// What cannot be had of a conversation keeps nobody from hearing that it is idle.
#[tokio::test]
async fn a_turn_whose_end_was_lost_ends_with_what_can_be_had() {
    let desk = Desk::new(Manner::Good).await;
    // Its messages can be read, the rest cannot.
    let (turn, voice) = desk.turn_that_said(1, "one ").await;
    voice.store(&[("msg_a", "prt_a", "one two", true)]);
    voice.is_busy(false);
    for call in ["GET /session/ses_1/children", "GET /permission", "GET /question"] {
        desk.fake.answer_status(call, 500);
    }
    desk.fake.cut();
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("one two", EndedHow::Completed));

    // Nothing can be read but that it is idle.
    let (mut turn, voice) = desk.turn(2).await;
    voice.begin_answer("msg_a");
    voice.end_text("msg_a", "prt_a", "whole");
    voice.end_answer("msg_a");
    turn.until_said("whole").await;
    desk.fake.answer("GET /session/ses_2/message", json!({"not": "a list"}));
    desk.fake.cut();
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("whole", EndedHow::Completed));
    assert!(said.notice(NoticeCode::AgentOddity).unwrap().contains("text that was lost"));
    desk.over().await;
}

/// Of messages that are too long to be read all at once, the newest are.
#[tokio::test]
async fn of_long_messages_the_newest_are_read() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn_that_said(1, "one ").await;
    desk.fake.answer_endlessly("GET /session/ses_1/message?limit=64", 1 << 30);
    desk.fake.answer_endlessly("GET /session/ses_1/message?limit=16", 1 << 30);
    voice.store_without_prompt("limit=4", &[("msg_a", "prt_a", "one two", true)]);
    voice.is_busy(false);
    desk.fake.cut();
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("one two", EndedHow::Completed));
    assert_eq!(said.notice(NoticeCode::AgentOddity), None, "it reaches back to what is known");
    desk.over().await;
}

/// JavaScript cuts text between the halves of a character, and writes down the half.
#[tokio::test]
async fn half_a_character_costs_no_event_and_no_answer() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, voice) = desk.turn(1).await;
    voice.begin_answer("msg_a");
    voice.begin_text("msg_a", "prt_a");
    let delta = format!(
        r#"{{"sessionID":"{}","messageID":"msg_a","partID":"prt_a","field":"text","delta":"half \ud83d"}}"#,
        voice.session
    );
    let payload = format!(r#"{{"payload":{{"type":"message.part.delta","properties":{delta}}}}}"#);
    desk.fake.line(&format!("data: {payload}\n\n"));
    turn.until_said("half \u{fffd}").await;
    voice.is_busy(false);
    let part =
        r#"{"id":"prt_b","messageID":"msg_b","type":"text","text":" and \ude00 half","time":{"end":2}}"#;
    let answer = voice.answer("msg_b", true);
    desk.fake.answer_text(
        "GET /session/ses_1/message",
        format!(
            r#"[{{"info":{{"id":"{}","role":"user"}}}},{{"info":{answer},"parts":[{part}]}}]"#,
            voice.prompt
        ),
    );
    desk.fake.cut();
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("half \u{fffd} and \u{fffd} half", EndedHow::Completed));
    assert_eq!(said.notice(NoticeCode::AgentOddity), None);
    desk.over().await;
}
