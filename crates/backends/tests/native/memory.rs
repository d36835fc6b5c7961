//! What a service makes native inference hold in memory.

use dispatch_core::agent::EndedHow;
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::common::{Fixture, failure, results};
use crate::peak::{assert_little_since, peak};
use crate::server::{End, Reply, delta, events, finish, says};

#[tokio::test]
async fn arguments_of_many_members_cost_little() {
    Fixture::new([says("warm")]).await.run().await;
    let before = peak();
    let call = |arguments: &str| {
        let function = json!({ "name": "list_files", "arguments": arguments });
        events(&[delta(json!({ "tool_calls": [{ "index": 0, "id": "x", "function": function }] }))])
    };
    let members = "{\"a\":1},".repeat(400_000);
    let body = call(&format!("{{\"a\":[{members}1]}}")) + &events(&[finish("tool_calls")]);
    let fixture = Fixture::new([Reply::stream(body), says("done")]).await;
    let (said, end) = fixture.run().await;
    assert_eq!((said.text().as_str(), end.how), ("done", EndedHow::Completed));
    assert!(results(&fixture.server)[0].contains("too many members"));
    assert_little_since(before);
}

#[tokio::test]
async fn floods_cost_little() {
    Fixture::new([says("warm")]).await.run().await;
    let before = peak();
    let text = events(&[delta(json!({ "content": "x".repeat(1 << 20) }))]);
    let nested = format!("data: {}\n\n", "{\"a\":[".repeat(1 << 19));
    for (body, times) in [(vec![b'x'; 1 << 20], 200), (text.into_bytes(), 200), (nested.into_bytes(), 4)] {
        let flood = Reply::stream(body).repeated(times).ending(End::Cut);
        let (_, end) = Fixture::new(vec![flood; 5]).await.run().await;
        let reason = failure(&end).reason;
        assert!(matches!(reason, TerminalReason::OutputLimit | TerminalReason::AgentCrashed), "{end:?}");
    }
    assert_little_since(before);
}
