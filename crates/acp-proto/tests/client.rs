//! The client connection, with agents that behave, and that do not.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use acp_proto::RawJson;
use acp_proto::client::{
    AnswerError, CallError, CloseReason, Config, Event, PermissionAnswer, RefuseAll, StrayReason, connect,
};
use acp_proto::schema::{ClientCapabilities, ContentBlock, InitializeRequest};
use acp_proto::types::{ChunkContent, PermissionKind, StopReason, Update};
use serde_json::{Value, json};
use support::{DEADLINE, next, rest, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

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

#[tokio::test]
async fn a_full_inbox_stops_reading_the_pipe() {
    let (_client, mut events, mut agent) = start(Config { inbox: 10_000, ..Config::default() });
    let said = Arc::new(AtomicUsize::new(0));
    let play = tokio::spawn({
        let said = Arc::clone(&said);
        async move {
            for number in 0..5_000 {
                agent.text("s1", &format!("{number:0100}")).await;
                said.fetch_add(1, Ordering::SeqCst);
            }
            agent.exit().await;
        }
    });
    // The agent is stuck when it makes no progress however often it may run.
    let mut before = usize::MAX;
    while before != said.load(Ordering::SeqCst) {
        before = said.load(Ordering::SeqCst);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }
    assert!((1..2_000).contains(&before), "{before}");
    let all = rest(&mut events).await;
    let texts: Vec<_> = all[..5_000].iter().map(text_of).collect();
    assert!(texts.iter().enumerate().all(|(number, text)| *text == format!("{number:0100}")));
    play.await.unwrap();
}

#[tokio::test]
async fn an_answer_behind_a_long_history_arrives_though_nobody_takes_events() {
    let (client, mut events, mut agent) = start(Config { inbox: 10_000, ..Config::default() });
    let play = tokio::spawn(async move {
        let (id, _) = agent.hear_call("session/load").await;
        for number in 0..5_000 {
            agent.text("s1", &number.to_string()).await;
        }
        agent.answer(&id, json!(null)).await;
        agent.text("s1", "new").await;
        agent.exit().await;
    });
    let loaded = timeout(DEADLINE, client.load_session("s1", Path::new("/repo"), &[])).await;
    assert_eq!(loaded.expect("no deadlock").unwrap().session_id, "s1");
    let all = rest(&mut events).await;
    let answered = all.iter().position(|event| matches!(event, Event::Answered { .. }));
    assert_eq!(answered, Some(5_000));
    assert_eq!(text_of(&all[5_001]), "new");
    play.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_an_answer_is_bounded_too() {
    let config = Config { inbox: 10_000, inbox_while_awaited: 100_000, ..Config::default() };
    let (client, _events, mut agent) = start(config);
    let play = tokio::spawn(async move {
        agent.hear_call("session/load").await;
        // Endless; the pipe ends it.
        while agent.try_text("s1", &"x".repeat(1_000)).await {}
    });
    let error = client.load_session("s1", Path::new("/repo"), &[]).await.unwrap_err();
    assert!(matches!(error, CallError::TimeLimit { .. }), "{error}");
    drop(_events);
    play.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_reads_nothing_loses_the_connection() {
    let (client, mut events, agent) = start(Config::default());
    let big = "x".repeat(1024 * 1024);
    let error = client.set_mode("s1", &big).await.unwrap_err();
    assert!(matches!(error, CallError::TimeLimit { .. } | CallError::Closed { .. }), "{error}");
    let all = rest(&mut events).await;
    let Some(Event::Closed { reason: CloseReason::WriteStalled(limit), .. }) = all.last() else {
        panic!("{all:?}")
    };
    assert_eq!(*limit, Duration::from_secs(30));
    let error = client.set_mode("s1", "plan").await.unwrap_err();
    assert!(error.to_string().contains("read nothing for 30s"), "{error}");
    drop(agent);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_holds_calls_back_until_their_limit() {
    let (client, _events, _agent) = start(Config { outbox: 1_000, ..Config::default() });
    let params = RawJson::encode(&"x".repeat(100_000)).unwrap();
    client.notify("x", params.clone()).await.unwrap();
    let started = tokio::time::Instant::now();
    let error = client.request("y", params, Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(error, CallError::TimeLimit { .. }), "{error}");
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn the_last_words_of_an_agent_that_reads_no_more_arrive() {
    let (host_out, agent_out) = tokio::io::duplex(1024);
    let (host_in, agent_in) = tokio::io::duplex(1024);
    let (client, mut events) = connect(host_out, host_in, Arc::new(RefuseAll), Config::default());
    let turn = client.prompt("s1", &[ContentBlock::from("hi")]).await.unwrap();
    drop(agent_in);
    // The write of this fails, or of the prompt before it.
    drop(client.cancel("s1").await);
    let mut agent_out = agent_out;
    agent_out
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"stopReason\":\"weird\"}}\n")
        .await
        .unwrap();
    drop(agent_out);
    let all = rest(&mut events).await;
    let Event::TurnEnded { call, outcome: Ok(end) } = &all[0] else { panic!("{all:?}") };
    assert_eq!((*call, &end.stop_reason), (turn, &StopReason::Other("weird".to_owned())));
}

fn ask(id: &Value, session: &str) -> Value {
    let options = json!([
        {"optionId": "all", "name": "Always", "kind": "allow_always"},
        {"optionId": "yes", "name": "Yes", "kind": "allow_once"},
        {"optionId": "odd", "name": "Perhaps", "kind": "perhaps"},
        {"name": "cannot be chosen", "kind": "reject_once"},
    ]);
    let params = json!({"sessionId": session, "toolCall": {"toolCallId": "t"}, "options": options});
    json!({"jsonrpc": "2.0", "id": id, "method": "session/request_permission", "params": params})
}

#[tokio::test]
async fn a_permission_is_answered_once_by_its_id() {
    let (client, mut events, mut agent) = start(Config::default());
    for id in [json!(0), json!("u-1")] {
        agent.say(ask(&id, "s1")).await;
        let Event::Permission { id: asked, request } = next(&mut events).await else { panic!() };
        assert_eq!(request.options.len(), 3);
        assert_eq!(request.options[2].kind, PermissionKind::Other("perhaps".to_owned()));
        let yes = request.option(&PermissionKind::AllowOnce).unwrap().id.clone();
        client.answer_permission(&asked, PermissionAnswer::Selected(yes.clone())).await.unwrap();
        let again = client.answer_permission(&asked, PermissionAnswer::Selected(yes)).await;
        assert!(matches!(again, Err(AnswerError::NotOpen(_))));
        let outcome = json!({"outcome": {"outcome": "selected", "optionId": "yes"}});
        assert_eq!(agent.hear().await, json!({"jsonrpc": "2.0", "id": id, "result": outcome}));
    }
}

#[tokio::test]
async fn a_cancel_answers_the_permissions_of_its_session_also_those_that_come_later() {
    let (client, mut events, mut agent) = start(Config::default());
    client.prompt("s1", &[ContentBlock::from("hi")]).await.unwrap();
    let (prompt, _) = agent.hear_call("session/prompt").await;
    agent.say(ask(&json!(0), "s1")).await;
    agent.say(ask(&json!(1), "s2")).await;
    for _ in 0..2 {
        assert!(matches!(next(&mut events).await, Event::Permission { .. }));
    }
    client.cancel("s1").await.unwrap();
    assert_eq!(agent.hear_call("session/cancel").await.1, json!({"sessionId": "s1"}));
    let cancelled = |id| json!({"jsonrpc": "2.0", "id": id, "result": {"outcome": {"outcome": "cancelled"}}});
    assert_eq!(agent.hear().await, cancelled(0));
    agent.say(ask(&json!(2), "s1")).await;
    assert_eq!(agent.hear().await, cancelled(2));
    agent.answer(&prompt, json!({"stopReason": "end_turn"})).await;
    assert!(matches!(next(&mut events).await, Event::TurnEnded { .. }));
    // The next turn is asked again.
    client.prompt("s1", &[ContentBlock::from("more")]).await.unwrap();
    agent.hear_call("session/prompt").await;
    agent.say(ask(&json!(3), "s1")).await;
    assert!(matches!(next(&mut events).await, Event::Permission { .. }));
}

#[tokio::test]
async fn requests_that_nobody_serves_are_refused_and_the_turn_goes_on() {
    let (_client, mut events, mut agent) = start(Config::default());
    agent.say(json!({"jsonrpc": "2.0", "id": 0, "method": "craft/drainMidTurnQueue", "params": {}})).await;
    let answer = agent.hear().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(0), &json!(-32601)));
    agent.say(json!({"jsonrpc": "2.0", "id": 1, "method": "session/request_permission"})).await;
    let answer = agent.hear().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32602)));
    agent.say(json!({"jsonrpc": "2.0", "method": "qwen/notify/x", "params": {"v": 1}})).await;
    let Event::Notification(private) = next(&mut events).await else { panic!() };
    assert_eq!(private.params.unwrap().as_str(), "{\"v\":1}");
    agent.say_raw("a banner\n").await;
    assert!(matches!(next(&mut events).await, Event::Malformed(_)));
    agent.text("s1", "on").await;
    assert_eq!(text_of(&next(&mut events).await), "on");
}

