//! One process for the turns of a chat.

use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;

use backends::pool::{Keeper, Pool, PoolSettings};
use backends::registry::{Registry, UserAgent, UserQuirks};
use dispatch_core::agent::{AgentUpdate, EndedHow, NoticeCode, OwnSettings, Usage};
use dispatch_core::ids::{ChatId, Epoch};
use dispatch_core::ports::{Agents, Close};
use dispatch_core::profile::Stop;
use dispatch_core::routing::Route;
use dispatch_core::task::{Name, TerminalReason};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::agent_process;
use crate::common::{Fixture, utf8};
use crate::support::said::Said;
use crate::support::turn::{Turn, assert_nothing_left};
use crate::support::waiting::within;

/// A warm agent that keeps its conversations in this folder.
pub fn remembering(state: &TempDir) -> Fixture {
    Fixture::warm(&["--state", utf8(state.path())])
}

/// Whether it does not come to its end when it is looked after once.
async fn is_pending(mut future: Pin<&mut impl Future<Output = ()>>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

async fn pid_of(turn: Turn) -> String {
    turn.run("/pid").await.0.text()
}

#[tokio::test]
async fn the_next_turn_finds_the_process_and_its_conversation() {
    let fixture = Fixture::warm(&[]);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    let commands = turn.info.commands.clone();
    let [kept] = &fixture.kept()[..] else { panic!("{:?}", fixture.kept()) };
    assert_eq!((kept.turns, kept.chat, kept.route), (1, Some(fixture.spec.chat), Route::WarmAcp));
    let pid = pid_of(turn).await;
    let [kept] = &fixture.kept()[..] else { panic!("{:?}", fixture.kept()) };
    assert_eq!((kept.turns, kept.pid.to_string()), (0, pid.trim().to_owned()));
    assert!(kept.idle_since >= kept.started_at);

    let turn = fixture.start_after(&conversation).await;
    assert_eq!(turn.info.notices, []);
    assert_eq!(turn.conversation(), conversation);
    assert!(turn.info.commands.len() >= commands.len() && !turn.info.settings.is_empty());
    let (said, end) = turn.run("/pid\n/history").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert!(said.text().starts_with(&pid) && said.text().contains("prompts: 2"), "{}", said.text());

    // A chat has a process of its own.
    let other = fixture.spec(|spec| spec.chat = ChatId::from_random([1; 16]));
    assert_ne!(pid_of(fixture.start_for(other).await).await, pid);
    assert_eq!(fixture.kept().len(), 2);
    fixture.over().await;
}

#[tokio::test]
async fn settings_change_between_turns_and_go_back() {
    let fixture = Fixture::warm(&[]);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    let settings = &turn.info.settings;
    assert_eq!(settings.model.current.as_deref(), Some("demo-1"));
    let ids: Vec<_> = settings.thinking.choices.iter().map(|choice| choice.id.as_str()).collect();
    assert_eq!(ids, ["low", "medium", "high"]);
    let pid = pid_of(turn).await;
    for (model, mode, thinking, expected) in [
        (Some("demo-2"), None, Some("high"), ["default", "demo-2", "high"]),
        (Some("demo-2"), Some("plan"), None, ["plan", "demo-2", "low"]),
        (None, None, None, ["default", "demo-1", "low"]),
        (None, None, None, ["default", "demo-1", "low"]),
    ] {
        let name = |name: Option<&str>| name.and_then(Name::new);
        let spec = fixture.spec(|spec| {
            spec.resume = Some(conversation.clone());
            (spec.model, spec.mode, spec.thinking) = (name(model), name(mode), name(thinking));
        });
        let turn = fixture.start_for(spec).await;
        assert_eq!(turn.info.notices, []);
        assert_eq!(turn.info.settings.model.current.as_deref(), Some(expected[1]));
        assert_eq!(turn.info.settings.mode.current.as_deref(), Some(expected[0]));
        let (said, _) = turn.run("/pid\n/settings").await;
        let [mode, model, thinking] = expected;
        assert_eq!(said.text(), format!("{pid}mode: {mode}\nmodel: {model}\nthought_level: {thinking}\n"));
    }
    fixture.over().await;
}

#[tokio::test]
async fn an_agent_that_begins_in_a_mode_of_its_own_is_put_into_ours() {
    let command = agent_process::command(&[]).into_iter().map(|word| word.into_string().unwrap());
    let quirks = UserQuirks { start_mode: Some("plan".to_owned()), ..UserQuirks::default() };
    let user = UserAgent { command: command.collect(), quirks, ..UserAgent::default() };
    let registry = Registry::new([(Name::new("own").unwrap(), user)]).unwrap();
    let fixture = Fixture::with_registry(registry, "own").made_warm();
    for (asked, mode) in [(None, "plan"), (Some("default"), "default"), (None, "plan")] {
        let spec = fixture.spec(|spec| spec.mode = asked.and_then(Name::new));
        let turn = fixture.start_for(spec).await;
        assert_eq!(turn.told(), []);
        let (said, _) = turn.run("/settings").await;
        assert!(said.text().contains(&format!("mode: {mode}\n")), "{}", said.text());
    }
    fixture.over().await;
}

#[tokio::test]
async fn a_stopped_turn_leaves_the_process() {
    let fixture = Fixture::warm(&[]);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    let pid = pid_of(turn).await;
    for (prompt, how) in [
        ("/say begun\n/stall", EndedHow::Cancelled),
        ("/end-turn-when-cancelled\n/say begun\n/stall", EndedHow::Completed),
        ("/say begun\n/terminal sleep 60", EndedHow::Cancelled),
        ("/say begun\n/ask may I", EndedHow::Cancelled),
    ] {
        let mut turn = fixture.start_after(&conversation).await;
        turn.prompt(prompt).await;
        turn.until(|update| matches!(update, AgentUpdate::Text(_)).then_some(())).await;
        turn.control.stop(Stop::Ask).await;
        assert_eq!(turn.end().await.how, how, "{prompt}");
        let control = turn.control.clone();
        turn.close(Close::Return).await;
        // A hand on a turn that is over reaches nothing.
        for rung in [Stop::Ask, Stop::Terminate, Stop::Kill] {
            control.stop(rung).await;
        }
        let turn = fixture.start_after(&conversation).await;
        assert_eq!(turn.told(), []);
        assert_eq!(pid_of(turn).await, pid, "{prompt}");
    }
    fixture.over().await;
}

#[tokio::test]
async fn a_turn_that_was_given_up_leaves_the_process_only_where_that_is_safe() {
    let fixture = Fixture::warm(&[]);
    fixture.open().await.unwrap().close(Close::Return).await;
    assert_eq!(fixture.kept().len(), 1, "nothing was said to it");
    let turn = fixture.start().await;
    assert!(turn.close(Close::Return).await.0.is_empty());
    assert_eq!(fixture.kept().len(), 1, "it is ready for a prompt");
    let turn = fixture.prompt("/say begun\n/stall").await;
    turn.close(Close::Return).await;
    assert_eq!(fixture.kept(), [], "nobody knows what it does");
    fixture.start().await.close(Close::Kill).await;
    assert_eq!(fixture.kept(), []);
    fixture.over().await;

    let fixture = Fixture::warm(&["--fault", "silent"]);
    let mut opened = fixture.open().await.unwrap();
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(50), opened.session.start()).await;
    assert!(given_up.is_err());
    opened.close(Close::Return).await;
    assert_eq!(fixture.kept(), []);
    assert_nothing_left(&fixture.spec.run_tag);
}

