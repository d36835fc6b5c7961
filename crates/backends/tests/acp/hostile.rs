//! Agents that crash, babble, flood and lie.

use std::os::unix::fs::PermissionsExt;

use backends::registry::{Registry, UserAgent};
use dispatch_core::agent::{AgentUpdate, End, EndedHow, NoticeCode};
use dispatch_core::ports::Close;
use dispatch_core::task::{Name, TerminalReason};

use crate::common::{Fixture, utf8};
use crate::support::said::{Said, text};
use crate::support::waiting::within;

fn crashed(how: &EndedHow) -> &str {
    match how {
        EndedHow::Crashed(failure) if failure.reason == TerminalReason::AgentCrashed => &failure.text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_crash_is_told_with_what_was_said_before() {
    for fixture in Fixture::each(&[]) {
        crashes(&fixture).await;
        fixture.over().await;
    }
}

async fn crashes(fixture: &Fixture) {
    let (said, end) = fixture.run("/stderr last words\n/say partly\n/crash SIGABRT").await;
    assert_eq!(
        crashed(&end.how),
        "agent demo ended with signal SIGABRT before its turn was over\n\nstandard error:\nlast words"
    );
    assert_eq!(said.text(), "partly");
    assert_eq!(end.printed.stderr, "last words\n");

    let (said, end) = fixture.run("/say partly\n/exit 0").await;
    assert_eq!(crashed(&end.how), "agent demo ended with exit code 0 before its turn was over");
    assert_eq!(said.text(), "partly");

    let (_, end) = fixture.run("/fork 2 plain session\n/exit 7").await;
    assert!(crashed(&end.how).starts_with("agent demo ended with exit code 7"));
    let (_, end) = fixture.run("/close-stdout").await;
    crashed(&end.how);
}

#[tokio::test]
async fn garbage_is_passed_over_and_kept() {
    for fixture in Fixture::each(&[]) {
        garbage(&fixture).await;
        fixture.over().await;
    }
}

async fn garbage(fixture: &Fixture) {
    let (said, end) = fixture.run("/say a\n/garbage 5\n/bad-utf8\n/nul\n/answer-twice\n/say b").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert!(said.text().starts_with('a') && said.text().ends_with('b'), "{}", said.text());
    assert!(end.printed.stdout.contains("this is no JSON"), "{:?}", end.printed);
    let notice = said.notice(NoticeCode::AgentOddity).unwrap();
    assert!(notice.contains("lines that are no messages"), "{notice}");
    assert!(notice.contains("answers to nothing that was asked"), "{notice}");
}

/// What JSON can say and text cannot hold is marked; all else is kept.
#[tokio::test]
async fn text_that_is_none_to_others_arrives() {
    let odd = r"a\u0000b\ud800c\udc00d\ud83d\ude00\u001b";
    let kept = "a\0b\u{fffd}c\u{fffd}d😀\u{1b}";
    let prompt = format!(
        "/update {{\"sessionUpdate\":\"agent_message_chunk\",\"content\":{{\"type\":\"text\",\"text\":\"{odd}\"}}}}\n\
         /update {{\"sessionUpdate\":\"agent_thought_chunk\",\"content\":{{\"type\":\"text\",\"text\":\"{odd}\"}}}}\n\
         /update {{\"sessionUpdate\":\"tool_call\",\"toolCallId\":\"{odd}\",\"title\":\"{odd}\",\"kind\":\"{odd}\"}}\n\
         /update {{\"sessionUpdate\":\"plan\",\"entries\":[{{\"content\":\"{odd}\"}}]}}\n/bad-utf8"
    );
    for fixture in Fixture::each(&[]) {
        let (said, end) = fixture.run(&prompt).await;
        arrived(&said, &end, kept);
        fixture.over().await;
    }
}

fn arrived(said: &Said, end: &End, kept: &str) {
    assert_eq!(end.how, EndedHow::Completed);
    assert!(said.text().starts_with(kept), "{:?}", said.text());
    assert!(said.text().ends_with("bad \u{fffd}\u{fffd}\u{fffd}( bytes"), "{:?}", said.text());
    assert_eq!(said.reasoning(), kept);
    let [tool] = &said.tools()[..] else { panic!("{:?}", said.tools()) };
    assert_eq!((tool.id.as_str(), tool.title.as_str(), tool.kind.as_str()), (kept, kept, kept));
    let plans = said.all(|update| match update {
        AgentUpdate::Plan(entries) => Some(entries[0].content.as_str()),
        _ => None,
    });
    assert_eq!(plans, [kept]);
}

#[tokio::test]
async fn what_is_unknown_is_counted_and_told_once() {
    for fixture in Fixture::each(&[]) {
        unknown(&fixture).await;
        fixture.over().await;
    }
}

async fn unknown(fixture: &Fixture) {
    let prompt = "/update {\"sessionUpdate\":\"mood\",\"x\":1}\n/update {\"sessionUpdate\":\"mood\"}\n\
                  /notify _private/thing\n/wrong-session leak\n/request no/such\n/say b";
    let (said, end) = fixture.run(prompt).await;
    assert_eq!(end.how, EndedHow::Completed);
    assert!(!said.text().contains("leak"));
    assert!(said.text().contains("no/such refused"), "{}", said.text());
    assert_eq!(
        said.notice(NoticeCode::AgentOddity),
        Some(
            "passed over what the agent sent: update of unknown kind `mood` (2 times); \
             updates for another conversation"
        )
    );
    let notices = said.all(|update| matches!(update, AgentUpdate::Notice(_)).then_some(()));
    assert_eq!(notices.len(), 1);
}

#[tokio::test]
async fn a_broken_tool_call_is_still_a_tool_call() {
    let update = r#"{"sessionUpdate":"tool_call","toolCallId":"t1","title":"x","status":"sleeping","kind":"dance","content":[{"type":"hologram"}],"locations":[3]}"#;
    let (said, _) = Fixture::new(&[]).run(&format!("/update {update}")).await;
    let tools = said.tools();
    assert_eq!((tools[0].title.as_str(), tools[0].kind.as_str(), tools[0].content.len()), ("x", "dance", 1));
}

#[tokio::test]
async fn updates_after_the_answer_count() {
    for fixture in Fixture::each(&[]) {
        let (said, end) = fixture.run("/say first\n/late last").await;
        assert_eq!(end.how, EndedHow::Completed);
        assert_eq!(said.text(), "firstlast");
        fixture.over().await;
    }
}

#[tokio::test]
async fn long_texts_arrive() {
    for fixture in Fixture::each(&[]) {
        let (said, end) = fixture.run("/long-line 40000000\n/text 3").await;
        assert_eq!(end.how, EndedHow::Completed);
        assert_eq!(said.text().len(), 3 << 20);
        assert!(end.printed.stdout.len() <= 8 * 1024);
        fixture.over().await;
    }
}

#[tokio::test]
async fn a_flood_waits_for_a_slow_reader() {
    for fixture in Fixture::each(&[]) {
        flood(&fixture).await;
        fixture.over().await;
    }
}

async fn flood(fixture: &Fixture) {
    let mut turn = fixture.prompt("/flood 1").await;
    // However much the agent has to say, no batch is larger than its limit: the pipe holds the rest back.
    let mut batches = 0;
    let mut most = 0;
    let end = loop {
        let mut batch = Vec::new();
        let end = within(turn.session.next(&mut batch)).await;
        most = most.max(text(&batch).len());
        batches += 1;
        if let Some(end) = end {
            break end;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(end.how, EndedHow::Completed);
    assert!(batches > 10 && most <= 256 * 18, "{batches} batches of at most {most} bytes");
    turn.close(Close::Return).await;
}

/// An agent that answers a prompt with what this shell command prints, and with nothing else.
const BABBLER: &str = r#"#!/bin/sh
long=$(head -c 10000 /dev/zero | tr '\0' x)
while IFS= read -r line; do
    id=${line#*\"id\":}; id=${id%%,*}
    case "$line" in
        *'"method":"initialize"'*) result='{"protocolVersion":1,"agentCapabilities":{}}';;
        *'"method":"session/new"'*) result='{"sessionId":"s"}';;
        *'"method":"session/prompt"'*) BABBLE;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

#[tokio::test]
async fn an_agent_that_says_much_and_means_nothing_is_ended() {
    let update = r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"another","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"'$long'"}}}}"#;
    for babble in ["tr '\\0' x < /dev/zero", "yes $long", &format!("yes '{update}'")] {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("babbler");
        std::fs::write(&program, BABBLER.replace("BABBLE", babble)).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let user = UserAgent { command: vec![utf8(&program).to_owned()], ..UserAgent::default() };
        let registry = Registry::new([(Name::new("babbler").unwrap(), user)]).unwrap();
        let fixture = Fixture::with_registry(registry, "babbler").made_warm();
        let (said, end) = fixture.run("speak").await;
        let EndedHow::Failed(failure) = end.how else { panic!("{end:?}") };
        assert_eq!(failure.reason, TerminalReason::OutputLimit);
        assert!(failure.text.contains("said more than 128 MiB"), "{}", failure.text);
        assert_eq!(said.text(), "");
        assert_eq!(fixture.kept(), [], "nobody knows what it does");
        fixture.over().await;
    }
}

#[tokio::test]
async fn a_flood_on_stderr_blocks_nobody() {
    for fixture in Fixture::each(&[]) {
        let (_, end) = fixture.run("/flood-stderr 1").await;
        assert_eq!(end.how, EndedHow::Completed);
        assert!(!end.printed.stderr.is_empty() && end.printed.stderr.len() <= 8 * 1024);
        fixture.over().await;
    }
}

#[tokio::test]
async fn nothing_outside_the_worktree_is_written_or_run_for_an_agent() {
    for fixture in Fixture::each(&[]) {
        outside(&fixture).await;
        fixture.over().await;
    }
}

async fn outside(fixture: &Fixture) {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("x");
    let create = |cwd: &str| {
        format!(
            "/request terminal/create {{\"sessionId\":\"SESSION\",\"command\":\"touch {}\",\"cwd\":\"{cwd}\"}}",
            target.display()
        )
    };
    let turn = fixture.start().await;
    let session = turn.info.agent_session.clone().unwrap();
    let mut turn = turn;
    let text = format!(
        "/outside {}\n{}\n{}",
        target.display(),
        create("/tmp").replace("SESSION", &session),
        create(crate::common::utf8(fixture.worktree.path())).replace("SESSION", "another"),
    );
    within(turn.session.prompt(dispatch_core::ports::Prompt { text })).await.unwrap();
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    let said = turn.close(Close::Return).await;
    assert!(!target.exists());
    assert_eq!(said.text().matches("terminal/create refused").count(), 2, "{}", said.text());
}
