//! Before the prompt: the model, its context, and what is said of both.

use backends::native::ApiKey;
use dispatch_core::agent::NoticeCode;
use dispatch_core::ports::Close;
use dispatch_core::task::{Name, TerminalReason};
use serde_json::json;

use crate::common::Fixture;
use crate::server::{Reply, error, says};

/// The model that is asked, and the notices.
async fn asked(fixture: &Fixture) -> (String, Vec<NoticeCode>) {
    let turn = fixture.prompt("hi").await;
    let notices = turn.told();
    turn.finish().await;
    (fixture.server.chats()[0].body["model"].as_str().unwrap().to_owned(), notices)
}

#[tokio::test]
async fn the_model_is_the_asked_one_or_the_configured_or_the_first() {
    for (asks, configured, lists, expected, notices) in [
        (None, None, true, "small", 0),
        (None, Some("large"), true, "large", 0),
        (Some("large"), None, true, "large", 0),
        (Some("huge"), Some("large"), true, "large", 1),
        (Some("huge"), None, false, "huge", 0),
        (None, Some("mine"), false, "mine", 0),
    ] {
        let mut fixture = Fixture::new([says("x")]).await;
        fixture.spec.model = asks.and_then(Name::new);
        fixture.settings.default_model = configured.and_then(Name::new);
        if !lists {
            fixture.server.models(error(404, "no"));
        }
        let (model, told) = asked(&fixture).await;
        assert_eq!((model.as_str(), told.len()), (expected, notices), "{asks:?} {configured:?} {lists}");
        assert!(told.iter().all(|code| *code == NoticeCode::OptionIgnored));
    }
    let fixture = Fixture::new([]).await;
    fixture.server.models(error(404, "no"));
    let failure = fixture.start_failure().await;
    assert_eq!(failure.reason, TerminalReason::CouldNotStart);
    assert!(failure.text.contains("no model is configured"), "{failure}");
}

#[tokio::test]
async fn what_may_be_chosen_is_told_and_what_there_is_not_is_ignored() {
    let mut fixture = Fixture::new([says("x")]).await;
    fixture.spec.mode = Name::new("plan");
    fixture.spec.thinking = Name::new("High");
    let mut turn = fixture.prompt("hi").await;
    turn.end().await;
    let settings = turn.info.settings.clone();
    assert_eq!(settings.model.current.as_deref(), Some("small"));
    let ids: Vec<&str> = settings.model.choices.iter().map(|choice| choice.id.as_str()).collect();
    assert_eq!(ids, ["small", "large"]);
    assert_eq!(settings.thinking.current.as_deref(), Some("high"));
    assert_eq!(turn.info.notices.len(), 1, "{:?}", turn.info.notices);
    turn.close(Close::Return).await;
    assert_eq!(fixture.server.chats()[0].body["reasoning_effort"], "high");
}

