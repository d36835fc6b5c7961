//! Going on with an earlier conversation.

use std::path::Path;
use std::time::Duration;

use dispatch_core::agent::{AgentUpdate, EndedHow, NoticeCode};
use dispatch_core::ports::Close;
use dispatch_core::task::{Name, TerminalReason};
use tempfile::TempDir;

use crate::common::{Fixture, utf8};
use crate::support::said::Said;

/// Where an agent keeps its conversations, and which prompt went to which.
struct Memory(TempDir);

impl Memory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        utf8(&self.0.path().join(name)).to_owned()
    }

    /// An agent that remembers, with a fault.
    fn agent(&self, fault: Option<&str>) -> Fixture {
        let (state, ledger) = (self.path("state"), self.path("ledger"));
        let mut args = vec!["--state", &state, "--ledger", &ledger];
        args.extend(fault.iter().flat_map(|fault| ["--fault", fault]));
        Fixture::new(&args)
    }

    /// A first turn; returns the conversation's id.
    async fn first_turn(&self, prompt: &str) -> String {
        let mut turn = self.agent(None).prompt(prompt).await;
        assert_eq!(turn.end().await.how, EndedHow::Completed);
        let id = turn.conversation();
        assert!(turn.info.notices.is_empty(), "{:?}", turn.info.notices);
        turn.close(Close::Return).await;
        id
    }

    /// The conversations that prompts went to, and the prompts' first lines.
    fn ledger(&self) -> Vec<(String, String)> {
        let ledger = std::fs::read_to_string(Path::new(&self.path("ledger"))).unwrap();
        let entry = |line: &str| {
            let fields: Vec<_> = line.split('\t').collect();
            (fields[1].to_owned(), fields[4].to_owned())
        };
        ledger.lines().map(entry).collect()
    }
}

/// A turn that was to go on with a conversation: the agent's id for what it went on with, the notice, and what
/// was said.
async fn resumed(mut fixture: Fixture, earlier: &str, prompt: &str) -> (String, (NoticeCode, String), Said) {
    fixture.spec.resume = Some(earlier.to_owned());
    let mut turn = fixture.prompt(prompt).await;
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    let [notice] = &turn.info.notices[..] else { panic!("{:?}", turn.info.notices) };
    let (session, notice) = (turn.conversation(), (notice.code, notice.text.clone()));
    (session, notice, turn.close(Close::Return).await)
}

#[tokio::test]
async fn a_conversation_goes_on_and_its_history_is_not_told_again() {
    for fault in [None, Some("load=late")] {
        let memory = Memory::new();
        let earlier = memory.first_turn("/say told\\tbefore\n/tool look").await;
        let mut fixture = memory.agent(fault);
        fixture.spec.model = Name::new("demo-2");
        let (session, notice, said) = resumed(fixture, &earlier, "/history\n/settings").await;
        assert_eq!(session, earlier);
        assert_eq!(
            notice,
            (NoticeCode::SessionLoaded, "agent demo goes on with its conversation".to_owned())
        );
        let text = said.text();
        assert!(text.contains("prompts: 2") && text.contains("demo-2"), "{text}");
        assert!(!text.contains("told\tbefore"), "{fault:?}: {text}");
        assert_eq!(said.tools(), []);
        let oddities = said.notice(NoticeCode::AgentOddity);
        assert_eq!(oddities, None);
        let to = |prompt: &str| (earlier.clone(), prompt.to_owned());
        assert_eq!(memory.ledger(), [to("/say told\\tbefore"), to("/history")]);
    }
}

#[tokio::test]
async fn an_agent_that_cannot_go_on_begins_anew_and_says_why() {
    let memory = Memory::new();
    let earlier = memory.first_turn("/say the first answer").await;
    let mut slow = memory.agent(Some("load=silent"));
    slow.settings.connection.time_limits.load_session = Duration::from_millis(200);
    for (fixture, earlier, why) in [
        (Fixture::new(&[]), earlier.as_str(), "it cannot load earlier ones"),
        (memory.agent(None), "gone", "Session not found: gone"),
        (memory.agent(Some("load=refuse")), &earlier, "this agent loads no sessions"),
        (slow, &earlier, "it did not answer within 200 ms"),
    ] {
        let (session, notice, said) = resumed(fixture, earlier, "/history").await;
        assert_ne!(session, earlier);
        let text = format!("agent demo begins a new conversation: {why}");
        assert_eq!(notice, (NoticeCode::SessionNew, text));
        assert!(said.text().contains("prompts: 1"), "{}", said.text());
    }
    let conversations: Vec<_> = memory.ledger().into_iter().map(|(session, _)| session).collect();
    assert_eq!(conversations.iter().filter(|session| **session == earlier).count(), 1);
}

#[tokio::test]
async fn an_agent_that_dies_of_a_load_does_not_start() {
    let memory = Memory::new();
    let mut fixture = memory.agent(Some("load=exit"));
    fixture.spec.resume = Some("earlier".to_owned());
    let failure = fixture.start_failure().await;
    assert_eq!(failure.reason, TerminalReason::CouldNotStart);
    assert_eq!(failure.text, "agent demo ended with exit code 9 before it answered session/load");
}

/// Commands that come with the history are the conversation's now.
#[tokio::test]
async fn the_commands_of_a_loaded_conversation_are_known() {
    let memory = Memory::new();
    let earlier = memory.first_turn("/say hello").await;
    let mut fixture = memory.agent(Some("load=late"));
    fixture.spec.resume = Some(earlier);
    let mut turn = fixture.prompt("/say again").await;
    turn.end().await;
    let told = turn.updates.iter().any(|update| matches!(update, AgentUpdate::Commands(_)));
    assert!(!turn.info.commands.is_empty() || told);
    turn.close(Close::Return).await;
}
