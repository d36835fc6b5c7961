//! The codec against everything that may come out of a pipe.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use acp_proto::types::{Chunk, ChunkContent, SessionUpdate, Update};
use acp_proto::{Decoder, Fault, Malformed, Message, RawJson, RequestId};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Everything that a stream says, pushed in pieces of `step` bytes.
fn decode_in(step: usize, decoder: &mut Decoder, stream: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    for piece in stream.chunks(step) {
        decoder.push(piece);
        messages.extend(std::iter::from_fn(|| decoder.next_message()));
    }
    messages.extend(std::iter::from_fn(|| decoder.finish()));
    messages
}

fn decode(stream: &[u8]) -> Vec<Message> {
    decode_in(usize::MAX, &mut Decoder::new(), stream)
}

fn one(line: &str) -> Message {
    let mut messages = decode(line.as_bytes());
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

fn fault(line: &str) -> Fault {
    match one(line) {
        Message::Malformed(malformed) => malformed.why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ids_of_every_kind_are_echoed_as_they_came() {
    for id in [
        "0",
        "-1",
        "9223372036854775807",
        "92233720368547758079223372036854775807",
        "1.5",
        "1E2",
        "-0",
        "null",
        "\"\"",
        "\"a-b\"",
        "\"1\"",
        r#""\u0041\n""#,
        r#""\ud800""#,
        "[1]",
        "{}",
        "true",
    ] {
        let Message::Request(request) = one(&format!(r#"{{"method":"m","id":{id}}}"#)) else {
            panic!("{id}")
        };
        let mut line = Vec::new();
        acp_proto::Response::new(request.id, Ok(RawJson::empty_object())).encode(&mut line);
        let wanted = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n");
        assert_eq!(String::from_utf8(line).unwrap(), wanted);
    }
    let Message::Request(request) = one(r#"{"method":"m","id":0}"#) else { panic!() };
    assert_eq!(request.id, RequestId::from(0));
    assert_ne!(request.id, RequestId::from("0"));
}

#[test]
fn keys_come_in_any_order_and_unknown_ones_are_kept() {
    let line = r#"{"x":{"y":1},"result":{"a":1},"id":"u","jsonrpc":"2.0","_meta":null}"#;
    let message = one(line);
    let Message::Response(response) = &message else { panic!("{message:?}") };
    assert_eq!(response.id, Some(RequestId::from("u")));
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(
        serde_json::from_slice::<Value>(&again).unwrap(),
        serde_json::from_str::<Value>(line).unwrap()
    );
}

#[test]
fn of_duplicate_keys_the_last_counts() {
    let Message::Request(request) = one(r#"{"id":1,"method":"a","id":2,"method":"b"}"#) else { panic!() };
    assert_eq!((request.id, request.method.as_str()), (RequestId::from(2), "b"));
    let params = r#"{"sessionId":"x","sessionId":"s","update":{"sessionUpdate":"plan","sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"a","text":"b"}}}"#;
    let update = SessionUpdate::decode(&RawJson::parse(params).unwrap()).unwrap();
    assert_eq!(update.session_id, "s");
    assert_eq!(text(&update), "b");
    assert_eq!(update.raw().as_str(), params);
}

fn text(update: &SessionUpdate) -> &str {
    match &update.update {
        Update::AgentMessage(Chunk { content: ChunkContent::Text(text), .. }) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn escaped_names_are_the_same_names() {
    let Message::Notification(update) = one(r#"{"\u006dethod":"session\/update","params":{}}"#) else {
        panic!()
    };
    assert_eq!(update.method.as_str(), "session/update");
}

#[test]
fn what_is_no_message_says_why() {
    assert!(matches!(fault("Loading model...\n"), Fault::NotJson(_)));
    assert!(matches!(fault("{\"method\":\n"), Fault::NotJson(_)));
    assert!(matches!(fault("{\"method\":"), Fault::CutOff(_)));
    assert!(matches!(fault("{\"method\":\"a\"} {}\n"), Fault::NotJson(_)));
    for json in [
        "42",
        "\"x\"",
        "null",
        "{}",
        "[]",
        r#"{"id":1}"#,
        r#"{"method":7}"#,
        r#"{"result":1}"#,
        r#"{"jsonrpc":"2.0"}"#,
    ] {
        assert!(matches!(fault(json), Fault::NotAMessage(_)), "{json}");
    }
}

#[test]
fn an_answer_with_both_members_is_what_the_one_that_is_not_null_says() {
    let Message::Response(ok) = one(r#"{"id":1,"result":{},"error":null}"#) else { panic!() };
    assert!(ok.outcome.is_ok());
    let Message::Response(null) = one(r#"{"id":1,"result":null}"#) else { panic!() };
    assert_eq!(null.outcome.unwrap().as_str(), "null");
    let Message::Response(error) = one(r#"{"id":1,"result":null,"error":{"code":5,"message":"m"}}"#) else {
        panic!()
    };
    assert_eq!(error.outcome.unwrap_err().code, 5);
}

#[test]
fn blank_lines_crlf_and_byte_order_marks_are_skipped() {
    let stream = b"\xef\xbb\xbf{\"method\":\"a\"}\r\n\r\n  \n\t\xef\xbb\xbf\n\xef\xbb\xbf \r\n {\"method\":\"b\"} \n{\"method\":\"c\"}";
    let messages = decode(stream);
    let names: Vec<_> = messages
        .iter()
        .map(|message| match message {
            Message::Notification(it) => it.method.to_string(),
            Message::Malformed(_) => "?".to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    // A mark behind a tab is not the start of a line.
    assert_eq!(names, ["a", "?", "b", "c"]);
}

#[test]
fn only_a_line_feed_ends_a_line() {
    let text = "a\u{2028}b\u{2029}c\u{85}d\u{7f}";
    let line = format!("{{\"method\":\"m\",\"params\":\"{text}\"}}\n{{\"method\":\"n\"}}\n");
    let messages = decode(line.as_bytes());
    let [Message::Notification(m), Message::Notification(_)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(m.params.as_ref().unwrap().decode::<String>().unwrap(), text);
}

#[test]
fn control_characters_in_escapes_survive() {
    let params = r#"{"sessionId":"s","update":{"content":{"text":"a\u0000b\u001b[0m\n\t","type":"text"},"sessionUpdate":"agent_message_chunk"}}"#;
    let update = SessionUpdate::decode(&RawJson::parse(params).unwrap()).unwrap();
    assert_eq!(text(&update), "a\0b\u{1b}[0m\n\t");
}

#[test]
fn half_an_emoji_is_shown_as_a_replacement_and_loses_nothing_else() {
    let params = r#"{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"a\ud83d"},"messageId":"m"}}"#;
    let update = SessionUpdate::decode(&RawJson::parse(params).unwrap()).unwrap();
    assert_eq!(text(&update), "a\u{fffd}");
    assert_eq!(update.raw().as_str(), params);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_and_the_message_is_kept() {
    let mut decoder = Decoder::new();
    let messages = decode_in(3, &mut decoder, b"{\"id\":1,\"result\":\"a\xff\xc3\"}\n");
    let [Message::Response(response)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(response.outcome.as_ref().unwrap().decode::<String>().unwrap(), "a\u{fffd}\u{fffd}");
    assert_eq!(decoder.repaired_lines(), 1);
}

#[test]
fn a_batch_is_its_messages_in_order() {
    let messages =
        decode(b"[{\"method\":\"a\"},7,{\"id\":1,\"result\":{}},[{\"method\":\"b\"}]]\n{\"method\":\"c\"}\n");
    assert!(
        matches!(
            &messages[..],
            [
                Message::Notification(_),
                Message::Malformed(_),
                Message::Response(_),
                Message::Malformed(_),
                Message::Notification(_)
            ]
        ),
        "{messages:?}"
    );
    assert!(matches!(fault("[{\"method\":\"a\"},"), Fault::CutOff(_)));
}

#[test]
fn a_batch_of_millions_does_not_become_millions_of_messages() {
    let line = format!("[0{}]\n", ",0".repeat(4_000_000));
    let messages = decode(line.as_bytes());
    assert_eq!(messages.len(), 1025);
    let Some(Message::Malformed(Malformed { why: Fault::BatchTooLong { limit: 1024 }, .. })) =
        messages.last()
    else {
        panic!("{:?}", messages.last())
    };
}

#[test]
fn nesting_without_end_costs_one_message() {
    let deep = "[".repeat(200_000);
    assert!(matches!(fault(&deep), Fault::CutOff(_)));
    let closed = format!("{{\"method\":\"session/update\",\"params\":{}{}}}", deep, "]".repeat(200_000));
    let Message::Notification(update) = one(&closed) else { panic!() };
    assert!(SessionUpdate::decode(&update.params.unwrap()).is_none());
    let objects = "{\"a\":".repeat(20_000);
    assert!(matches!(fault(&objects), Fault::CutOff(_)));
}

#[test]
fn a_gigabyte_without_a_line_feed_is_one_value_and_bounded_memory() {
    let mut decoder = Decoder::with_max_line(1024 * 1024);
    let piece = [b'x'; 8 * 1024];
    let before = resident();
    for _ in 0..(1 << 30) / piece.len() {
        decoder.push(&piece);
        assert!(decoder.next_message().is_none());
    }
    assert!(resident() < before + 16 * 1024 * 1024, "{before} -> {}", resident());
    decoder.push(b"\n{\"method\":\"m\"}\n");
    let Some(Message::Malformed(malformed)) = decoder.next_message() else { panic!() };
    assert_eq!(malformed.why, Fault::TooLong { length: 1 << 30, limit: 1024 * 1024 });
    assert_eq!(malformed.excerpt, "x".repeat(256));
    assert!(matches!(decoder.next_message(), Some(Message::Notification(_))));
}

/// The process's memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_line_of_two_megabytes_is_read_by_default() {
    let big = "x".repeat(2 * 1024 * 1024);
    let line = json!({"method": "m", "params": big}).to_string() + "\n";
    let messages = decode_in(4096, &mut Decoder::new(), line.as_bytes());
    let [Message::Notification(m)] = &messages[..] else { panic!() };
    assert_eq!(m.params.as_ref().unwrap().decode::<String>().unwrap(), big);
}

#[test]
fn the_limit_is_exact_however_the_line_is_cut() {
    let exact = format!("{{\"method\":\"{}\"}}", "m".repeat(87));
    assert_eq!(exact.len(), 100);
    let stream = format!("{exact}\n{exact} \n{exact}\n{exact} ");
    for step in [1, 7, 99, 100, 101, 102, 1000] {
        let messages = decode_in(step, &mut Decoder::with_max_line(100), stream.as_bytes());
        let too_long = Fault::TooLong { length: 101, limit: 100 };
        let [
            Message::Notification(_),
            Message::Malformed(first),
            Message::Notification(_),
            Message::Malformed(last),
        ] = &messages[..]
        else {
            panic!("{step}: {messages:?}")
        };
        assert_eq!((&first.why, &last.why), (&too_long, &too_long));
    }
}

/// A JSON value, not too large.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_message() -> impl Strategy<Value = Value> {
    let id =
        prop_oneof![any::<i64>().prop_map(Value::from), ".{0,8}".prop_map(Value::from), Just(Value::Null)];
    prop_oneof![
        (id.clone(), ".{0,9}", any_json()).prop_map(|(id, method, params)| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})),
        (any_json(), ".{0,9}").prop_map(|(params, method)| json!({"params": params, "method": method, "jsonrpc": "2.0"})),
        (any_json(), id.clone()).prop_map(|(result, id)| json!({"jsonrpc": "2.0", "result": result, "id": id})),
        (any::<i64>(), ".{0,9}", id).prop_map(|(code, message, id)| json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id})),
    ]
}

/// A line that is no message, without a line feed.
fn any_garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        ".{0,40}".prop_map(String::into_bytes),
        any_message().prop_map(|message| {
            let text = message.to_string();
            text.as_bytes()[..text.len() - 1].to_vec()
        }),
    ]
    .prop_map(|bytes| bytes.into_iter().filter(|byte| *byte != b'\n').collect())
}

proptest! {
    /// Whatever stands between them and however the stream is cut: all messages arrive, in order, unchanged.
    #[test]
    fn messages_survive_garbage_and_any_cut(
        lines in prop::collection::vec((any_garbage(), any_message()), 1..12),
        steps in prop::collection::vec(1_usize..50, 1..20),
    ) {
        let mut stream = Vec::new();
        for (garbage, message) in &lines {
            stream.extend_from_slice(garbage);
            stream.push(b'\n');
            stream.extend_from_slice(message.to_string().as_bytes());
            stream.push(b'\n');
        }
        let mut decoder = Decoder::new();
        let mut decoded = Vec::new();
        let mut rest = &stream[..];
        for step in steps.iter().cycle() {
            let (piece, after) = rest.split_at((*step).min(rest.len()));
            decoder.push(piece);
            decoded.extend(std::iter::from_fn(|| decoder.next_message()));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(decoder.finish().is_none());
        prop_assert_eq!(&decoded, &decode(&stream));
        let values: Vec<Value> = decoded.iter().filter_map(|message| {
            let mut line = Vec::new();
            message.encode(&mut line);
            serde_json::from_slice(&line).ok()
        }).collect();
        // Garbage may happen to be a message, so the sent ones are a subsequence.
        let mut found = values.iter();
        for (_, message) in &lines {
            prop_assert!(found.any(|value| value == message), "{} is missing", message);
        }
    }

    /// No bytes make the codec or the types panic, and what is reported stays small.
    #[test]
    fn no_bytes_do_any_harm(stream in prop::collection::vec(any::<u8>(), 0..400), limit in 0_usize..300, step in 1_usize..40) {
        let mut decoder = Decoder::with_max_line(limit);
        for message in decode_in(step, &mut decoder, &stream) {
            match message {
                Message::Malformed(malformed) => prop_assert!(malformed.excerpt.chars().count() <= 256),
                Message::Notification(it) => drop(it.params.and_then(|params| SessionUpdate::decode(&params))),
                _ => {}
            }
        }
    }

    /// The one-pass reading of a chunk agrees with a tree, for any shape of update.
    #[test]
    fn the_fast_way_reads_what_the_tree_reads(
        kind in prop_oneof![Just("agent_message_chunk"), Just("agent_thought_chunk"), Just("x")],
        content in prop_oneof![any_json(), ".{0,20}".prop_map(|text| json!({"type": "text", "text": text}))],
        message_id in any_json(),
        meta in any_json(),
    ) {
        let json = json!({"sessionId": "s", "update": {"content": content, "messageId": message_id, "_meta": meta, "sessionUpdate": kind}});
        let update = SessionUpdate::decode(&RawJson::encode(&json).unwrap()).unwrap();
        match update.update {
            Update::AgentMessage(chunk) | Update::AgentThought(chunk) => {
                prop_assert_eq!(chunk.message_id.as_deref(), message_id.as_str());
                prop_assert_eq!(chunk.meta.map(|it| it.decode::<Value>().unwrap()).unwrap_or_default(), meta);
                match chunk.content {
                    ChunkContent::Text(text) => prop_assert_eq!(Some(&*text), content["text"].as_str()),
                    ChunkContent::Block(_) => prop_assert!(content["type"].is_string()),
                    ChunkContent::Other(raw) => prop_assert_eq!(raw.decode::<Value>().unwrap(), content),
                }
            }
            Update::Other { kind: other, fault: None } => prop_assert_eq!(&*other, kind),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