#[tokio::test]
async fn too_many_open_requests_are_refused_and_an_id_that_is_open_is_not_taken_twice() {
    let (client, mut events, mut agent) = start(Config { open_requests: 2, ..Config::default() });
    for id in [0, 0, 1, 2] {
        agent.say(ask(&json!(id), "s1")).await;
    }
    let refused = agent.hear().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(2), &json!(-32000)));
    for id in [0, 1] {
        let Event::Permission { id: asked, .. } = next(&mut events).await else { panic!() };
        client.answer_permission(&asked, PermissionAnswer::Cancelled).await.unwrap();
        assert_eq!(agent.hear().await["id"], id);
    }
    // An id may be used again once it is answered.
    agent.say(ask(&json!(0), "s1")).await;
    assert!(matches!(next(&mut events).await, Event::Permission { .. }));
}

#[tokio::test]
async fn a_caller_that_goes_leaves_nothing_behind_but_a_stray() {
    let (client, mut events, mut agent) = start(Config::default());
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.set_mode("s1", "plan").await }
    });
    let (id, _) = agent.hear_call("session/set_mode").await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    agent.answer(&id, json!({})).await;
    let Event::Stray(stray) = next(&mut events).await else { panic!() };
    assert_eq!(stray.reason, StrayReason::Late("session/set_mode".into()));
}

