//! Programs that take one prompt, well-behaved and not.

use backends::registry::Output;
use dispatch_core::agent::{EndedHow, NoticeCode};
use dispatch_core::ports::Close;
use dispatch_core::profile::Stop;
use dispatch_core::task::{Name, TerminalReason};

use crate::common::Fixture;
use crate::until::until;

const DONE: &str =
    r#"{"type":"result","subtype":"success","is_error":false,"result":"done","total_cost_usd":0.5}"#;

#[tokio::test]
async fn text_is_the_answer_without_what_only_terminals_understand() {
    let fixture = Fixture::new(Output::Text, r"printf '\033[1mbold\033[0m '; cat; echo aside >&2");
    let (turn, end) = fixture.run("-x --help\nsecond").await;
    assert_eq!(turn.text(), "bold -x --help\nsecond");
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(end.printed.stderr, "aside\n");
}

#[tokio::test]
async fn the_exit_decides_for_text() {
    let fixture = Fixture::new(Output::Text, "echo said; echo 'Error: Invalid API key' >&2; exit 3");
    let (turn, end) = fixture.run("x").await;
    assert_eq!(turn.text(), "said\n");
    let EndedHow::Failed(failure) = end.how else { panic!("{:?}", end.how) };
    assert_eq!(failure.reason, TerminalReason::Unauthorised);
    assert!(
        failure.text.contains("exit code 3") && failure.text.contains("Invalid API key"),
        "{}",
        failure.text
    );
}

#[tokio::test]
async fn a_prompt_may_be_longer_than_all_pipes_and_read_late() {
    let fixture = Fixture::new(Output::Text, "head -c 300000 /dev/zero | tr '\\0' y; echo; wc -c");
    let (turn, end) = fixture.run(&"p".repeat(3_000_000)).await;
    assert!(turn.text().ends_with("y\n3000000\n"), "{}", turn.text().len());
    assert_eq!(end.how, EndedHow::Completed);
}

#[tokio::test]
async fn a_program_that_does_not_say_that_it_is_done_is_not() {
    let script = r#"echo '{"type":"assistant","message":{"content":[{"type":"text","text":"half"}]}}'"#;
    let (turn, end) = Fixture::new(Output::Claude, script).run("x").await;
    assert_eq!(turn.text(), "half");
    let EndedHow::Crashed(failure) = end.how else { panic!("{:?}", end.how) };
    assert!(failure.text.contains("ended with exit code 0 before its turn was over"), "{}", failure.text);
}

/// Claude Code does not wait until its output is read.
#[tokio::test]
async fn the_input_of_a_program_that_ends_with_it_is_open_until_it_is_done() {
    let script = format!(
        r#"read -r prompt
        case $prompt in *'"content":"-x \"y\""'*) ;; *) exit 8;; esac
        timeout 1 cat
        [ $? = 124 ] || exit 9
        echo '{DONE}'
        cat
        touch ended"#
    );
    let fixture = Fixture::in_place_of("claude", &script);
    let (_, end) = fixture.run("-x \"y\"").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert!(fixture.worktree.path().join("ended").exists(), "it ends by itself once its input is closed");
}

/// As when a command that Claude Code runs in the background ends with its turn.
#[tokio::test]
async fn what_follows_the_end_of_a_turn_is_not_of_it() {
    let more = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"more"}]}}"#;
    let other = DONE.replace("0.5", "0.75");
    let (turn, end) = Fixture::new(Output::Claude, &format!("echo '{DONE}\n{more}\n{other}'")).run("x").await;
    assert_eq!((turn.text().as_str(), end.how), ("", EndedHow::Completed));
    assert_eq!(end.usage.cost.unwrap().amount, 0.5);
}

#[tokio::test]
async fn a_program_that_goes_on_after_its_end_is_ended() {
    let script = format!("echo '{DONE}'; sleep 600");
    let (_, end) = Fixture::new(Output::Claude, &script).run("x").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(end.usage.cost.unwrap().amount, 0.5);
}

