//! What a service makes native inference hold in memory. A test program of its own, whose peak is this test's.

#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

#[path = "native/common.rs"]
#[allow(dead_code, reason = "shared with the tests of `native`")]
mod common;
#[path = "native/server.rs"]
#[allow(dead_code, reason = "shared with the tests of `native`")]
mod server;

use common::{Fixture, failure, results};
use dispatch_core::agent::EndedHow;
use dispatch_core::task::TerminalReason;
use serde_json::json;
use server::{End, Reply, delta, events, finish, says};

/// The most memory that this process has had so far, in bytes (proc(5): `VmHWM`).
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

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
    let more = peak() - before;
    assert!(more < 64 << 20, "{} MiB more", more >> 20);
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
    let more = peak() - before;
    assert!(more < 64 << 20, "{} MiB more", more >> 20);
}
