//! What a server says, and what a turn makes of it.

use dispatch_core::agent::{AgentUpdate, Answer, EndedHow, NoticeCode};
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::desk::{Desk, permission};
use crate::fake::Manner;
use crate::support::said;

fn asked(update: &AgentUpdate) -> Option<String> {
    said::asked(update).map(|request| request.id)
}

#[tokio::test]
async fn answers_are_for_once_and_a_refusal_is_told_to_the_model() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, voice) = desk.turn(1).await;
    for (id, answer, body) in [
        ("per_1", Answer::Allow, json!({"reply": "once"})),
        ("per_2", Answer::Deny, json!({"reply": "reject", "message": "the user refused this"})),
        ("per_3", Answer::Cancelled, json!({"reply": "reject"})),
    ] {
        voice.ask(id, &voice.session);
        turn.until(|update| asked(update).filter(|asked| asked == id)).await;
        turn.control.answer(id, answer).await;
        turn.control.answer(id, Answer::Allow).await;
        assert_eq!(desk.fake.called(&format!("POST /permission/{id}/reply"), 1).await, body);
    }
    voice.answer_with("done");
    let (said, _) = turn.finish().await;
    assert_eq!(said.all(asked).len(), 3);
    assert_eq!(desk.fake.calls("POST /permission/per_1/reply"), 1, "answered once");
    desk.over().await;
}

/// One refusal answers all that is asked at the time.
#[tokio::test]
async fn a_request_that_was_answered_otherwise_is_open_no_more() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, voice) = desk.turn(1).await;
    for id in ["per_1", "per_2"] {
        voice.ask(id, &voice.session);
    }
    turn.until(|update| asked(update).filter(|id| id == "per_2")).await;
    turn.control.answer("per_1", Answer::Deny).await;
    desk.fake.called("POST /permission/per_1/reply", 1).await;
    for id in ["per_1", "per_2"] {
        voice.say("permission.replied", json!({"requestID": id, "reply": "reject"}));
    }
    let withdrawn = |update: &AgentUpdate| match update {
        AgentUpdate::PermissionWithdrawn(id) => Some(id.clone()),
        _ => None,
    };
    turn.until(withdrawn).await;
    turn.control.answer("per_2", Answer::Allow).await;
    voice.answer_with("done");
    let (said, _) = turn.finish().await;
    assert_eq!(said.all(withdrawn), ["per_2"], "the other one was answered here");
    assert_eq!(desk.fake.calls("POST /permission/per_2/reply"), 0);
    desk.over().await;
}

/// opencode keeps the requests of turns that were aborted for ever.
#[tokio::test]
async fn what_an_earlier_turn_left_open_is_not_asked_again() {
    let desk = Desk::new(Manner::Good).await;
    let here = desk.worktree.path().to_str().unwrap();
    desk.fake.answer("GET /session/ses_old", json!({"id": "ses_old", "directory": here}));
    let old = [permission("per_old", "ses_old"), permission("per_kid", "ses_kid")];
    desk.fake.answer("GET /permission", json!(old));
    let question = json!([{"id": "que_old", "sessionID": "ses_old"}]);
    desk.fake.answer("GET /question", question);
    // An agent that the earlier turn began.
    desk.fake.answer("GET /session/ses_old/children", json!([{"id": "ses_kid"}]));
    let mut spec = desk.spec(1);
    spec.resume = Some("ses_old".to_owned());
    let mut turn = desk.start(spec).await.unwrap();
    let voice = desk.prompt(&mut turn, "hello").await;
    voice.take_prompt();
    desk.fake.answer(
        "GET /permission",
        json!([
            permission("per_old", "ses_old"),
            permission("per_kid", "ses_kid"),
            permission("per_new", "ses_old"),
            permission("per_others", "ses_other")
        ]),
    );
    voice.is_busy(true);
    voice.store(&[]);
    desk.fake.cut();
    turn.until(asked).await;
    voice.is_busy(false);
    voice.answer_with("done");
    let (said, _) = turn.finish().await;
    assert_eq!(said.all(asked), ["per_new"]);
    assert_eq!(desk.fake.calls("POST /question/que_old/reject"), 0);
    desk.over().await;
}

