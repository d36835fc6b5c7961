//! Services that have no time, no room, or no mind to.

use std::time::{Duration, Instant};

use backends::native::ApiKey;
use dispatch_core::agent::{AgentUpdate, EndedHow, NoticeCode, ToolStatus};
use dispatch_core::ports::Close;
use dispatch_core::task::TerminalReason::{self, *};
use serde_json::json;

use crate::common::{Fixture, failure, roles};
use crate::server::{End, Reply, calls, delta, error, events, finish, says};

#[tokio::test]
async fn what_passes_is_asked_again_and_what_does_not_is_told() {
    let cut = Reply::stream("").ending(End::Cut);
    let loading = error(503, "Loading model");
    for answers in [
        vec![error(429, "slow down"), says("x")],
        vec![loading.clone(), error(502, "bad gateway"), error(500, "oops"), cut.clone(), says("x")],
        vec![Reply::stream("data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n"), says("x")],
    ] {
        let asked = answers.len();
        let fixture = Fixture::new(answers).await;
        let (said, end) = fixture.run().await;
        assert_eq!((said.text().as_str(), &end.how), ("x", &EndedHow::Completed));
        assert_eq!(said.notices(NoticeCode::RequestRepeated).len(), asked - 1);
        assert_eq!(fixture.server.chats().len(), asked);
    }
    for (reply, reason, asked) in [
        (error(429, "slow down"), OverQuota, 5),
        (loading, ModelOverloaded, 5),
        (cut, AgentCrashed, 5),
        (error(429, "You exceeded your current quota; check your billing"), OverQuota, 1),
        (error(402, "pay"), OverQuota, 1),
        (error(429, "later").with_header("retry-after: 3600"), OverQuota, 1),
        (error(401, "who are you"), Unauthorised, 1),
        (error(403, "not you"), Unauthorised, 1),
        (error(404, "model not found"), AgentFailed, 1),
        (error(400, "bad request"), AgentFailed, 1),
        (Reply::json(302, &json!({})).with_header("location: http://127.0.0.1:1/"), AgentFailed, 1),
    ] {
        let fixture = Fixture::new(vec![reply.clone(); 6]).await;
        let (_, end) = fixture.run().await;
        assert_eq!((failure(&end).reason, fixture.server.chats().len()), (reason, asked), "{reply:?}");
        assert_eq!(matches!(end.how, EndedHow::Crashed(_)), reason == AgentCrashed);
    }
}