#[tokio::test]
async fn the_context_is_the_configured_or_what_the_service_tells() {
    let of_meta = Reply::json(200, &json!({ "data": [{ "id": "a", "meta": { "n_ctx": 4096 } }] }));
    let of_nobody = Reply::json(200, &json!({ "data": [{ "id": "a" }] }));
    let props = Reply::json(200, &json!({ "default_generation_settings": { "n_ctx": 2048 } }));
    for (models, props, configured, expected) in [
        (of_meta.clone(), None, None, Some(4096)),
        (of_meta, None, Some(1024), Some(1024)),
        (of_nobody.clone(), Some(props), None, Some(2048)),
        (of_nobody, None, None, None),
    ] {
        let mut fixture = Fixture::new([says("x")]).await;
        fixture.settings.context_size = configured;
        fixture.server.models(models);
        props.into_iter().for_each(|props| fixture.server.props(props));
        let (_, end) = fixture.run().await;
        assert_eq!(end.usage.context_size, expected);
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_or_lets_nobody_in_fails_the_start() {
    let mut fixture = Fixture::new([]).await;
    fixture.settings.api_key = Some(ApiKey::new("sk-very-secret").unwrap());
    fixture.server.models(error(401, "Incorrect API key provided: sk-very-secret"));
    let failure = fixture.start_failure().await;
    assert_eq!(failure.reason, TerminalReason::Unauthorised);
    assert_eq!(failure.text, "Incorrect API key provided: …");
    assert_eq!(fixture.server.requests()[0].authorization.as_deref(), Some("Bearer sk-very-secret"));
    assert!(!format!("{:?}", fixture.settings).contains("very-secret"));

    // Nobody listens on a port that was just given back.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fixture.settings.endpoint = backends::native::Endpoint::new(&format!("http://{gone}/v1")).unwrap();
    let failure = fixture.start_failure().await;
    assert_eq!(failure.reason, TerminalReason::CouldNotStart);
    assert!(failure.text.contains("could not be reached"), "{failure}");
}

#[tokio::test]
async fn without_a_worktree_there_are_no_tools() {
    let mut fixture = Fixture::new([says("x")]).await;
    fixture.spec.cwd = std::path::PathBuf::new();
    let (said, _) = fixture.run().await;
    assert_eq!(said.text(), "x");
    let chat = fixture.server.chats()[0].body.clone();
    assert!(chat.get("tools").is_none());
    assert!(chat["messages"][0]["content"].as_str().unwrap().contains("no files and no tools"));
}

#[tokio::test]
async fn a_service_that_speaks_no_tls_is_not_spoken_to_without() {
    let mut fixture = Fixture::new([]).await;
    let https = format!("https://{}/v1", fixture.server.address);
    fixture.settings.endpoint = backends::native::Endpoint::new(&https).unwrap();
    let failure = fixture.start_failure().await;
    assert_eq!(failure.reason, TerminalReason::CouldNotStart);
    assert!(fixture.server.requests().is_empty(), "{failure}");
}

#[tokio::test]
async fn only_the_configured_proxy_is_used() {
    let mut fixture = Fixture::new([]).await;
    fixture.settings.endpoint = backends::native::Endpoint::new("http://model.invalid/v1").unwrap();
    fixture.settings.proxy = Some(format!("http://{}", fixture.server.address));
    fixture.settings.default_model = Name::new("x");
    let turn = fixture.prompt("hi").await;
    turn.close(Close::Return).await;
    assert_eq!(fixture.server.requests()[0].path, "http://model.invalid/v1/models");

    // SAFETY: this test has a process of its own, in which nobody else looks at the environment now.
    unsafe { std::env::set_var("http_proxy", fixture.settings.proxy.take().unwrap()) };
    let asked = fixture.server.requests().len();
    assert_eq!(fixture.start_failure().await.reason, TerminalReason::CouldNotStart);
    assert_eq!(fixture.server.requests().len(), asked);
}

#[tokio::test]
async fn a_service_that_is_still_starting_is_waited_for() {
    let mut fixture = Fixture::new([says("x")]).await;
    fixture.server.models(error(503, "Loading model"));
    fixture.settings.limits.first_pause = std::time::Duration::from_millis(50);
    let mut turn = fixture.open().await;
    let (started, ()) = tokio::join!(turn.session.start(), async {
        fixture.server.requested(1).await;
        fixture.server.models(Reply::json(200, &json!({ "data": [{ "id": "loaded" }] })));
    });
    assert_eq!(started.unwrap().settings.model.current.as_deref(), Some("loaded"));
    turn.close(Close::Return).await;
    // One that never has a list is asked all the same, where a model is configured.
    fixture.server.models(error(503, "Loading model"));
    fixture.settings.default_model = Name::new("mine");
    fixture.settings.limits.first_pause = std::time::Duration::from_millis(1);
    let (said, _) = fixture.run().await;
    assert_eq!(said.text(), "x");
}