#[tokio::test]
async fn closing_the_input_lets_the_agent_finish() {
    let (host_out, mut agent_out) = tokio::io::duplex(1024);
    let (host_in, mut agent_in) = tokio::io::duplex(1024);
    let (client, mut events) = connect(host_out, host_in, Arc::new(RefuseAll), Config::default());
    client.notify("last", RawJson::empty_object()).await.unwrap();
    client.close_input();
    let mut heard = String::new();
    timeout(DEADLINE, agent_in.read_to_string(&mut heard)).await.expect("the end").unwrap();
    assert_eq!(heard, "{\"jsonrpc\":\"2.0\",\"method\":\"last\",\"params\":{}}\n");
    let error = client.set_mode("s1", "x").await.unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::ByHost, .. }), "{error}");
    agent_out.write_all(b"{\"method\":\"bye\"}\n").await.unwrap();
    drop(agent_out);
    let all = rest(&mut events).await;
    assert!(
        matches!(&all[..], [Event::Notification(_), Event::Closed { reason: CloseReason::EndOfOutput, .. }]),
        "{all:?}"
    );
}

#[tokio::test]
async fn dropping_the_events_ends_the_connection_and_whoever_waits() {
    let (client, events, mut agent) = start(Config::default());
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.set_mode("s1", "plan").await }
    });
    agent.hear_call("session/set_mode").await;
    drop(events);
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::ByHost, .. }), "{error}");
    assert!(agent.hears_the_end().await);
}