#[tokio::test]
async fn a_program_that_closes_its_output_and_lives_has_crashed() {
    for output in [Output::Text, Output::Claude, Output::Opencode] {
        let (_, end) = Fixture::new(output, "exec >&- 2>&-; sleep 600").run("x").await;
        let EndedHow::Crashed(failure) = end.how else { panic!("{:?}", end.how) };
        assert!(failure.text.contains("closed its output and goes on running"), "{}", failure.text);
    }
}

#[tokio::test]
async fn a_trouble_that_is_overcome_is_not_the_end() {
    // Longer than a program that has said that it is done may take to end.
    let pause = "sleep 6";
    for (output, trouble, answer) in [
        (
            Output::Codex,
            r#"{"type":"error","message":"Reconnecting... 1/5 (stream disconnected)"}"#,
            r#"{"type":"item.completed","item":{"id":"1","type":"agent_message","text":"done"}}
{"type":"turn.completed","usage":{"input_tokens":1,"output_tokens":1}}"#,
        ),
        (
            Output::Opencode,
            r#"{"type":"error","sessionID":"s","error":{"name":"APIError","data":{"message":"busy"}}}"#,
            r#"{"type":"text","sessionID":"s","part":{"type":"text","text":"done"}}"#,
        ),
    ] {
        let (turn, end) =
            Fixture::new(output, &format!("echo '{trouble}'; {pause}; echo '{answer}'")).run("x").await;
        assert_eq!(turn.text(), "done", "{output:?}: {end:?}");
        if output == Output::Codex {
            assert_eq!(end.how, EndedHow::Completed);
        }
    }
}