#[tokio::test]
async fn a_service_may_say_when_to_come_back() {
    let fixture = Fixture::new([error(429, "slow down").with_header("retry-after: 1"), says("x")]).await;
    let begun = Instant::now();
    let (said, _) = fixture.run().await;
    assert_eq!(said.text(), "x");
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn what_was_shown_is_never_asked_for_again() {
    for shown in [json!({ "content": "so far" }), json!({ "reasoning": "so far" })] {
        for end in [End::Cut, End::Whole] {
            let cut = Reply::stream(events(&[delta(shown.clone())])).ending(end);
            let fixture = Fixture::new([cut, says("again")]).await;
            let (said, end) = fixture.run().await;
            assert_eq!(said.text() + &said.reasoning(), "so far");
            assert!(matches!(end.how, EndedHow::Crashed(_)), "{end:?}");
            assert!(failure(&end).text.contains("cut off"), "{end:?}");
            assert_eq!(fixture.server.chats().len(), 1);
        }
    }
}

/// A call may take the model minutes to write: it is shown from its name on, and none that is not whole is done.
#[tokio::test]
async fn a_call_is_shown_from_its_beginning_and_taken_back_if_it_breaks_off() {
    let begun = events(&[delta(json!({ "tool_calls": [
        { "index": 0, "id": "a", "function": { "name": "run_command", "arguments": "{\"comm" } },
    ]}))]);
    let fixture = Fixture::new([Reply::stream(begun.clone()).ending(End::Never)]).await;
    let mut turn = fixture.prompt("go").await;
    turn.until(|update| {
        matches!(update, AgentUpdate::ToolCall(call) if call.status == Some(ToolStatus::Pending))
            .then_some(())
    })
    .await;
    turn.close(Close::Return).await;

    let whole = calls(&[("run_command", json!({ "command": "touch ran" }))]);
    let fixture = Fixture::new([Reply::stream(begun).ending(End::Cut), whole, says("x")]).await;
    let (said, end) = fixture.run().await;
    assert_eq!((said.text().as_str(), end.how), ("x", EndedHow::Completed));
    let tools = said.tools().into_iter().map(|call| (call.id, call.title, call.status));
    assert_eq!(
        tools.collect::<Vec<_>>(),
        [
            ("call-1".to_owned(), "run_command".to_owned(), ToolStatus::Failed),
            ("call-2".to_owned(), "touch ran".to_owned(), ToolStatus::Completed),
        ]
    );
    assert!(fixture.worktree().join("ran").exists());
}

/// A connection that breaks after the model has said all takes nothing of it back.
#[tokio::test]
async fn an_answer_that_is_complete_but_for_its_end_is_whole() {
    let stop = [delta(json!({ "content": "all" })), finish("stop")];
    let stream = events(&stop);
    let object = json!({ "choices": [{ "message": { "content": "all" }, "finish_reason": "stop" }] });
    for body in [stream.clone(), stream.trim_end().to_owned(), stream + "data: {\"usa", object.to_string()] {
        let fixture = Fixture::new([Reply::stream(body).ending(End::Cut)]).await;
        let (said, end) = fixture.run().await;
        assert_eq!((said.text().as_str(), end.how), ("all", EndedHow::Completed));
        assert_eq!(fixture.server.chats().len(), 1);
        assert!(
            said.notices(NoticeCode::AgentOddity).iter().all(|text| !text.contains("JSON")),
            "{:?}",
            said.0
        );
    }
}

#[tokio::test]
async fn a_key_that_a_service_repeats_is_not_shown() {
    let mut fixture = Fixture::new([error(500, "sk-very-secret"), error(400, "sk-very-secret is odd")]).await;
    fixture.settings.api_key = Some(ApiKey::new("sk-very-secret").unwrap());
    let (said, end) = fixture.run().await;
    assert_eq!(failure(&end).text, "… is odd");
    assert!(!format!("{:?}", said.0).contains("very-secret"));

    // Nor its beginning, where the words are cut.
    let long = format!("{} sk-very-secret", "x".repeat(1985));
    let mut fixture = Fixture::new([error(400, &long)]).await;
    fixture.settings.api_key = Some(ApiKey::new("sk-very-secret").unwrap());
    let (_, end) = fixture.run().await;
    assert_eq!(failure(&end).text, format!("{} …", "x".repeat(1985)));
}

#[tokio::test]
async fn what_a_service_does_not_know_is_left_out() {
    let mut fixture = Fixture::new([
        error(400, "Unrecognized request argument supplied: stream_options"),
        error(400, "this model does not support reasoning_effort"),
        error(400, "registry.ollama.ai/library/x does not support tools"),
        says("x"),
    ])
    .await;
    fixture.spec.thinking = dispatch_core::task::Name::new("low");
    let (said, _) = fixture.run().await;
    assert_eq!(said.text(), "x");
    assert_eq!(said.notices(NoticeCode::OptionIgnored).len(), 2);
    let last = fixture.server.chats().pop().unwrap().body;
    for left_out in ["stream_options", "reasoning_effort", "tools"] {
        assert!(last.get(left_out).is_none(), "{left_out}");
    }
}

/// A turn that reads so much that the model's context is full.
async fn reading(context_size: Option<u64>, refusals: usize) -> (Fixture, Vec<TerminalReason>, usize) {
    let long = || {
        Reply::json(
            400,
            &json!({ "error": { "type": "exceed_context_size_error", "message": "the request exceeds the available context size", "n_ctx": 16000 } }),
        )
    };
    let read = calls(&[("read_file", json!({ "path": "long" }))]);
    let mut answers = vec![read.clone(), read];
    answers.extend((0..refusals).map(|_| long()));
    answers.push(says("fits"));
    let mut fixture = Fixture::new(answers).await;
    fixture.settings.context_size = context_size;
    fixture.write("long", &"some words\n".repeat(1900));
    let (said, end) = fixture.run().await;
    let reasons = match &end.how {
        EndedHow::Completed => vec![],
        _ => vec![failure(&end).reason],
    };
    (fixture, reasons, said.notices(NoticeCode::ContextShortened).len())
}

#[tokio::test]
async fn what_does_not_fit_is_shortened_before_it_is_sent() {
    let (fixture, failed, notices) = reading(Some(7_000), 0).await;
    assert_eq!((failed, notices), (vec![], 1));
    let last = fixture.server.chats().pop().unwrap().body;
    assert_eq!(roles(&last), ["system", "user", "assistant", "tool", "assistant", "tool"]);
    assert!(last["messages"][3]["content"].as_str().unwrap().contains("left out"), "the oldest result");
    assert!(last["messages"][5]["content"].as_str().unwrap().len() > 20_000, "the newest is whole");
}

/// A result that is larger than the model's whole context is told as far as it fits.
#[tokio::test]
async fn one_result_that_does_not_fit_is_clipped() {
    let read = calls(&[("read_file", json!({ "path": "long" }))]);
    let mut fixture = Fixture::new([read, says("fits")]).await;
    fixture.settings.context_size = Some(4096);
    fixture.write("long", &"some words\n".repeat(5000));
    let (said, end) = fixture.run().await;
    assert_eq!((said.text().as_str(), end.how), ("fits", EndedHow::Completed));
    let request = &fixture.server.chats()[1].body;
    let result = request["messages"][3]["content"].as_str().unwrap();
    assert!(result.starts_with("some words\n") && result.contains("bytes left out to fit"), "{result}");
    // A quarter of the context is the answer's; by what the service counted, a token has eight bytes at least.
    assert!(request.to_string().len() < 3072 * 8, "{}", request.to_string().len());
    assert_eq!(said.notices(NoticeCode::ContextShortened).len(), 1);
    let [tool] = &said.tools()[..] else { panic!() };
    let shown = serde_json::to_string(&tool.content).unwrap();
    assert!(shown.len() > 22_000, "a person sees all that was read");
}

#[tokio::test]
async fn what_the_service_finds_too_long_is_shortened_once() {
    let (fixture, failed, notices) = reading(None, 1).await;
    assert_eq!((failed, notices), (vec![], 1));
    let chats = fixture.server.chats();
    let length = |at: usize| chats[at].body.to_string().len();
    assert!(length(3) < length(2));
    let (fixture, failed, _) = reading(None, 2).await;
    assert_eq!(failed, [ContextTooLong]);
    assert_eq!(fixture.server.chats().len(), 4);
}

#[tokio::test]
async fn a_model_that_never_stops_is_stopped() {
    let mut fixture = Fixture::new((0..5).map(|_| calls(&[("list_files", json!({}))]))).await;
    fixture.settings.limits.rounds = 3;
    let (said, end) = fixture.run().await;
    assert_eq!(failure(&end).reason, AgentFailed);
    assert!(failure(&end).text.contains("limit of 3 model calls"), "{end:?}");
    assert_eq!((said.tools().len(), fixture.server.chats().len()), (3, 3));
}
