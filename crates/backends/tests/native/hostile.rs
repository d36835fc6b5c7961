//! A service that means harm costs little. Each limit is met by a turn that ends typed.

use dispatch_core::agent::{AgentUpdate, EndedHow, NoticeCode};
use dispatch_core::ports::Close;
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::common::{Fixture, failure};
use crate::server::{End, Reply, delta, error, events, finish, says};

#[tokio::test]
async fn a_line_without_end_is_not_waited_for() {
    let line = Reply::stream(vec![b'x'; 1 << 20]).repeated(1000).ending(End::Never);
    let (_, end) = Fixture::new([line]).await.run().await;
    assert_eq!(failure(&end).reason, TerminalReason::OutputLimit);
    let one_object = Reply::stream(b"{\"x\":\"".to_vec());
    let fixture = Fixture::new([one_object]).await;
    let (_, end) = fixture.run().await;
    assert!(matches!(end.how, EndedHow::Crashed(_) | EndedHow::Failed(_)), "{end:?}");
}

#[tokio::test]
async fn an_answer_has_an_end() {
    let text = events(&[delta(json!({ "content": "x".repeat(1 << 20) }))]);
    let flood = Reply::stream(text).repeated(1000).ending(End::Never);
    let (said, end) = Fixture::new([flood]).await.run().await;
    assert_eq!(failure(&end).reason, TerminalReason::OutputLimit);
    assert!(said.text().len() <= 5 << 20);
    let arguments = delta(
        json!({ "tool_calls": [{ "index": 0, "function": { "name": "f", "arguments": "x".repeat(1 << 20) } }] }),
    );
    let flood = Reply::stream(events(&[arguments])).repeated(1000).ending(End::Never);
    let (_, end) = Fixture::new([flood]).await.run().await;
    assert_eq!(failure(&end).reason, TerminalReason::OutputLimit);
}

/// Nobody reads: then nothing is read from the service either, and the turn can still be ended.
#[tokio::test]
async fn a_reader_that_waits_makes_the_service_wait() {
    let reasoning = events(&[delta(json!({ "reasoning": "x".repeat(1 << 20) }))]);
    let flood = Reply::stream(reasoning).repeated(100_000).ending(End::Never);
    let fixture = Fixture::new([flood]).await;
    let mut turn = fixture.prompt("go").await;
    turn.until(|update| matches!(update, AgentUpdate::Reasoning(_)).then_some(())).await;
    turn.close(Close::Return).await;
}

#[tokio::test]
async fn what_is_no_json_or_too_deep_is_passed_over_and_said() {
    let deep = format!("data: {}\n\n", "[".repeat(1 << 20));
    let deeper = format!("data: {{\"a\":{}\n\n", "{\"a\":".repeat(1 << 18));
    let body = deep
        + &deeper
        + "data: {\n\ndata: 7\n\n"
        + &events(&[delta(json!({ "content": "x" })), finish("stop")]);
    let (said, end) = Fixture::new([Reply::stream(body)]).await.run().await;
    assert_eq!((said.text().as_str(), end.how), ("x", EndedHow::Completed));
    assert!(said.notice(NoticeCode::AgentOddity).unwrap().contains("(4 times)"), "{:?}", said.0);
}

#[tokio::test]
async fn long_errors_and_long_lists_are_cut() {
    let (_, end) = Fixture::new([error(400, &"no ".repeat(1 << 20))]).await.run().await;
    assert!(failure(&end).text.len() <= 2000);
    let fixture = Fixture::new([says("x")]).await;
    let models: Vec<_> = (0..5000).map(|n| json!({ "id": format!("m{n}") })).collect();
    fixture.server.models(Reply::json(200, &json!({ "data": models })));
    let turn = fixture.prompt("hi").await;
    assert_eq!(turn.info.settings.model.choices.len(), 1000);
    turn.finish().await;
}