#[tokio::test]
async fn a_trouble_that_is_not_overcome_is_what_the_turn_failed_of() {
    for (output, trouble) in [
        (Output::Codex, r#"{"type":"error","message":"401 Unauthorized"}"#),
        (Output::Goose, r#"{"type":"error","error":"401 Unauthorized"}"#),
        (Output::Gemini, r#"{"type":"error","severity":"error","message":"401 Unauthorized"}"#),
        (
            Output::Opencode,
            r#"{"type":"error","error":{"name":"APIError","data":{"message":"401 Unauthorized"}}}"#,
        ),
    ] {
        let (_, end) = Fixture::new(output, &format!("echo '{trouble}'; exit 1")).run("x").await;
        let EndedHow::Failed(failure) = end.how else { panic!("{output:?} {:?}", end.how) };
        assert_eq!(
            (failure.reason, failure.text.as_str()),
            (TerminalReason::Unauthorised, "401 Unauthorized")
        );
    }
}

#[tokio::test]
async fn what_it_leaves_behind_is_gone_with_it() {
    let (turn, end) = Fixture::new(Output::Text, "setsid sleep 600 & echo out").run("x").await;
    assert_eq!((turn.text().as_str(), end.how), ("out\n", EndedHow::Completed));
}

#[tokio::test]
async fn garbage_is_counted_and_shown_only_where_nothing_else_is() {
    let script = format!("printf 'banner\\n\\033[31m\\377\\n[1\\n{{\\n'; echo '{DONE}'");
    let (turn, end) = Fixture::new(Output::Claude, &script).run("x").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert!(turn.has_notice(NoticeCode::AgentOddity), "{:?}", turn.said.0);
    assert_eq!(end.printed.stdout, "banner\n\u{fffd}\n[1\n{");
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_with_its_children() {
    let fixture = Fixture::new(
        Output::Text,
        "trap '' TERM; (trap '' TERM; sleep 600) & echo up; while :; do sleep 1; done",
    );
    let mut turn = fixture.prompt("x").await;
    turn.until_said("up").await;
    turn.control.stop(Stop::Terminate).await;
    turn.control.stop(Stop::Kill).await;
    assert_eq!(turn.end().await.how, EndedHow::Cancelled);
    turn.close(Close::Kill).await;
}

#[tokio::test]
async fn a_program_that_insists_on_a_terminal_has_one_of_its_own() {
    let script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] || exit 9; stty size; ps -o tty= -p $$ >/dev/tty; cat";
    let prompt = format!("{}\nctrl \x03\x04\x16\x15 end", "long ".repeat(2000));
    let (turn, end) = Fixture::on_terminal(script).run(&prompt).await;
    assert_eq!(end.how, EndedHow::Completed, "{}", turn.text());
    let text = turn.text();
    assert!(text.starts_with("50 240\npts/"), "{}", &text[..text.len().min(200)]);
    let expected = format!("{}\nctrl  end\n", "long ".repeat(2000));
    assert!(text.ends_with(&expected), "control characters are typed, and not shown: {} bytes", text.len());
}

/// What writes a prompt to a terminal ends with the program, also where that reads nothing.
#[tokio::test]
async fn a_prompt_that_nobody_reads_keeps_nothing_alive() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (turn, end) = Fixture::on_terminal("echo up").run(&"long ".repeat(200_000)).await;
    assert_eq!((turn.text().as_str(), end.how), ("up\n", EndedHow::Completed));
    until(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() <= before).await;
}

#[tokio::test]
async fn a_conversation_that_is_not_there_begins_anew_under_the_same_id() {
    let script = format!(
        r#"for arg in "$@"; do case "$arg" in
            --resume=*) echo "No conversation found with session ID: ${{arg#*=}}" >&2; exit 1;;
            --session-id=*) id=${{arg#*=}};;
        esac; done
        echo '{{"type":"system","subtype":"init","session_id":"'$id'"}}'
        echo '{{"type":"assistant","message":{{"content":[{{"type":"text","text":"'"$(cat) in $id"'"}}]}}}}'
        echo '{DONE}'"#
    );
    let mut fixture = Fixture::new(Output::Claude, &script);
    fixture.spec.resume = Some("0-1-2".to_owned());
    let (turn, end) = fixture.run("go on").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(turn.text(), "go on in 0-1-2");
    assert_eq!(turn.info.agent_session.as_deref(), Some("0-1-2"));
    assert!(turn.has_notice(NoticeCode::SessionNew) && !turn.has_notice(NoticeCode::SessionLoaded));
}

#[tokio::test]
async fn a_failure_that_only_sounds_like_it_does_not_send_the_prompt_again() {
    for (output, said) in [
        (Output::Goose, "Error: no session token, log in again"),
        (Output::Goose, "Error: the provider said: No session found with name '0-1-2'"),
        (Output::Claude, "the hook failed: No conversation found with session ID: 0-1-3"),
        (Output::Codex, "Error: no rollout found for thread id 0-1-3"),
        (Output::Opencode, "Error: upstream: Session not found"),
    ] {
        let script = format!("echo start >> starts; cat > /dev/null; echo \"{said}\" >&2; exit 1");
        let mut fixture = Fixture::new(output, &script);
        fixture.spec.resume = Some("0-1-2".to_owned());
        let (turn, end) = fixture.run("go on").await;
        assert!(matches!(&end.how, EndedHow::Failed(failure) if failure.text.contains(said)), "{end:?}");
        assert!(!turn.has_notice(NoticeCode::SessionNew), "{said}");
        let starts = std::fs::read_to_string(fixture.worktree.path().join("starts")).unwrap();
        assert_eq!(starts.lines().count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_conversation_that_is_there_goes_on() {
    let mut fixture = Fixture::new(
        Output::Claude,
        &format!(
            "echo \"$@\" > args; echo '{{\"type\":\"assistant\",\"message\":{{\"content\":[{{\"type\":\"text\",\"text\":\"hi\"}}]}}}}'; echo '{DONE}'"
        ),
    );
    fixture.spec.resume = Some("0-1-2".to_owned());
    fixture.spec.model = Name::new("some-model");
    let (turn, _) = fixture.run("go on").await;
    assert!(turn.has_notice(NoticeCode::SessionLoaded) && !turn.has_notice(NoticeCode::SessionNew));
    let args = std::fs::read_to_string(fixture.worktree.path().join("args")).unwrap();
    assert!(args.contains("--resume=0-1-2") && args.contains("--model=some-model"), "{args}");
}
