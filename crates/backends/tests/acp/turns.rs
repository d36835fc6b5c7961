//! What an agent says arrives as what it means.

use dispatch_core::agent::{AgentUpdate, EndedHow, NoticeCode, ToolContent, ToolStatus};
use dispatch_core::task::TerminalReason;
use serde_json::json;

use crate::common::{Fixture, utf8};

fn failed(how: &EndedHow) -> (TerminalReason, &str) {
    match how {
        EndedHow::Failed(failure) => (failure.reason, &failure.text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn text_reasoning_plan_and_usage() {
    let fixture = Fixture::new(&[]);
    let prompt = "/think hm\n/say one \n/say two\n/plan first; second\n/usage 10 20 0.5\n/stream 300";
    let (said, end) = fixture.run(prompt).await;
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(said.reasoning(), "hm");
    assert!(said.text().starts_with("one two") || said.text().starts_with("one  two"), "{}", said.text());
    assert!(said.text().len() >= 300 * 20);
    let plans = said.all(|update| match update {
        AgentUpdate::Plan(entries) => Some(entries),
        _ => None,
    });
    assert_eq!(plans.last().unwrap().len(), 2);
    assert!(plans.last().unwrap().iter().all(|entry| entry.status == "completed"), "{plans:?}");
    assert_eq!((end.usage.input_tokens, end.usage.output_tokens), (Some(10), Some(20)));
    let cost = said.all(|update| match update {
        AgentUpdate::Usage(usage) => usage.cost.clone(),
        _ => None,
    });
    assert_eq!(cost[0].amount, 0.5);
    assert_eq!(said.notice(NoticeCode::AgentOddity), None);
    assert_eq!(end.printed.stdout, "");
}

#[tokio::test]
async fn tools_and_the_files_they_write() {
    let fixture = Fixture::new(&[]);
    let (said, end) = fixture.run("/write a.txt hello\\n\n/read a.txt\n/shell echo out; exit 3").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(fixture.read("a.txt"), "hello\n");
    let tools = said.tools();
    assert_eq!(tools.len(), 3, "{tools:?}");
    let is_diff = |content: &ToolContent| matches!(content, ToolContent::Diff { new_text, .. } if new_text == "hello\n");
    assert!(tools[0].content.iter().any(is_diff), "{:?}", tools[0]);
    assert_eq!((tools[0].kind.as_str(), tools[0].status), ("edit", ToolStatus::Completed));
    assert!(tools.iter().all(|tool| tool.status.is_terminal()), "{tools:?}");
}

#[tokio::test]
async fn commands_are_announced() {
    let fixture = Fixture::new(&[]);
    let (said, _) = fixture.run("/commands fix review").await;
    let lists = said.all(|update| match update {
        AgentUpdate::Commands(commands) => Some(commands),
        _ => None,
    });
    let names: Vec<_> = lists.last().unwrap().iter().map(|command| command.name.as_str()).collect();
    assert_eq!(names, ["fix", "review"]);
}

#[tokio::test]
async fn every_end_is_told_apart() {
    let fixture = Fixture::new(&[]);
    let end = async |prompt: &str| fixture.run(prompt).await.1.how;
    assert_eq!(end("/stop end_turn").await, EndedHow::Completed);
    assert_eq!(end("/stop cancelled").await, EndedHow::Cancelled);
    assert_eq!(failed(&end("/stop refusal").await).0, TerminalReason::ModelRefused);
    assert!(failed(&end("/stop max_tokens").await).1.contains("output limit"));
    assert!(failed(&end("/stop max_turn_requests").await).1.contains("model calls"));
    let unknown = end("/stop bored").await;
    assert_eq!(
        failed(&unknown),
        (
            TerminalReason::AgentFailed,
            "the agent ended its turn for a reason that this build does not know: \"bored\""
        )
    );
    let error = end("/say partly\n/error 429 slow down").await;
    assert_eq!(failed(&error), (TerminalReason::OverQuota, "slow down"));
}

#[tokio::test]
async fn quirks_of_an_agent_hold_whatever_its_command() {
    let opencode = Fixture::disguised("opencode");
    let (said, _) = opencode.run("/say a <dcp-mess\n/say age-id>m0001</dcp\n/say -message-id>b <dcp").await;
    assert_eq!(said.text(), "a b <dcp");

    let goose = Fixture::disguised("goose");
    // The demo agent always reports usage, so the answer without it is written out; 3 is the prompt's id.
    let answer = r#"/raw {"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}"#;
    let (_, end) = goose.run(&format!("/say Ran into this \n/say error: 401 Unauthorized\n{answer}")).await;
    assert_eq!(failed(&end.how).0, TerminalReason::Unauthorised);
    let (_, end) =
        goose.run(&format!("/say Ran into this error: x\n/tool look\n/say went on\n{answer}")).await;
    assert_eq!(end.how, EndedHow::Completed);
    let (_, end) = goose.run("/say Ran into this error: x\n/usage 1 2").await;
    assert_eq!(end.how, EndedHow::Completed, "usage means that the model has answered");
}

#[tokio::test]
async fn an_agent_sees_its_environment_and_folder_only() {
    let mut fixture = Fixture::disguised("goose");
    for (name, value) in [
        ("DATABASE_URL", "secret"),
        ("BOOCODER_TOKEN", "secret"),
        ("GIT_DIR", "/elsewhere"),
        ("GEMINI_API_KEY", "another agent's"),
        ("GOOSE_MODEL", "its own"),
        ("GOOSE_MODE", "auto"),
    ] {
        fixture.settings.launcher.inherited.push((name.into(), value.into()));
    }
    let terminal = "/terminal env | cut -d= -f1";
    let (said, _) = fixture.run(&format!("/env\n/env GOOSE_MODE\n/pwd\n{terminal}")).await;
    let text = format!("{}{:?}", said.text(), said.tools());
    for hidden in ["DATABASE_URL", "BOOCODER_TOKEN", "GIT_DIR", "GEMINI_API_KEY"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    for seen in
        ["GOOSE_MODEL", "GIT_CEILING_DIRECTORIES", "BOOCODER_RUN", "approve", utf8(fixture.worktree.path())]
    {
        assert!(text.contains(seen), "{seen} not in {text}");
    }
}

#[tokio::test]
async fn terminals_run_in_the_worktree_and_report_both_streams() {
    let fixture = Fixture::new(&[]);
    let (said, end) = fixture.run("/terminal pwd; echo err >&2; echo made > made.txt").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(fixture.read("made.txt"), "made\n");
    let shown = format!("{:?}{}", said.tools(), said.text());
    assert!(shown.contains("err") && shown.contains(utf8(fixture.worktree.path())), "{shown}");
}

#[tokio::test]
async fn a_missing_file_is_empty_for_those_that_need_it() {
    let prompt = |fixture: &Fixture| {
        let path = fixture.worktree.path().join("absent");
        // The demo agent reads through the host.
        format!("/read {}", utf8(&path))
    };
    let gemini = Fixture::disguised("gemini");
    let (said, _) = gemini.run(&prompt(&gemini)).await;
    assert_eq!(said.tools()[0].status, ToolStatus::Completed, "{:?}", said.tools());
    let other = Fixture::disguised("qwen");
    let (said, _) = other.run(&prompt(&other)).await;
    assert_eq!(said.tools()[0].status, ToolStatus::Failed, "{:?}", said.tools());
}

/// goose sets `GIT_PAGER` for each of its commands.
#[tokio::test]
async fn a_command_runs_without_the_variables_that_no_agent_may_set() {
    let fixture = Fixture::new(&[]);
    let turn = fixture.start().await;
    let session = turn.conversation();
    let create = json!({
        "sessionId": session, "command": "/bin/sh", "args": ["-c", "env > seen.txt"],
        "env": [
            {"name": "GIT_PAGER", "value": "cat"},
            {"name": "GIT_CEILING_DIRECTORIES", "value": "/nowhere"},
            {"name": "LD_PRELOAD", "value": "/tmp/x.so"},
            {"name": "PAGER", "value": "agents-own"},
        ],
    });
    let wait = json!({"sessionId": session, "terminalId": "term_1"});
    let text = format!("/request terminal/create {create}\n/request terminal/wait_for_exit {wait}");
    let (said, end) = turn.run(&text).await;
    assert_eq!(end.how, EndedHow::Completed);
    assert!(!said.text().contains("refused"), "{}", said.text());
    let seen = fixture.read("seen.txt");
    assert!(seen.lines().any(|line| line == "PAGER=agents-own"), "{seen}");
    for dropped in ["GIT_PAGER", "LD_PRELOAD", "/nowhere"] {
        assert!(!seen.contains(dropped), "{dropped} in {seen}");
    }
}
