//! Permission requests: asked, answered once, by kind.

use dispatch_core::agent::{Answer, End, EndedHow, NoticeCode};
use dispatch_core::ports::Close;

use crate::common::Fixture;
use crate::support::said::{Said, asked};

#[tokio::test]
async fn yes_goes_on_and_no_does_not() {
    for fixture in Fixture::each(&[]) {
        answers(&fixture).await;
        fixture.over().await;
    }
}

async fn answers(fixture: &Fixture) {
    for (answer, goes_on) in
        [(Answer::Allow, true), (Answer::Deny, false), (Answer::Lapsed, false), (Answer::Cancelled, false)]
    {
        for directive in ["/ask may I", "/ask-unseen may I", "/string-ids\n/ask may I"] {
            let mut turn = fixture.prompt(&format!("{directive}\n/say went on")).await;
            let request = turn.until(asked).await;
            assert_eq!(request.tool_call.title, "may I");
            // Ids that were never given out do nothing.
            turn.control.answer("permission-7", Answer::Allow).await;
            turn.control.answer(&request.id, answer).await;
            turn.control.answer(&request.id, Answer::Allow).await;
            let end = turn.end().await;
            let said = turn.close(Close::Return).await;
            assert_eq!(said.text().contains("went on"), goes_on, "{answer:?} to {directive}: {end:?}");
            assert_eq!(said.tools().len(), 1, "the call is known from the request at the latest");
        }
    }
}

/// As codex-acp does. Nobody has cancelled it: it is over, as it is with agents that say so.
#[tokio::test]
async fn a_turn_that_is_cancelled_by_its_agent_for_a_refusal_is_over() {
    let fixture = Fixture::new(&[]);
    let options = r#"[{"optionId":"yes","name":"Yes","kind":"allow_once"},{"optionId":"no","name":"No","kind":"reject_once"}]"#;
    for (answer, how) in [
        (Answer::Deny, EndedHow::Completed),
        (Answer::Lapsed, EndedHow::Completed),
        (Answer::Allow, EndedHow::Cancelled),
    ] {
        let mut turn = fixture.start().await;
        let question = format!(
            r#"{{"sessionId":"{}","toolCall":{{"toolCallId":"t"}},"options":{options}}}"#,
            turn.conversation()
        );
        turn.prompt(&format!("/request session/request_permission {question}\n/stop cancelled")).await;
        let request = turn.until(asked).await;
        turn.control.answer(&request.id, answer).await;
        assert_eq!(turn.end().await.how, how, "{answer:?}");
        turn.close(Close::Return).await;
    }
}

#[tokio::test]
async fn an_open_request_is_answered_by_the_cancel() {
    for fixture in Fixture::each(&[]) {
        let mut turn = fixture.prompt("/ask may I\n/say went on").await;
        let request = turn.until(asked).await;
        turn.control.stop(dispatch_core::profile::Stop::Ask).await;
        assert_eq!(turn.end().await.how, EndedHow::Cancelled);
        turn.control.answer(&request.id, Answer::Allow).await;
        assert!(!turn.close(Close::Return).await.text().contains("went on"));
        fixture.over().await;
    }
}

/// Nobody is shown a question about a conversation that is not this one, and the agent does not wait for its answer.
#[tokio::test]
async fn a_request_for_another_conversation_is_cancelled_and_counted() {
    let question = r#"{"sessionId":"another","toolCall":{"toolCallId":"t"},"options":[{"optionId":"yes","name":"Yes","kind":"allow_once"}]}"#;
    for fixture in Fixture::each(&[]) {
        let prompt = format!("/request session/request_permission {question}\n/say went on");
        let (said, end) = fixture.run(&prompt).await;
        is_cancelled_and_counted(&said, &end);
        fixture.over().await;
    }
}

fn is_cancelled_and_counted(said: &Said, end: &End) {
    assert_eq!(end.how, EndedHow::Completed);
    assert!(
        said.text().contains(r#""outcome":"cancelled""#) && said.text().contains("went on"),
        "{}",
        said.text()
    );
    assert!(said.all(asked).is_empty());
    assert_eq!(said.tools(), []);
    let notice = said.notice(NoticeCode::AgentOddity).unwrap();
    assert!(notice.contains("permission requests for another conversation"), "{notice}");
}
