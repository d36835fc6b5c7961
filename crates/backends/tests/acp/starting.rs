//! Agents that do not get ready say why.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use backends::registry::{Registry, UserAgent};
use dispatch_core::agent::NoticeCode;
use dispatch_core::ports::{Agents, Close};
use dispatch_core::routing::AgentFacts;
use dispatch_core::task::{Name, TerminalReason};

use crate::common::Fixture;
use crate::support::turn::assert_nothing_left;
use crate::support::waiting::within;

async fn refused(args: &[&str]) -> String {
    let failure = Fixture::new(args).start_failure().await;
    assert_eq!(failure.reason, TerminalReason::CouldNotStart, "{}", failure.text);
    failure.text
}

#[tokio::test]
async fn one_that_exits_at_once_is_named_with_its_code_and_last_words() {
    let text = refused(&["--fault", "stderr=no model configured", "--fault", "exit=3"]).await;
    // Faults run in order: the words come first.
    assert_eq!(
        text,
        "agent demo ended with exit code 3 before it answered initialize\n\nstandard error:\nno model configured"
    );
}

#[tokio::test]
async fn one_that_prints_something_else_is_shown() {
    let mut fixture = Fixture::new(&["--fault", "garbage"]);
    // Long enough to start in, for what it prints is to be heard.
    fixture.settings.connection.time_limits.initialize = Duration::from_secs(10);
    let text = fixture.start_failure().await.text;
    let expected = "agent demo did not answer initialize within 10 s; what it prints is not ACP\n\n\
                    standard output:\nWelcome! This is no JSON.";
    assert!(text.starts_with(expected), "{text}");
}

#[tokio::test]
async fn one_that_prints_without_end_is_given_up_early() {
    let registry = own("yes");
    let text = Fixture::with_registry(registry, "own").start_failure().await.text;
    assert!(text.starts_with("agent own prints what is not ACP: more than 1000 lines"), "{text}");
    assert!(text.contains("standard output:\ny\ny\n") && text.len() < 20_000);
}

#[tokio::test]
async fn one_that_never_answers_is_given_up_in_time() {
    let mut fixture = Fixture::new(&["--fault", "silent", "--fault", "stderr=thinking"]);
    // Long enough to start in, for what it prints is to be heard.
    fixture.settings.connection.time_limits.initialize = Duration::from_secs(10);
    let text = fixture.start_failure().await.text;
    assert_eq!(text, "agent demo did not answer initialize within 10 s\n\nstandard error:\nthinking");
}

#[tokio::test]
async fn another_version_and_a_refused_session_are_named() {
    let text = refused(&["--fault", "version=2"]).await;
    assert_eq!(text, "agent demo speaks version 2 of ACP; this build speaks version 1");
    let text = refused(&["--fault", "no-session"]).await;
    assert_eq!(text, "agent demo refused session/new: this agent makes no sessions");
}

#[tokio::test]
async fn a_slow_one_is_waited_for() {
    let (said, _) = Fixture::new(&["--fault", "slow=300"]).run("/say hello").await;
    assert_eq!(said.text(), "hello");
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let fixture = Fixture::new(&["--fault", "silent"]);
    for how in [Close::Kill, Close::Return] {
        let mut opened = fixture.open().await.unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(50), opened.session.start()).await;
        assert!(given_up.is_err());
        opened.close(how).await;
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    let fixture = Fixture::with_registry(own("/nowhere/agent"), "own");
    let failure = fixture.open().await.err().unwrap();
    assert_eq!(failure.reason, TerminalReason::AgentNotInstalled);
    assert_eq!(
        failure.text,
        "agent own is not installed: program /nowhere/agent was not found; [agents.own] in \
         boocoder.toml starts \"/nowhere/agent\", which is no program here: correct its `command`"
    );
    let own = Name::new("own").unwrap();
    assert!(matches!(fixture.agents().facts(&own), AgentFacts::NotInstalled { .. }));

    let mut fixture = Fixture::new(&[]);
    fixture.spec.agent = Name::new("ghost");
    let AgentFacts::Unknown { hint } = fixture.agents().facts(&Name::new("ghost").unwrap()) else { panic!() };
    assert!(hint.contains("opencode, claude") && hint.contains("[agents.NAME]"), "{hint}");
    assert!(fixture.open().await.err().unwrap().text.contains(&hint));
}

#[tokio::test]
async fn a_worktree_that_acp_cannot_name_is_refused() {
    let mut fixture = Fixture::new(&[]);
    fixture.spec.cwd = PathBuf::from(OsString::from_vec(b"/tmp/\xff".to_vec()));
    let failure = fixture.open().await.err().unwrap();
    assert_eq!(failure.reason, TerminalReason::CouldNotStart);
    assert!(failure.text.starts_with("the worktree's path is not UTF-8"), "{}", failure.text);
}

#[tokio::test]
async fn options_are_applied_and_those_it_lacks_are_told() {
    let mut fixture = Fixture::new(&[]);
    fixture.spec.model = Name::new("demo-2");
    fixture.spec.mode = Name::new("PLAN");
    fixture.spec.thinking = Name::new("High");
    let (said, _) = fixture.run("/settings").await;
    let text = said.text();
    assert!(["demo-2", "plan", "high"].iter().all(|value| text.contains(value)), "{text}");

    fixture.spec.model = Name::new("gpt");
    fixture.spec.mode = None;
    fixture.spec.thinking = Name::new("enormous");
    let turn = fixture.start().await;
    let texts: Vec<_> = turn.info.notices.iter().map(|notice| (notice.code, notice.text.as_str())).collect();
    assert_eq!(
        texts,
        [
            (NoticeCode::OptionIgnored, "agent demo has no model `gpt`; it has demo-1, demo-2"),
            (
                NoticeCode::OptionIgnored,
                "agent demo has no thinking option `enormous`; it has low, medium, high"
            ),
        ]
    );
    assert!(turn.info.agent_session.as_deref().unwrap().starts_with("demo-"));
    turn.close(Close::Return).await;
}

#[tokio::test]
async fn an_agent_says_its_version() {
    let fixture = Fixture::with_registry(Registry::new([]).unwrap(), "goose");
    let launcher = &fixture.settings.launcher;
    let mut entry = fixture.agents().registry().get("goose").unwrap().clone();
    let sh = || PathBuf::from("/bin/sh");
    for (script, version) in [
        ("echo; echo ' v 1.2 '; echo more; sleep 60", Ok("v 1.2")),
        ("exit 4", Err("it ended with exit code 4 and printed nothing")),
    ] {
        entry.version_args = vec!["-c".into(), script.into()];
        let said = within(entry.version(sh(), launcher, fixture.tag())).await;
        assert_eq!(said.as_deref().map_err(ToString::to_string), version.map_err(str::to_owned));
        assert_nothing_left(&fixture.spec.run_tag);
    }
}

fn own(program: &str) -> Registry {
    let agent = UserAgent { command: vec![program.to_owned()], ..UserAgent::default() };
    Registry::new([(Name::new("own").unwrap(), agent)]).unwrap()
}
