//! Claude Code's control protocol with a small program that speaks it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backends::claude_sdk::{ClaudeSdk, ClaudeSettings};
use backends::pool::{Keeper, Pool, PoolSettings};
use backends::registry::{Registry, UserAgent};
use dispatch_core::agent::{AgentUpdate, Answer, EndedHow, NoticeCode, PermissionRequest, ToolStatus};
use dispatch_core::ports::{Close, SessionSpec};
use dispatch_core::profile::Stop;
use dispatch_core::task::Name;
use tempfile::TempDir;

use crate::common::{Turn, assert_nothing_left, launcher, program, spec, text, within};

/// It says what it was told, and what it costs adds up.
const CLAUDE: &str = r#"
echo "$$ $*" >> starts
for arg in "$@"; do case "$arg" in
    --session-id=*) id=${arg#*=};;
    --resume=lost) echo "No conversation found with session ID: lost" >&2; exit 1;;
    --resume=*) id=${arg#*=};;
esac; done
turn=0; model=none; mode=none
say() { printf '%s\n' "$1"; }
text() { say '{"type":"assistant","message":{"content":[{"type":"text","text":"'"$1"'"}]}}'; }
answer() { rest=${line#*\"request_id\":\"}; say '{"type":"control_response","response":{"subtype":"success","request_id":"'"${rest%%\"*}"'","response":'"$1"'}}'; }
result() { say '{"type":"result","subtype":"success","is_error":'"$1"',"terminal_reason":"'"$2"'","result":"r","total_cost_usd":'$turn'.5,"usage":{"input_tokens":3,"output_tokens":4},"modelUsage":{"m":{"contextWindow":1000}}}'; }
while IFS= read -r line; do case "$line" in
    *'"subtype":"initialize"'*) answer '{"commands":[{"name":"review","description":"d","argumentHint":"<x>"}],"models":[{"value":"default","displayName":"D","description":"","supportedEffortLevels":["low"]},{"value":"opus","displayName":"Opus","description":""}]}';;
    *'"subtype":"set_model"'*) model=${line#*\"model\":}; model=$(printf %s "${model%%,*}" | tr -d '"}'); answer '{}';;
    *'"subtype":"set_permission_mode"'*) mode=${line#*\"mode\":\"}; mode=${mode%%\"*}; answer '{}';;
    *'"subtype":"interrupt"'*) answer '{}';;
    *'"type":"user"'*)
        turn=$((turn + 1))
        say '{"type":"system","subtype":"init","session_id":"'$id'","slash_commands":["x"]}'
        case "$line" in
            *settings*) text "$model $mode"; result false completed;;
            *ask*)
                say '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t1","name":"Write","input":{"file_path":"a","content":"b"}}]}}'
                say '{"type":"control_request","request_id":"7","request":{"subtype":"can_use_tool","tool_name":"Write","input":{"file_path":"a","content":"b"},"tool_use_id":"t1"}}'
                IFS= read -r line
                case "$line" in *'"behavior":"allow"'*'"updatedInput":{'*) failed=false;; *) failed=true;; esac
                say '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","is_error":'$failed',"content":"c"}]}}'
                result false completed;;
            *hang*)
                text waiting
                while IFS= read -r line; do case "$line" in *'"subtype":"interrupt"'*) break;; esac; done
                answer '{}'; result true aborted_streaming;;
            *deaf*) text deaf; trap '' TERM; while :; do sleep 1; done;;
            *die*) exit 9;;
            *) text "turn $turn"; result false completed;;
        esac;;
esac; done
"#;

struct Fixture {
    worktree: TempDir,
    _programs: TempDir,
    backend: ClaudeSdk,
    pool: Arc<Pool>,
    spec: SessionSpec,
}