#[tokio::test]
async fn another_conversation_is_loaded_into_the_same_process() {
    let state = tempfile::tempdir().unwrap();
    let fixture = remembering(&state);
    let first = fixture.start().await;
    let (earlier, pid) = (first.conversation(), pid_of(first).await);
    let gone = fixture.start_after("gone").await;
    assert_eq!(gone.told(), [NoticeCode::SessionNew]);
    assert_ne!(gone.conversation(), earlier);
    assert_eq!(pid_of(gone).await, pid);
    let back = fixture.start_after(&earlier).await;
    assert_eq!(back.told(), [NoticeCode::SessionLoaded]);
    let (said, _) = back.run("/pid\n/history").await;
    assert!(said.text().starts_with(&pid) && said.text().contains("prompts: 2"), "{}", said.text());
    fixture.over().await;
}

/// A turn of the fixture's chat, after the one of that number, which the record names.
async fn after(fixture: &Fixture, conversation: &str, before: i64, number: i64) -> Turn {
    let spec = fixture.spec(|spec| {
        spec.epoch = Epoch(number);
        (spec.resume, spec.resume_epoch) = (Some(conversation.to_owned()), Some(Epoch(before)));
    });
    fixture.start_for(spec).await
}

#[tokio::test]
async fn a_process_that_missed_a_turn_of_another_node_is_not_used_again() {
    let state = tempfile::tempdir().unwrap();
    let mut here = remembering(&state);
    let first = here.start().await;
    let (conversation, pid) = (first.conversation(), pid_of(first).await);
    let second = after(&here, &conversation, 1, 2).await;
    assert_eq!(second.told(), []);
    assert_eq!(pid_of(second).await, pid, "its own turn was the last");
    // One that never had a prompt is not in the record.
    after(&here, &conversation, 2, 3).await.close(Close::Return).await;
    assert_eq!(pid_of(after(&here, &conversation, 2, 4).await).await, pid);

    let pool = std::mem::replace(&mut here.pool, Pool::new(PoolSettings::default()));
    after(&here, &conversation, 4, 5).await.run("/say elsewhere").await;
    let elsewhere = std::mem::replace(&mut here.pool, pool);
    let turn = after(&here, &conversation, 5, 6).await;
    assert_eq!(turn.told(), [NoticeCode::SessionLoaded], "nothing was lost");
    let (said, _) = turn.run("/pid\n/history").await;
    assert!(!said.text().starts_with(&pid) && said.text().contains("prompts: 5"), "{}", said.text());
    within(elsewhere.shut_down()).await;
    here.over().await;
}