#[tokio::test]
async fn agents_that_the_turn_starts_may_ask_and_cost_but_do_not_speak() {
    let desk = Desk::new(Manner::Good).await;
    let (mut turn, voice) = desk.turn(1).await;
    voice.begin_answer("msg_a");
    let created = |child: &str, parent: &str| {
        desk.fake
            .event("session.created", json!({"sessionID": child, "info": {"id": child, "parentID": parent}}));
    };
    created("ses_child", &voice.session);
    created("ses_grandchild", "ses_child");
    created("ses_stranger", "ses_unknown");
    for child in ["ses_child", "ses_grandchild", "ses_stranger"] {
        let say = |kind: &str, mut properties: serde_json::Value| {
            properties["sessionID"] = json!(child);
            desk.fake.event(kind, properties);
        };
        say("message.updated", json!({"info": voice.answer(&format!("msg_{child}"), true)}));
        say(
            "message.part.updated",
            json!({"part": {"id": "prt_c", "messageID": format!("msg_{child}"),
            "type": "text", "text": "not for the user", "time": {"end": 2}}}),
        );
        say("session.status", json!({"status": {"type": "idle"}}));
        voice.ask(&format!("per_{child}"), child);
    }
    turn.until(|update| asked(update).filter(|id| id == "per_ses_grandchild")).await;
    turn.control.answer("per_ses_child", Answer::Allow).await;
    desk.fake.called("POST /permission/per_ses_child/reply", 1).await;
    voice.answer_with("mine");
    let (said, end) = turn.finish().await;
    assert_eq!(said.text(), "mine");
    assert_eq!(said.all(asked), ["per_ses_child", "per_ses_grandchild"]);
    assert_eq!((end.usage.total_tokens, end.usage.cost.unwrap().amount), (Some(15), 0.75));
    assert_eq!(end.usage.context_used, Some(5), "the turn's own");
    desk.over().await;
}

#[tokio::test]
async fn a_question_that_nobody_can_answer_is_declined() {
    let desk = Desk::new(Manner::Good).await;
    let (turn, voice) = desk.turn(1).await;
    voice.say("question.asked", json!({"id": "que_1", "questions": []}));
    let wait = async {
        desk.fake.called("POST /question/que_1/reject", 1).await;
        voice.answer_with("done");
    };
    let ((said, _), ()) = tokio::join!(turn.finish(), wait);
    assert!(said.notice(NoticeCode::AgentOddity).unwrap().contains("declined"));
    desk.over().await;
}

#[tokio::test]
async fn events_of_other_conversations_and_of_earlier_turns_are_not_heard() {
    let desk = Desk::new(Manner::Good).await;
    let mut turn = desk.start(desk.spec(1)).await.unwrap();
    let voice = desk.prompt(&mut turn, "hello").await;
    // What an earlier turn of the conversation still says.
    voice.begin_answer("msg_old");
    voice.end_text("msg_old", "prt_old", "old");
    voice.idle();
    voice.take_prompt();
    let other = crate::desk::Voice { fake: &desk.fake, session: "ses_other".into(), prompt: "msg_p".into() };
    other.take_prompt();
    other.answer_with("not mine");
    voice.answer_with("mine <dcp-message-id>m1</dcp-message-id>really");
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("mine really", EndedHow::Completed));
    desk.over().await;
}

/// A prompt for an agent that there is not is followed by an error, twice, and nothing else.
#[tokio::test]
async fn an_error_before_anything_was_begun_is_the_end() {
    let desk = Desk::new(Manner::Good).await;
    let mut turn = desk.start(desk.spec(1)).await.unwrap();
    let voice = desk.prompt(&mut turn, "hello").await;
    for text in ["Agent not found: x", "UnknownError: at <anonymous>"] {
        voice.say("session.error", json!({"error": {"name": "UnknownError", "data": {"message": text}}}));
    }
    let (_, end) = turn.finish().await;
    let EndedHow::Failed(failure) = end.how else { panic!("{end:?}") };
    assert_eq!((failure.reason, failure.text.as_str()), (TerminalReason::AgentFailed, "Agent not found: x"));
    desk.over().await;
}