impl Fixture {
    fn new() -> Self {
        let (worktree, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = program(programs.path(), CLAUDE).to_str().unwrap().to_owned();
        let user = UserAgent { program: Some(path), ..UserAgent::default() };
        let registry = Registry::new([(Name::new("claude").unwrap(), user)]).unwrap();
        let pool = Pool::new(PoolSettings::default());
        let settings = ClaudeSettings { grace: Duration::from_secs(1), ..ClaudeSettings::new(launcher()) };
        let backend = ClaudeSdk::new(Arc::new(registry), settings, Arc::clone(&pool));
        let spec = spec(worktree.path(), "claude");
        Self { worktree, _programs: programs, backend, pool, spec }
    }

    async fn prompt(&self, prompt: &str) -> Turn {
        Turn::begin(&self.backend, self.spec.clone(), prompt).await
    }

    /// A turn that ends well; its text, and what it cost.
    async fn run(&mut self, prompt: &str) -> (String, f64) {
        let mut turn = self.prompt(prompt).await;
        let end = turn.end().await;
        assert_eq!(end.how, EndedHow::Completed);
        self.spec.resume.clone_from(&turn.info.agent_session);
        within(turn.session.close(Close::Return)).await;
        (text(&turn.updates), end.usage.cost.unwrap().amount)
    }

    /// One line for each process that was started.
    fn starts(&self) -> Vec<String> {
        let starts = std::fs::read_to_string(Path::new(self.worktree.path()).join("starts")).unwrap();
        starts.lines().map(str::to_owned).collect()
    }

    async fn shut_down(self) {
        within(self.pool.shut_down()).await;
        assert_nothing_left(&self.spec);
    }
}

fn asked(update: &AgentUpdate) -> Option<PermissionRequest> {
    match update {
        AgentUpdate::Permission(request) => Some(request.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn turns_of_a_chat_share_a_process_and_each_costs_its_own() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.run("hello").await, ("turn 1".to_owned(), 1.5));
    assert_eq!(fixture.run("hello").await, ("turn 2".to_owned(), 1.0));
    assert_eq!(fixture.starts().len(), 1);
    fixture.shut_down().await;
}

#[tokio::test]
async fn it_says_what_it_offers_and_is_set_between_turns() {
    let mut fixture = Fixture::new();
    fixture.spec.model = Name::new("OPUS");
    fixture.spec.mode = Name::new("plan");
    assert_eq!(fixture.run("settings").await.0, "opus plan");
    fixture.spec.model = None;
    fixture.spec.mode = Name::new("bypassPermissions");
    let mut turn = fixture.prompt("settings").await;
    assert_eq!(turn.info.commands[0].name, "review");
    assert_eq!(turn.info.settings.model.choices[1].name, "Opus");
    assert_eq!(turn.info.notices[0].code, NoticeCode::OptionIgnored, "it lets everything happen");
    turn.end().await;
    assert_eq!(text(&turn.updates), "null default");
    within(turn.session.close(Close::Return)).await;
    assert_eq!(fixture.starts().len(), 1);
    fixture.shut_down().await;
}

#[tokio::test]
async fn leave_is_given_once_or_not() {
    let fixture = Fixture::new();
    for (answer, status) in [(Answer::Allow, ToolStatus::Completed), (Answer::Lapsed, ToolStatus::Failed)] {
        let mut turn = fixture.prompt("ask").await;
        let request = turn.until(asked).await;
        assert_eq!((request.tool_call.id.as_str(), request.tool_call.kind.as_str()), ("t1", "edit"));
        turn.control.answer("another", Answer::Allow).await;
        turn.control.answer(&request.id, answer).await;
        assert_eq!(turn.end().await.how, EndedHow::Completed);
        let last = |update: &AgentUpdate| match update {
            AgentUpdate::ToolCall(patch) => patch.status,
            _ => None,
        };
        assert_eq!(turn.updates.iter().rev().find_map(last), Some(status));
        within(turn.session.close(Close::Return)).await;
    }
    fixture.shut_down().await;
}

#[tokio::test]
async fn an_interrupt_ends_the_turn_and_not_the_process() {
    let mut fixture = Fixture::new();
    let mut turn = fixture.prompt("hang").await;
    turn.until_said("waiting").await;
    turn.control.stop(Stop::Ask).await;
    assert_eq!(turn.end().await.how, EndedHow::Cancelled);
    fixture.spec.resume.clone_from(&turn.info.agent_session);
    within(turn.session.close(Close::Return)).await;
    assert_eq!(fixture.run("hello").await, ("turn 2".to_owned(), 1.0));
    assert_eq!(fixture.starts().len(), 1);
    fixture.shut_down().await;
}

#[tokio::test]
async fn one_that_does_not_obey_is_killed_and_the_chat_goes_on_in_another() {
    let mut fixture = Fixture::new();
    let mut turn = fixture.prompt("deaf").await;
    turn.until_said("deaf").await;
    for rung in [Stop::Ask, Stop::Terminate, Stop::Kill] {
        turn.control.stop(rung).await;
    }
    assert_eq!(turn.end().await.how, EndedHow::Cancelled);
    fixture.spec.resume.clone_from(&turn.info.agent_session);
    let id = fixture.spec.resume.clone().unwrap();
    within(turn.session.close(Close::Kill)).await;
    assert_nothing_left(&fixture.spec);
    assert_eq!(fixture.run("hello").await.0, "turn 1");
    assert!(fixture.starts()[1].contains(&format!("--resume={id}")));
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_crash_is_told_and_the_next_turn_hears_of_it() {
    let mut fixture = Fixture::new();
    let mut turn = fixture.prompt("die").await;
    let end = turn.end().await;
    assert!(
        matches!(&end.how, EndedHow::Crashed(failure) if failure.text.contains("exit code 9")),
        "{end:?}"
    );
    fixture.spec.resume.clone_from(&turn.info.agent_session);
    within(turn.session.close(Close::Kill)).await;
    let mut turn = fixture.prompt("hello").await;
    let codes: Vec<NoticeCode> = turn.info.notices.iter().map(|notice| notice.code).collect();
    assert_eq!(codes, [NoticeCode::BackendRestarted, NoticeCode::SessionLoaded]);
    turn.end().await;
    within(turn.session.close(Close::Return)).await;
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_conversation_that_is_not_there_begins_anew() {
    let mut fixture = Fixture::new();
    fixture.spec.resume = Some("lost".to_owned());
    let mut turn = fixture.prompt("hello").await;
    let codes: Vec<NoticeCode> = turn.info.notices.iter().map(|notice| notice.code).collect();
    assert_eq!(codes, [NoticeCode::SessionNew]);
    assert_ne!(turn.info.agent_session.as_deref(), Some("lost"));
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    within(turn.session.close(Close::Return)).await;
    fixture.shut_down().await;
}
