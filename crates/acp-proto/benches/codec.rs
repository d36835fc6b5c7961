//! How fast a stream of text deltas is decoded, against `serde_json::Value` parsing the same lines.
//!
//! `cargo bench -p acp-proto`. Rounds are interleaved, the median of each is printed with its spread. "codec" is what every line
//! costs; "codec + update" is what the host needs to hand the delta on.

use std::hint::black_box;
use std::time::{Duration, Instant};

use acp_proto::types::SessionUpdate;
use acp_proto::{Decoder, Message};
use serde_json::Value;

const ROUNDS: usize = 15;

/// What a pipe hands over at once.
const READ: usize = 64 * 1024;

fn main() {
    // cargo passes `--bench`; `cargo test` runs benches with nothing, and once is enough there.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    println!("{:<28}{:>16}{:>16}{:>18}", "MB/s, median (min-max)", "Value", "codec", "codec + update");
    for (name, text, count) in [
        ("20 bytes a delta", "twenty bytes of text".to_owned(), 50_000),
        ("200 bytes a delta", "a word, ".repeat(25), 20_000),
        ("20 bytes with escapes", "line\\n\\t\\\"quoted\\\" 12".to_owned(), 50_000),
        ("2 MiB a delta", "x".repeat(2 * 1024 * 1024), 8),
    ] {
        let stream = stream(&text, count);
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..rounds {
            for (times, work) in times.iter_mut().zip([values, messages, updates]) {
                let start = Instant::now();
                let decoded = work(&stream);
                times.push(start.elapsed());
                assert_eq!(decoded, count);
            }
        }
        let columns = times.map(|times| rate(times, stream.len()));
        println!("{name:<28}{:>16}{:>16}{:>18}", columns[0], columns[1], columns[2]);
    }
}

fn stream(text: &str, count: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for number in 0..count {
        stream.extend_from_slice(
            format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{{\"sessionId\":\"ses_4eed6aef38564915\",\"update\":\
                 {{\"sessionUpdate\":\"agent_message_chunk\",\"messageId\":\"msg_{number}\",\"content\":{{\"type\":\"text\",\"text\":\"{text}\"}}}}}}}}\n"
            )
            .as_bytes(),
        );
    }
    stream
}

/// The yardstick: lines are found for nothing, each becomes a tree.
fn values(stream: &[u8]) -> usize {
    let lines = stream.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| drop(black_box(serde_json::from_slice::<Value>(line).expect("because it is JSON"))))
        .count()
}

fn messages(stream: &[u8]) -> usize {
    decode(stream, |message| drop(black_box(message)))
}

fn updates(stream: &[u8]) -> usize {
    decode(stream, |message| {
        if let Message::Notification(notification) = message {
            let params = notification.params.expect("because each line has some");
            black_box(SessionUpdate::decode(&params));
        }
    })
}

fn decode(stream: &[u8], mut each: impl FnMut(Message)) -> usize {
    let mut decoder = Decoder::new();
    let mut count = 0;
    for piece in stream.chunks(READ) {
        // As a read into the decoder's own buffer does: one copy, out of the kernel.
        decoder.space().extend_from_slice(piece);
        while let Some(message) = decoder.next_message() {
            each(message);
            count += 1;
        }
    }
    count
}

fn rate(mut times: Vec<Duration>, bytes: usize) -> String {
    times.sort();
    let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    let [slowest, median, fastest] = [times[times.len() - 1], times[times.len() / 2], times[0]];
    format!("{:.0} ({:.0}-{:.0})", rate(median), rate(slowest), rate(fastest))
}
