//! From nothing to a server that is ours, and to a conversation on it.

use backends::pool::Keeper;
use dispatch_core::agent::{EndedHow, NoticeCode};
use dispatch_core::ports::Close;
use dispatch_core::task::{Name, TerminalReason};
use serde_json::json;

use crate::desk::Desk;
use crate::fake::Manner;

#[tokio::test]
async fn a_first_request_that_is_never_answered_is_asked_again() {
    let desk = Desk::new(Manner::SlowToWake).await;
    let (turn, voice) = desk.turn(1).await;
    voice.answer_with("awake");
    assert_eq!(turn.finish().await.0.text(), "awake");
    desk.over().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_ours_is_refused() {
    for (manner, words) in [
        (Manner::Open, "it answers without the password (status 200"),
        (Manner::Credulous, "it takes a wrong password"),
        (Manner::Stranger, "it does not take the password that it was given"),
    ] {
        let desk = Desk::new(manner).await;
        let failure = desk.start(desk.spec(1)).await.err().unwrap();
        assert_eq!(failure.reason, TerminalReason::CouldNotStart);
        assert!(failure.text.contains(words), "{}", failure.text);
        assert_eq!(desk.servers(), [0_u32; 0]);
        desk.over().await;
    }
}

#[tokio::test]
async fn one_server_serves_all_turns_and_nothing_is_left_of_it() {
    let desk = Desk::new(Manner::Good).await;
    let (one, two) = tokio::join!(desk.turn(1), desk.turn(2));
    assert_eq!(desk.servers().len(), 1);
    assert_eq!(desk.pool.warm()[0].turns, 2);
    two.1.answer_with("two");
    one.1.answer_with("one");
    assert_eq!(one.0.finish().await.0.text(), "one");
    assert_eq!(two.0.finish().await.0.text(), "two");
    let kept = desk.servers();
    let (turn, voice) = desk.turn(1).await;
    voice.answer_with("again");
    let (said, end) = turn.finish().await;
    assert_eq!((said.text().as_str(), end.how), ("again", EndedHow::Completed));
    assert_eq!(desk.servers(), kept);
    desk.over().await;
}

#[tokio::test]
async fn a_conversation_goes_on_in_its_own_folder_only() {
    let desk = Desk::new(Manner::Good).await;
    let here = desk.worktree.path().to_str().unwrap().to_owned();
    desk.fake.answer("GET /session/ses_here", json!({"id": "ses_here", "directory": here}));
    desk.fake.answer("GET /session/ses_there", json!({"id": "ses_there", "directory": "/elsewhere"}));
    desk.fake.answer_status("GET /session/ses_forgotten", 404);
    for (earlier, code, goes_on) in [
        ("ses_here", NoticeCode::SessionLoaded, true),
        ("ses_there", NoticeCode::SessionNew, false),
        ("ses_forgotten", NoticeCode::SessionNew, false),
    ] {
        let mut spec = desk.spec(1);
        spec.resume = Some(earlier.to_owned());
        let turn = desk.start(spec).await.unwrap();
        assert_eq!(turn.info.agent_session.as_deref() == Some(earlier), goes_on);
        assert_eq!(turn.told(), [code], "{earlier}");
        turn.close(Close::Return).await;
    }
    let turn = desk.start(desk.spec(1)).await.unwrap();
    assert_eq!(turn.info.notices, [], "nothing to go on with");
    turn.close(Close::Return).await;
    desk.over().await;
}

#[tokio::test]
async fn model_mode_and_thinking_are_sent_and_what_there_is_not_is_said() {
    let desk = Desk::new(Manner::Good).await;
    let model = |name: &str| json!({"name": name, "limit": {"context": 1000}, "variants": {"high": {}}});
    desk.fake.answer(
        "GET /config/providers",
        json!({"providers": [{"id": "llama-swap", "models": {"qwen": model("Qwen")}}, {"id": "x", "models": {"y/z": model("Z")}}],
               "default": {"x": "y/z"}}),
    );
    desk.fake.answer("GET /config", json!({"model": "x/y/z"}));
    let name = |text: &str| Name::new(text);

    let mut spec = desk.spec(1);
    (spec.model, spec.mode, spec.thinking) = (name("qwen"), name("BUILD"), name("high"));
    let mut turn = desk.start(spec).await.unwrap();
    assert_eq!(turn.info.notices, []);
    assert_eq!(turn.info.settings.model.current.as_deref(), Some("llama-swap/qwen"));
    assert_eq!(turn.info.settings.mode.choices.len(), 1, "not those that only agents may use");
    let voice = desk.prompt(&mut turn, "hello").await;
    let body = desk.fake.called(&format!("POST /session/{}/prompt_async", voice.session), 1).await;
    assert_eq!(body["model"], json!({"providerID": "llama-swap", "modelID": "qwen"}));
    assert_eq!((&body["agent"], &body["variant"]), (&json!("build"), &json!("high")));
    voice.take_prompt();
    voice.answer_with("done");
    turn.finish().await;

    let mut spec = desk.spec(1);
    (spec.model, spec.mode, spec.thinking) = (name("nope"), name("explore"), name("low"));
    let mut turn = desk.start(spec).await.unwrap();
    let texts: Vec<_> = turn.info.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "agent opencode has no model `llama-swap/nope`; it has llama-swap/qwen, x/y/z",
            "agent opencode has no mode `explore`; it has build",
            "agent opencode has no thinking option `low`; it has high",
        ]
    );
    let voice = desk.prompt(&mut turn, "hello").await;
    let body = desk.fake.called(&format!("POST /session/{}/prompt_async", voice.session), 1).await;
    assert_eq!(body["model"], json!({"providerID": "x", "modelID": "y/z"}), "the configured one");
    assert_eq!((body.get("agent"), body.get("variant")), (None, None));
    voice.take_prompt();
    voice.answer_with("done");
    turn.finish().await;
    desk.over().await;
}

#[tokio::test]
async fn a_slash_command_is_run_as_one() {
    let desk = Desk::new(Manner::Good).await;
    desk.fake.answer("GET /command", json!([{"name": "init", "description": "d", "hints": ["$ARGUMENTS"]}]));
    desk.fake.never_answer("POST /session/ses_1/command");
    let mut turn = desk.start(desk.spec(1)).await.unwrap();
    assert_eq!(turn.info.commands[0].hint.as_deref(), Some("$ARGUMENTS"));
    turn.prompt("/init the docs").await;
    let body = desk.fake.called("POST /session/ses_1/command", 1).await;
    assert_eq!((&body["command"], &body["arguments"]), (&json!("init"), &json!("the docs")));
    let prompt = body["messageID"].as_str().unwrap().to_owned();
    let voice = crate::desk::Voice { fake: &desk.fake, session: "ses_1".into(), prompt };
    voice.take_prompt();
    voice.answer_with("done");
    assert_eq!(turn.finish().await.0.text(), "done");

    desk.fake.answer_status("POST /session/ses_2/command", 500);
    let mut turn = desk.start(desk.spec(1)).await.unwrap();
    turn.prompt("/init").await;
    let (_, end) = turn.finish().await;
    assert!(matches!(&end.how, EndedHow::Failed(failure) if failure.text == "no"), "{end:?}");
    desk.over().await;
}