#[tokio::test]
async fn what_is_idle_ends_at_once_where_others_may_go_on() {
    let fixture = Fixture::warm(&[]);
    fixture.run("/ignore-eof\n/ignore-signals\n/fork 2 daemon cleared").await;
    let other = fixture.spec(|spec| spec.chat = ChatId::from_random([1; 16]));
    let busy = fixture.start_for(other).await;
    within(fixture.agents().end_idle()).await;
    let [kept] = &fixture.kept()[..] else { panic!("{:?}", fixture.kept()) };
    assert_eq!(kept.turns, 1, "its turn ends it");
    let (_, end) = busy.run("/say on").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(fixture.kept(), []);
    fixture.over().await;
}

#[tokio::test]
async fn settings_go_back_also_when_the_process_was_replaced() {
    let state = tempfile::tempdir().unwrap();
    let fixture = remembering(&state);
    let asking = fixture.spec(|spec| spec.model = Name::new("demo-2"));
    let turn = fixture.start_for(asking).await;
    let (conversation, own) = (turn.conversation(), turn.info.own.clone());
    assert_eq!(own.model.as_deref(), Some("demo-1"));
    turn.run("/say hello").await;
    within(fixture.agents().end_idle()).await;
    let spec = fixture.spec(|spec| (spec.resume, spec.own) = (Some(conversation.clone()), own));
    let turn = fixture.start_for(spec).await;
    assert_eq!(turn.told(), [NoticeCode::SessionLoaded]);
    assert_eq!(
        (turn.info.own.clone(), turn.info.settings.model.current.as_deref()),
        (OwnSettings::default(), Some("demo-1"))
    );
    let (said, _) = turn.run("/settings").await;
    assert!(said.text().contains("model: demo-1\n"), "{}", said.text());
    fixture.over().await;
}

#[tokio::test]
async fn a_setting_that_cannot_go_back_is_told() {
    let state = tempfile::tempdir().unwrap();
    let fixture = remembering(&state);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    turn.run("/say hello").await;
    let own = OwnSettings { mode: Some("gone".to_owned()), ..OwnSettings::default() };
    within(fixture.agents().end_idle()).await;
    let turn = fixture
        .start_for(fixture.spec(|spec| (spec.resume, spec.own) = (Some(conversation.clone()), own)))
        .await;
    assert_eq!(turn.told(), [NoticeCode::SessionLoaded, NoticeCode::OptionIgnored]);
    assert_eq!(
        turn.info.notices[1].text,
        "agent demo has no mode `gone`; it has default, plan; it stays as an earlier task of the chat had it"
    );
    turn.run("/say hello").await;
    let turn = fixture.start_after(&conversation).await;
    assert_eq!(turn.told(), [], "once");
    turn.close(Close::Return).await;
    fixture.over().await;
}

#[tokio::test]
async fn a_loss_is_told_by_the_first_turn_that_gets_ready() {
    let fixture = Fixture::warm(&[]);
    fixture.run("/answer-now\n/sleep 100\n/exit 3").await;
    fixture.until_kept(0).await;
    // Closed before it began, and given up half way.
    fixture.open().await.unwrap().close(Close::Return).await;
    let turn = fixture.start().await;
    assert_eq!(turn.told(), [NoticeCode::BackendRestarted]);
    let conversation = turn.conversation();
    turn.run("/say hello").await;
    assert_eq!(fixture.start_after(&conversation).await.told(), [], "once");
    fixture.until_kept(0).await;
    fixture.over().await;
}

