//! The client connection, with agents that behave, and that do not.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::path::Path;
use std::time::Duration;

use acp_proto::client::{CallError, CloseReason, Config, Event, StrayReason};
use acp_proto::schema::{ClientCapabilities, ContentBlock, InitializeRequest};
use acp_proto::types::{ChunkContent, StopReason, Update};
use serde_json::json;
use support::{next, rest, start};

fn text_of(event: &Event) -> String {
    match event {
        Event::Update(update) => match &update.update {
            Update::AgentMessage(chunk) => match &chunk.content {
                ChunkContent::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_turn_from_initialize_to_its_end() {
    let (client, mut events, mut agent) = start(Config::default());
    let play = tokio::spawn(async move {
        let (id, params) = agent.hear_call("initialize").await;
        assert_eq!(params["protocolVersion"], 1);
        let result = json!({"protocolVersion": 1, "agentCapabilities": {"loadSession": true}});
        agent.answer(&id, result).await;
        let (id, params) = agent.hear_call("session/new").await;
        assert_eq!(params, json!({"cwd": "/repo", "mcpServers": []}));
        let models = json!({"currentModelId": "m1", "availableModels": [{"modelId": "m1", "name": "M"}]});
        agent.answer(&id, json!({"sessionId": "s1", "models": models})).await;
        let (id, params) = agent.hear_call("session/set_model").await;
        assert_eq!(params, json!({"sessionId": "s1", "modelId": "m1"}));
        agent.answer(&id, json!({})).await;
        let (id, params) = agent.hear_call("session/prompt").await;
        assert_eq!(params, json!({"sessionId": "s1", "prompt": [{"type": "text", "text": "hi"}]}));
        agent.text("s1", "one").await;
        agent.text("s1", "two").await;
        agent.answer(&id, json!({"stopReason": "end_turn", "usage": {"inputTokens": 3}})).await;
        agent.text("s1", "late").await;
        agent.exit().await;
    });
    let request = InitializeRequest::new(1.into()).client_capabilities(ClientCapabilities::new());
    let initialized = client.initialize(&request).await.unwrap();
    assert!(initialized.agent.agent_capabilities.load_session);
    let session = client.new_session(Path::new("/repo"), &[]).await.unwrap();
    assert_eq!(session.session_id, "s1");
    assert_eq!(session.models.unwrap().current_model_id, "m1");
    client.set_model("s1", "m1").await.unwrap();
    let turn = client.prompt("s1", &[ContentBlock::from("hi")]).await.unwrap();

    let all = rest(&mut events).await;
    let (answered, all) = all.split_at(3);
    assert!(answered.iter().all(|event| matches!(event, Event::Answered { .. })), "{answered:?}");
    assert_eq!(text_of(&all[0]), "one");
    assert_eq!(text_of(&all[1]), "two");
    let Event::TurnEnded { call, outcome: Ok(end) } = &all[2] else { panic!("{:?}", all[2]) };
    assert_eq!(*call, turn);
    assert_eq!(end.stop_reason, StopReason::EndTurn);
    assert_eq!(end.usage.unwrap().input_tokens, Some(3));
    assert_eq!(text_of(&all[3]), "late");
    let Event::Closed { reason: CloseReason::EndOfOutput, unanswered } = &all[4] else { panic!("{all:?}") };
    assert!(unanswered.is_empty());
    play.await.unwrap();
}

#[tokio::test]
async fn a_crash_ends_every_open_call_and_names_them() {
    let (client, mut events, mut agent) = start(Config::default());
    client.prompt("s1", &[ContentBlock::from("hi")]).await.unwrap();
    let mode = tokio::spawn({
        let client = client.clone();
        async move { client.set_mode("s1", "plan").await }
    });
    agent.hear_call("session/prompt").await;
    agent.hear_call("session/set_mode").await;
    agent.text("s1", "half").await;
    agent.exit().await;

    let error = mode.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "session/set_mode: the agent closed its output");
    let all = rest(&mut events).await;
    assert_eq!(text_of(&all[0]), "half");
    let Event::TurnEnded { outcome: Err(CallError::Closed { .. }), .. } = &all[1] else { panic!("{all:?}") };
    let Some(Event::Closed { unanswered, .. }) = all.last() else { panic!("{all:?}") };
    let unanswered: Vec<_> = unanswered.iter().map(ToString::to_string).collect();
    assert_eq!(unanswered, ["session/prompt", "session/set_mode"]);
    let after = client.set_mode("s1", "plan").await.unwrap_err();
    assert!(matches!(after, CallError::Closed { reason: CloseReason::EndOfOutput, .. }), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_answered_ends_by_its_limit_and_its_late_answer_is_a_stray() {
    let (client, mut events, mut agent) = start(Config::default());
    let limit = Duration::from_secs(7);
    let params = acp_proto::RawJson::empty_object();
    let error = client.request("x/slow", params, limit).await.unwrap_err();
    assert_eq!(error.to_string(), "x/slow: no answer within 7s");
    let (id, _) = agent.hear_call("x/slow").await;
    agent.answer(&id, json!({})).await;
    agent.answer(&id, json!({})).await;
    agent.answer(&json!(999), json!({})).await;
    agent.answer(&json!("1"), json!({})).await;
    agent
        .say(json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "Parse error"}}))
        .await;
    let mut reasons = Vec::new();
    for _ in 0..5 {
        let Event::Stray(stray) = next(&mut events).await else { panic!() };
        reasons.push(stray.reason);
    }
    let late = StrayReason::Late("x/slow".into());
    let twice = StrayReason::Duplicate("x/slow".into());
    let unknown = StrayReason::UnknownId;
    assert_eq!(reasons, [late, twice, unknown.clone(), unknown.clone(), unknown]);
}
