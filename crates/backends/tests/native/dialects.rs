//! What services make of the same protocol.

use dispatch_core::agent::{EndedHow, NoticeCode, ToolStatus, Usage};
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::common::{Fixture, failure, results};
use crate::server::{Reply, calls, delta, events, finish, says, usage};

async fn said_by(reply: Reply) -> (String, String, EndedHow) {
    let (said, end) = Fixture::new([reply]).await.run().await;
    (said.text(), said.reasoning(), end.how)
}

#[tokio::test]
async fn text_and_reasoning_stream_in_every_dialect() {
    let words = |reasoning: &str| {
        [
            delta(json!({ "role": "assistant", "content": null })),
            delta(json!({ reasoning: "think" })),
            delta(json!({ reasoning: "ing" })),
            delta(json!({ "content": "he" })),
            delta(json!({ "content": "y\u{2028}ä" })),
        ]
    };
    let with = |last: &str| events(&words("reasoning_content")) + last;
    let whole = json!({ "choices": [{ "message": { "role": "assistant", "content": "hey\u{2028}ä", "reasoning": "thinking" }, "finish_reason": "stop" }] });
    for (what, reply) in [
        ("openai", with(&(events(&[finish("stop"), usage(1, 2)]) + "data: [DONE]\n\n"))),
        ("reasoning", events(&words("reasoning")) + &events(&[finish("stop")]) + "data: [DONE]\n\n"),
        ("no last event", with(&events(&[finish("stop")]))),
        ("no finish", with("data: [DONE]\n\n")),
        ("no line end", with("data: [DONE]")),
        (
            "line ends and comments",
            (with(&events(&[finish("stop")])) + ": ping\n\nevent: x\n").replace('\n', "\r\n"),
        ),
        ("in one piece", whole.to_string()),
        ("in one piece, as an event", events(&[whole])),
    ] {
        let (text, reasoning, how) = said_by(Reply::stream(reply)).await;
        assert_eq!(
            (text.as_str(), reasoning.as_str(), how),
            ("hey\u{2028}ä", "thinking", EndedHow::Completed),
            "{what}"
        );
    }
}

#[tokio::test]
async fn an_answer_of_nothing_at_all_is_asked_for_again() {
    let (said, end) = Fixture::new([Reply::stream(Vec::new()), says("x")]).await.run().await;
    assert_eq!((said.text().as_str(), end.how), ("x", EndedHow::Completed));
}

#[tokio::test]
async fn tool_calls_come_in_every_dialect() {
    let arguments = r#"{"path":"a.txt"}"#;
    let call = |call: serde_json::Value| delta(json!({ "tool_calls": [call] }));
    let one_piece = json!({ "function": { "name": "read_file", "arguments": arguments } });
    for (what, pieces) in [
        (
            "openai",
            vec![
                call(json!({ "index": 0, "id": "x", "function": { "name": "read_file", "arguments": "" } })),
                call(json!({ "index": 0, "function": { "arguments": "{\"path\":" } })),
                call(json!({ "index": 0, "function": { "arguments": "\"a.txt\"}" } })),
            ],
        ),
        ("no index, no id", vec![call(one_piece.clone())]),
        (
            "an object",
            vec![call(
                json!({ "index": 0, "function": { "name": "read_file", "arguments": { "path": "a.txt" } } }),
            )],
        ),
        (
            "the old way",
            vec![delta(json!({ "function_call": { "name": "read_file", "arguments": arguments } }))],
        ),
    ] {
        for word in ["tool_calls", "stop"] {
            let reply = Reply::stream(events(&pieces) + &events(&[finish(word)]));
            let fixture = Fixture::new([reply, says("done")]).await;
            fixture.write("a.txt", "inside\n");
            let (said, end) = fixture.run().await;
            assert_eq!((said.text().as_str(), end.how), ("done", EndedHow::Completed), "{what}, {word}");
            assert_eq!(results(&fixture.server), ["inside\n"], "{what}, {word}");
            let chat = fixture.server.chats().pop().unwrap().body;
            let asked = &chat["messages"][2];
            assert_eq!(asked["tool_calls"][0]["id"], chat["messages"][3]["tool_call_id"], "{what}");
            assert_eq!(asked["tool_calls"][0]["function"]["arguments"], arguments, "{what}");
        }
    }
}