/// Half way, nobody knows what it has made of what it was told.
#[tokio::test]
async fn a_stop_while_a_kept_process_gets_ready_ends_it_and_the_next_turn_says_so() {
    let fixture = Fixture::warm(&[]);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    turn.run("/say hello").await;
    kill(Pid::from_raw(fixture.kept()[0].pid.cast_signed()), Signal::SIGSTOP).unwrap();
    let spec = fixture.spec(|spec| {
        (spec.resume, spec.model) = (Some(conversation.clone()), Name::new("demo-2"));
    });
    let mut opened = fixture.open_for(spec).await.unwrap();
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(50), opened.session.start()).await;
    assert!(given_up.is_err());
    opened.close(Close::Return).await;
    assert_eq!(fixture.kept(), []);
    let turn = fixture.start_after(&conversation).await;
    assert!(turn.told().contains(&NoticeCode::BackendRestarted), "{:?}", turn.info.notices);
    assert!(turn.info.notices[0].text.contains("was stopped while it got ready"));
    turn.close(Close::Return).await;
    fixture.over().await;
}

#[tokio::test]
async fn a_turn_tells_its_own_usage() {
    let fixture = Fixture::warm(&[]);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    let cost = |usage: Option<&Usage>| usage.and_then(|usage| Some(usage.cost.as_ref()?.amount));
    let last = |said: &Said| {
        let usages = said.all(|update| match update {
            AgentUpdate::Usage(usage) => Some(usage.clone()),
            _ => None,
        });
        cost(usages.last()).unwrap()
    };
    let (said, _) = turn.run("/usage 1 1 0.5").await;
    assert!((last(&said) - 0.5).abs() < 1e-9);
    let (said, _) = fixture.start_after(&conversation).await.run("/usage 1 1 0.75").await;
    assert!((last(&said) - 0.25).abs() < 1e-9);
    // It began to count anew.
    let (said, _) = fixture.start_after(&conversation).await.run("/usage 1 1 0.1").await;
    assert!((last(&said) - 0.1).abs() < 1e-9);
    fixture.over().await;

    let vibe = Fixture::disguised("vibe-acp").made_warm();
    let turn = vibe.start().await;
    let conversation = turn.conversation();
    let (_, end) = turn.run("/usage 10 20").await;
    assert_eq!((end.usage.input_tokens, end.usage.output_tokens), (Some(10), Some(20)));
    let (_, end) = vibe.start_after(&conversation).await.run("/usage 15 50").await;
    assert_eq!((end.usage.input_tokens, end.usage.output_tokens), (Some(5), Some(30)));
    vibe.over().await;
}