#[tokio::test]
async fn a_path_that_is_not_utf8_is_refused_before_anything_is_sent() {
    use std::os::unix::ffi::OsStrExt;
    let (client, _events, mut agent) = start(Config::default());
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/repo/\xff"));
    let error = client.new_session(path, &[]).await.unwrap_err();
    assert!(matches!(error, CallError::NotEncodable { .. }), "{error}");
    client.notify("next", RawJson::empty_object()).await.unwrap();
    assert_eq!(agent.hear().await["method"], "next");
}

#[tokio::test]
async fn an_agents_error_is_told_in_its_own_words() {
    let (client, _events, mut agent) = start(Config::default());
    let call = tokio::spawn(async move { client.new_session(Path::new("/repo"), &[]).await });
    let (id, _) = agent.hear_call("session/new").await;
    let error = json!({"code": -32603, "message": "Internal error", "data": {"details": "no key"}});
    agent.say(json!({"error": error, "id": id, "jsonrpc": "2.0"})).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "session/new: no key (code -32603)");
    assert_eq!(error.agent_error().unwrap().code, -32603);
}

/// Asks for one thing after another and never hears an answer, as long as the host reads.
fn asks_without_end(
    mut agent: support::Agent,
    params: Value,
) -> (Arc<AtomicUsize>, tokio::task::JoinHandle<support::Agent>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let play = tokio::spawn(async move {
        for id in 0..200 {
            let request = json!({"jsonrpc": "2.0", "id": id, "method": "x/wait", "params": params});
            if !agent.try_say(&request).await {
                break;
            }
            counted.fetch_add(1, Ordering::SeqCst);
        }
        agent
    });
    (asked, play)
}

async fn stuck_at(count: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    while before != count.load(Ordering::SeqCst) {
        before = count.load(Ordering::SeqCst);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }
    before
}

#[tokio::test]
async fn the_bytes_of_open_requests_stop_reading_the_pipe() {
    let config = Config { open_request_bytes: 300_000, ..Config::default() };
    let (client, mut events, agent) = support::start_with(config, Arc::new(support::ServesNever));
    let (asked, play) = asks_without_end(agent, json!("x".repeat(20_000)));
    let open = stuck_at(&asked).await;
    // Fifteen fill it; the pipe and one read hold the rest.
    assert!((15..30).contains(&open), "{open}");
    // Somebody who awaits an answer has the pipe read on, and what is asked then is refused.
    let limit = Duration::from_millis(500);
    let waiting = client.request("x/slow", RawJson::empty_object(), limit);
    let error = waiting.await.unwrap_err();
    assert!(matches!(error, CallError::TimeLimit { .. }), "{error}");
    assert!(stuck_at(&asked).await > open, "the pipe was read on");
    assert_eq!(events.try_recv_many(&mut Vec::new(), 1), 0, "requests are no events");
    let mut agent = play.await.unwrap();
    agent.hear_call("x/slow").await;
    assert_eq!(agent.hear().await["error"]["code"], -32000);
}

#[tokio::test]
async fn an_answered_permission_makes_room_for_more() {
    let config = Config { open_request_bytes: 100_000, ..Config::default() };
    let (client, mut events, mut agent) = start(config);
    let play = tokio::spawn(async move {
        for id in 0..20 {
            let params = json!({"sessionId": "s1", "options": [], "more": "x".repeat(90_000)});
            let request = json!({"id": id, "method": "session/request_permission", "params": params});
            agent.say(request).await;
        }
        for id in 0..20 {
            let answer = agent.hear().await;
            assert_eq!(answer["id"], id);
            assert_eq!(answer["result"]["outcome"]["outcome"], "cancelled", "{answer}");
        }
    });
    for _ in 0..20 {
        let Event::Permission { id, .. } = next(&mut events).await else { panic!() };
        client.answer_permission(&id, PermissionAnswer::Cancelled).await.unwrap();
    }
    play.await.unwrap();
}
