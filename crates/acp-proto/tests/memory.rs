//! What an agent can make its host hold in memory. A test program of its own: all that it allocates is counted.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/processes.rs"]
mod processes;
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use acp_proto::client::Config;
use acp_proto::host::{Host, MissingFile};
use acp_proto::types::SessionUpdate;
use acp_proto::{Decoder, Message, Notification};
use processes::Processes;
use serde_json::json;
use support::start_with;

/// Counts what is allocated.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Waits until nothing is allocated or freed any more.
async fn at_rest() {
    let (mut before, mut looks) = (usize::MAX, 0);
    while looks < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = HELD.load(Ordering::Relaxed);
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
    }
}

const MIB: usize = 1 << 20;

/// All that one line may hold: values of two bytes, which take hundreds of times that once they are read.
#[test]
fn a_line_of_tiny_values_is_not_read() {
    let update = |member: &str, piece: &str| {
        let mut line = format!(
            r#"{{"method":"session/update","params":{{"sessionId":"s","update":{{"sessionUpdate":"tool_call","toolCallId":"t","title":"t","{member}":[{piece}"#
        );
        while line.len() < 15 * MIB {
            line.push(',');
            line.push_str(piece);
        }
        line + "]}}}\n"
    };
    for (member, piece) in [
        ("rawInput", "{}"),
        ("rawInput", r#"{"a":1}"#),
        ("rawOutput", "[]"),
        ("rawOutput", "0"),
        ("rawOutput", "[[[[0]]]]"),
        ("locations", r#"{"path":""}"#),
        ("content", r#"{"type":"terminal","terminalId":""}"#),
    ] {
        let line = update(member, piece);
        let mut decoder = Decoder::new();
        let before = HELD.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let mut updates = Vec::new();
        for bytes in line.as_bytes().chunks(1 << 16) {
            decoder.push(bytes);
            while let Some(message) = decoder.next_message() {
                if let Message::Notification(Notification { params: Some(params), .. }) = &message {
                    let update = SessionUpdate::decode(params);
                    updates.push((update, params.decode::<serde_json::Value>().ok()));
                }
            }
        }
        let held = PEAK.load(Ordering::Relaxed) - before;
        // The line, twice while its buffer grows.
        assert!(held < 64 * MIB, "{member} of {piece}: {} MiB", held / MIB);
    }
}

/// A few bytes ask for megabytes, many times, and nobody reads the answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_held_back_before_they_are_made() {
    const ASKED: usize = 32;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("long"), "x".repeat(4 * MIB)).unwrap();
    let host = Host::new(MissingFile::Refuse).with_terminals(Arc::new(Processes::default()));
    let (client, _events, mut agent) = start_with(Config::default(), Arc::new(host));
    let root = folder.path().to_owned();
    let opening = tokio::spawn(async move { client.new_session(&root, &[]).await.map(|_| client) });
    let (id, _) = agent.hear_call("session/new").await;
    agent.answer(&id, json!({"sessionId": "s1"})).await;
    let _client = opening.await.unwrap().unwrap();
    let create = json!({"sessionId": "s1", "command": "head -c 1048576 /dev/zero"});
    agent.say(json!({"id": "create", "method": "terminal/create", "params": create})).await;
    let terminal = agent.hear().await["result"]["terminalId"].clone();
    let terminal = json!({"sessionId": "s1", "terminalId": terminal});
    agent.say(json!({"id": "wait", "method": "terminal/wait_for_exit", "params": terminal})).await;
    agent.hear().await;

    // NUL is six bytes of JSON.
    let read = ("fs/read_text_file", json!({"sessionId": "s1", "path": "long"}), 4 * MIB);
    let output = ("terminal/output", terminal, 6 * MIB);
    for (method, params, length) in [read, output] {
        let before = HELD.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        for id in 0..ASKED {
            agent.say(json!({"id": id, "method": method, "params": params})).await;
        }
        at_rest().await;
        for _ in 0..ASKED {
            assert!(agent.skip_line().await > length, "{method}");
        }
        let held = PEAK.load(Ordering::Relaxed) - before;
        // Four texts, each a few times while it becomes JSON, and what waits to be written.
        assert!(held > length && held < 80 * MIB, "{method}: {} MiB of {}", held / MIB, ASKED * length / MIB);
    }
}