/// goose does.
#[tokio::test]
async fn news_of_an_earlier_turns_tool_are_not_of_this_one() {
    let fixture = Fixture::warm(&[]);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    let (said, _) = turn.run("/tool look").await;
    let id = said.tools()[0].id.clone();
    let late =
        format!(r#"/update {{"sessionUpdate":"tool_call_update","toolCallId":"{id}","title":"looked"}}"#);
    let (said, _) = fixture.start_after(&conversation).await.run(&late).await;
    assert_eq!(said.tools(), []);
    // The same id, announced again, is another call.
    let again = format!(r#"/update {{"sessionUpdate":"tool_call","toolCallId":"{id}","title":"anew"}}"#);
    let (said, _) = fixture.start_after(&conversation).await.run(&format!("{again}\n{late}")).await;
    assert_eq!(said.tools()[0].title, "looked");
    fixture.over().await;
}

#[tokio::test]
async fn a_closed_chats_process_ends_and_forgets_its_conversation() {
    let state = tempfile::tempdir().unwrap();
    let fixture = remembering(&state);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    turn.run("/say hello").await;
    let agents = fixture.agents();
    within(agents.close_chats(&[ChatId::from_random([1; 16])])).await;
    assert_eq!(fixture.kept().len(), 1);
    within(agents.close_chats(&[fixture.spec.chat])).await;
    assert_eq!(agents.warm(), []);
    assert_nothing_left(&fixture.spec.run_tag);
    assert!(state.path().join(format!("{conversation}.closed")).exists());

    // One that is closed in its turn ends with it, for which closing waits; one that is opened again goes on.
    let mut turn = fixture.start_after(&conversation).await;
    assert_eq!(turn.told(), [NoticeCode::SessionLoaded]);
    let chats = [fixture.spec.chat];
    let mut closing = std::pin::pin!(agents.close_chats(&chats));
    assert!(is_pending(closing.as_mut()).await, "its turn uses it");
    turn.prompt("/history").await;
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    assert!(is_pending(closing.as_mut()).await, "its turn has not let go of it");
    assert!(turn.close(Close::Return).await.text().contains("prompts: 2"));
    within(closing).await;
    assert_eq!(agents.warm(), []);
    assert_nothing_left(&fixture.spec.run_tag);
    fixture.over().await;
}

#[tokio::test]
async fn what_must_begin_anew_is_not_kept() {
    let fixture = Fixture::warm(&[]);
    fixture.run("/error 401 log in").await;
    assert_eq!(fixture.kept(), [], "somebody will log in");
    fixture.run("/error 529 busy").await;
    assert_eq!(fixture.kept().len(), 1);
    fixture.over().await;

    let goose = Fixture::disguised("goose").made_warm();
    // The demo agent's own answer holds usage, which errors have not; 3 is the prompt's id.
    let answer = r#"/raw {"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}"#;
    let (_, end) = goose.run(&format!("/say Ran into this error: 401 Unauthorized\n{answer}")).await;
    assert!(
        matches!(&end.how, EndedHow::Failed(failure) if failure.reason == TerminalReason::Unauthorised),
        "{end:?}"
    );
    assert_eq!(goose.kept(), [], "it says so in its text");
    goose.over().await;

    let codex = Fixture::disguised("codex-acp").made_warm();
    codex.run("/say hello").await;
    assert_eq!(codex.kept().len(), 1);
    let mut turn = codex.prompt("/say begun\n/stall").await;
    turn.until(|update| matches!(update, AgentUpdate::Text(_)).then_some(())).await;
    turn.control.stop(Stop::Ask).await;
    turn.end().await;
    turn.close(Close::Return).await;
    assert_eq!(codex.kept(), [], "its commands go on");
    assert_nothing_left(&codex.spec.run_tag);
}

/// An agent whose program is a file that can be replaced.
struct Replaceable {
    folder: TempDir,
    fixture: Fixture,
}

impl Replaceable {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("agent");
        write_program(&program);
        let user = UserAgent { command: vec![utf8(&program).to_owned()], ..UserAgent::default() };
        let registry = Registry::new([(Name::new("own").unwrap(), user)]).unwrap();
        let fixture = Fixture::with_registry(registry, "own").made_warm();
        Self { folder, fixture }
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("agent")
    }
}

fn write_program(path: &std::path::Path) {
    let command = agent_process::command(&[]);
    let words: Vec<String> = command.iter().map(|word| format!("'{}'", word.display())).collect();
    // A new file in the old one's place, as installers do it.
    let new = path.with_extension("new");
    std::fs::write(&new, format!("#!/bin/sh\nexec {}\n", words.join(" "))).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn a_replaced_program_is_started_anew_and_a_removed_one_is_named() {
    let agent = Replaceable::new();
    let fixture = &agent.fixture;
    let first = pid_of(fixture.start().await).await;
    assert_eq!(pid_of(fixture.start().await).await, first);
    write_program(&agent.program());
    let turn = fixture.start().await;
    assert_eq!(turn.told(), [], "nothing was lost");
    let second = pid_of(turn).await;
    assert_ne!(second, first);
    std::fs::remove_file(agent.program()).unwrap();
    let failure = fixture.open().await.err().unwrap();
    assert_eq!(failure.reason, TerminalReason::AgentNotInstalled);
    assert!(failure.text.contains("was not found"), "{}", failure.text);
    write_program(&agent.program());
    assert_ne!(pid_of(fixture.start().await).await, second);
    fixture.over().await;
}

#[tokio::test]
async fn a_worktree_that_was_made_anew_has_a_process_of_its_own() {
    let fixture = Fixture::warm(&[]);
    let first = pid_of(fixture.start().await).await;
    let moved = fixture.worktree.path().with_extension("old");
    std::fs::rename(fixture.worktree.path(), &moved).unwrap();
    std::fs::create_dir(fixture.worktree.path()).unwrap();
    let (said, end) = fixture.run("/pid\n/shell pwd > where.txt").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert!(!said.text().starts_with(&first));
    assert_eq!(fixture.read("where.txt").trim(), utf8(fixture.worktree.path()));
    std::fs::remove_dir_all(moved).unwrap();
    fixture.over().await;
}