#[tokio::test]
async fn tokens_are_those_of_the_turn_and_the_context_that_of_its_last_request() {
    let fixture = Fixture::new([calls(&[("list_files", json!({}))]), says("done")]).await;
    let (said, end) = fixture.run().await;
    let expected = Usage {
        input_tokens: Some(30),
        output_tokens: Some(12),
        total_tokens: Some(42),
        context_used: Some(15),
        ..Usage::default()
    };
    assert_eq!((said.usage(), end.usage), (expected.clone(), expected));

    let silent = Reply::stream(events(&[delta(json!({ "content": "x" })), finish("stop")]));
    let (said, end) = Fixture::new([silent]).await.run().await;
    assert_eq!(end.usage.input_tokens, None, "what nobody counted is not made up");
    assert!(end.usage.context_used.unwrap() > 100, "but for the context");
    assert!(said.notice(NoticeCode::AgentOddity).unwrap().contains("estimated"));
}

#[tokio::test]
async fn an_error_within_a_stream_is_the_services_word() {
    for body in [
        "data: {\"error\":{\"message\":\"it broke\",\"code\":400}}\n\n",
        "event: error\ndata: {\"error\":\"it broke\"}\n\n",
        "error: {\"error\":{\"message\":\"it broke\"}}\n\n",
        "{\"error\":{\"message\":\"it broke\"}}",
    ] {
        let text = events(&[delta(json!({ "content": "so far" }))]);
        let text = if body.starts_with('{') { String::new() } else { text };
        let (said, end) = Fixture::new([Reply::stream(text.clone() + body)]).await.run().await;
        assert_eq!(failure(&end).text, "it broke", "{body}");
        assert_eq!(said.text().is_empty(), text.is_empty());
    }
}

#[tokio::test]
async fn why_the_model_stopped_decides() {
    for (word, reason) in
        [("length", TerminalReason::AgentFailed), ("content_filter", TerminalReason::ModelRefused)]
    {
        let reply =
            Reply::stream(events(&[delta(json!({ "content": "half" })), finish(word)]) + "data: [DONE]\n\n");
        let (said, end) = Fixture::new([reply]).await.run().await;
        assert_eq!((said.text().as_str(), failure(&end).reason), ("half", reason));
    }
    let refusal = Reply::stream(events(&[delta(json!({ "refusal": "I will not" })), finish("stop")]));
    let (said, end) = Fixture::new([refusal]).await.run().await;
    assert_eq!((said.text().as_str(), failure(&end).reason), ("I will not", TerminalReason::ModelRefused));
}

#[tokio::test]
async fn what_the_model_gets_wrong_is_told_to_it() {
    let broken = Reply::stream(events(&[
        delta(json!({ "tool_calls": [
            { "index": 0, "id": "a", "function": { "name": "read_file", "arguments": "{\"path\": oops" } },
            { "index": 1, "id": "b", "function": { "name": "no such tool", "arguments": "{}" } },
            { "index": 2, "id": "c", "function": { "name": "read_file", "arguments": "{\"file\":1}" } },
        ] })),
        finish("tool_calls"),
    ]));
    let fixture = Fixture::new([broken, says("sorry")]).await;
    let (said, end) = fixture.run().await;
    assert_eq!(end.how, EndedHow::Completed);
    let told = results(&fixture.server);
    assert!(
        told[0].contains("not JSON") && told[1].contains("no tool named") && told[2].contains("do not fit"),
        "{told:?}"
    );
    assert!(said.tools().iter().all(|call| call.status == ToolStatus::Failed));
    let chat = fixture.server.chats().pop().unwrap().body;
    for call in chat["messages"][2]["tool_calls"].as_array().unwrap() {
        let arguments = call["function"]["arguments"].as_str().unwrap();
        serde_json::from_str::<serde_json::Value>(arguments).unwrap();
        assert!(!call["function"]["name"].as_str().unwrap().contains(' '));
    }
}
