//! What an agent does between two turns.

use std::path::Path;
use std::time::Duration;

use dispatch_core::agent::{EndedHow, NoticeCode};
use dispatch_core::ids::ChatId;
use dispatch_core::ports::Close;
use dispatch_core::profile::Stop;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::Fixture;
use crate::support::turn::assert_nothing_left;
use crate::support::waiting::within;
use crate::until::until;
use crate::warm::remembering;

/// Waits until the agent has written this file in its worktree.
async fn written(fixture: &Fixture, file: &str) {
    let path = fixture.worktree.path().join(file);
    until(|| path.exists()).await;
}

#[tokio::test]
async fn what_is_said_between_turns_is_in_none_of_them() {
    let fixture = Fixture::warm(&[]);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    let mode = r#"{"sessionUpdate":"current_mode_update","currentModeId":"plan"}"#;
    let prompt = format!(
        "/pid\n/say first\n/answer-now\n/sleep 2000\n/say leaked\n/think leaked\n/tool leaked\n/garbage 3\n\
         /commands fresh\n/update {mode}"
    );
    let (said, end) = turn.run(&prompt).await;
    assert_eq!(end.how, EndedHow::Completed);
    let pid = said.text().lines().next().unwrap().to_owned();
    assert!(said.text().ends_with("first"), "{}", said.text());
    // The mode is the last that it says between these turns.
    let turn = within(async {
        loop {
            let turn = fixture.start_after(&conversation).await;
            if turn.info.settings.mode.current.as_deref() == Some("plan") {
                return turn;
            }
            turn.close(Close::Return).await;
        }
    })
    .await;
    assert_eq!(turn.told(), []);
    let names: Vec<_> = turn.info.commands.iter().map(|command| command.name.as_str()).collect();
    assert_eq!(names, ["fresh"]);
    let (said, end) = turn.run("/pid").await;
    assert_eq!(end.how, EndedHow::Completed);
    assert_eq!(said.text().trim(), pid);
    assert_eq!((said.tools(), said.reasoning()), (vec![], String::new()));
    assert_eq!(said.notice(NoticeCode::AgentOddity), None);
    fixture.over().await;
}

#[tokio::test]
async fn what_is_asked_between_turns_is_answered() {
    let fixture = Fixture::warm(&[]);
    let (said, _) = fixture.run("/pid\n/answer-now\n/sleep 2000\n/ask may I\n/write never.txt x").await;
    let pid = said.text();
    let fs = r#"{"sessionId":"another","path":"/etc/passwd"}"#;
    let prompt = format!("/pid\n/answer-now\n/request fs/read_text_file {fs}\n/write done.txt x");
    // The agent takes no prompt before its question is answered: with a cancel, which ends what it was about.
    let (said, end) = loop {
        let (said, end) = fixture.run(&prompt).await;
        if !matches!(&end.how, EndedHow::Failed(failure) if failure.text.contains("already running")) {
            break (said, end);
        }
    };
    assert_eq!(end.how, EndedHow::Completed);
    assert!(said.text().starts_with(&pid), "{}", said.text());
    written(&fixture, "done.txt").await;
    assert!(!fixture.worktree.path().join("never.txt").exists());
    fixture.over().await;
}

#[tokio::test]
async fn one_that_dies_between_turns_is_noticed_and_started_again() {
    let state = tempfile::tempdir().unwrap();
    let fixture = remembering(&state);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    turn.run("/say one\n/answer-now\n/sleep 100\n/exit 3").await;
    fixture.until_kept(0).await;
    let turn = fixture.start_after(&conversation).await;
    assert_eq!(turn.told(), [NoticeCode::BackendRestarted, NoticeCode::SessionLoaded]);
    assert_eq!(
        turn.info.notices[0].text,
        "agent demo ended with exit code 3 since its last turn; it was started again"
    );
    turn.run("/say two").await;

    // From outside, perhaps not noticed yet when the next turn begins.
    let pid = fixture.kept()[0].pid;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let stat = format!("/proc/{pid}/stat");
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    let turn = fixture.start_after(&conversation).await;
    assert_eq!(turn.told(), [NoticeCode::BackendRestarted, NoticeCode::SessionLoaded]);
    let (said, _) = turn.run("/history").await;
    assert!(said.text().contains("prompts: 3"), "{}", said.text());

    // Told once.
    let turn = fixture.start_after(&conversation).await;
    assert_eq!(turn.told(), []);
    // A crash within a turn is the turn's own; the next one is told, too.
    let (_, end) = turn.run("/say x\n/crash SIGABRT").await;
    assert!(matches!(end.how, EndedHow::Crashed(_)), "{end:?}");
    let turn = fixture.start_after(&conversation).await;
    assert_eq!(turn.told(), [NoticeCode::BackendRestarted, NoticeCode::SessionLoaded]);
    turn.close(Close::Return).await;
    fixture.over().await;
}

#[tokio::test]
async fn one_that_does_not_obey_is_replaced_without_a_word_of_a_crash() {
    let state = tempfile::tempdir().unwrap();
    let fixture = remembering(&state);
    let mut turn = fixture.start().await;
    let conversation = turn.conversation();
    turn.prompt("/ignore-cancel\n/ignore-signals\n/ignore-eof\n/fork 3 session daemon cleared\n/stall").await;
    let pids = turn.until(pids).await;
    for rung in [Stop::Ask, Stop::Terminate, Stop::Kill] {
        turn.control.stop(rung).await;
    }
    assert!(matches!(turn.end().await.how, EndedHow::Crashed(_)));
    turn.close(Close::Kill).await;
    assert_nothing_left(&fixture.spec.run_tag);
    assert_gone(&pids);
    let turn = fixture.start_after(&conversation).await;
    assert_eq!(turn.told(), [NoticeCode::SessionLoaded]);
    turn.close(Close::Return).await;
    fixture.over().await;
}

/// The processes that `/fork` tells of.
fn pids(update: &dispatch_core::agent::AgentUpdate) -> Option<Vec<i32>> {
    let dispatch_core::agent::AgentUpdate::Text(text) = update else { return None };
    let pids: Vec<i32> = text.lines().filter_map(|line| line.split_once(' ')?.1.parse().ok()).collect();
    (!pids.is_empty()).then_some(pids)
}

fn assert_gone(pids: &[i32]) {
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
}

#[tokio::test]
async fn one_that_is_of_no_more_use_is_let_go_with_all_it_started() {
    for (what, why) in [
        ("/close-stdout", "closed its output and goes on running"),
        ("/flood 60", "did not stop talking between two turns"),
        ("/long-line 2000000000", "did not stop talking between two turns"),
        ("/exit 0", "ended with exit code 0"),
    ] {
        let fixture = Fixture::warm(&[]);
        // An output that others hold open is not closed.
        let fork = if what == "/close-stdout" { "" } else { "/fork 5 plain group session daemon cleared\n" };
        let prompt = format!("/ignore-signals\n/ignore-eof\n{fork}/answer-now\n/sleep 100\n{what}");
        let (said, end) = fixture.run(&prompt).await;
        assert_eq!(end.how, EndedHow::Completed);
        let pids = said.0.iter().find_map(pids).unwrap_or_default();
        assert_eq!(pids.len(), if fork.is_empty() { 0 } else { 5 });
        fixture.until_kept(0).await;
        // A turn does not begin before the end of what was there.
        let turn = fixture.start().await;
        assert_gone(&pids);
        assert_eq!(turn.told(), [NoticeCode::BackendRestarted], "{what}");
        assert!(turn.info.notices[0].text.contains(why), "{what}: {}", turn.info.notices[0].text);
        turn.close(Close::Return).await;
        fixture.over().await;
    }
}

#[tokio::test]
async fn a_daemon_that_is_left_between_turns_goes_with_its_agent() {
    let fixture = Fixture::warm(&[]);
    let (said, _) = fixture.run("/fork 4 group session daemon cleared").await;
    let pids = said.0.iter().find_map(pids).unwrap();
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    fixture.over().await;
    assert_gone(&pids);
}

#[tokio::test]
async fn a_flood_delays_nobody_else() {
    let fixture = Fixture::warm(&[]);
    let mut flooding = fixture.prompt("/flood 60").await;
    let other = fixture.spec(|spec| spec.chat = ChatId::from_random([1; 16]));
    let quiet = fixture.start_for(other.clone()).await;
    quiet.run("/say warm").await;
    let began = std::time::Instant::now();
    let drowning = async {
        let mut into = Vec::new();
        loop {
            into.clear();
            assert!(flooding.session.next(&mut into).await.is_none());
            tokio::task::yield_now().await;
        }
    };
    let turns = async {
        for _ in 0..5 {
            let (said, _) = fixture.start_for(other.clone()).await.run("/say quick").await;
            assert_eq!(said.text(), "quick");
        }
    };
    tokio::select! {
        () = drowning => unreachable!("the flood lasts"),
        () = turns => {}
    }
    // Each takes milliseconds; the flood takes a minute.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    flooding.close(Close::Kill).await;
    fixture.over().await;
}

/// Open files, threads and processes that were not waited for.
fn held() -> (usize, usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let mine = std::process::id().to_string();
    let zombies = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        after.starts_with(&format!("Z {mine} "))
    });
    (count("/proc/self/fd"), count("/proc/self/task"), zombies.count())
}

#[tokio::test]
async fn many_turns_hold_nothing() {
    let fixture = Fixture::warm(&[]);
    let turn = fixture.start().await;
    let conversation = turn.conversation();
    let prompt = "/say hello\n/tool look\n/terminal echo hi\n/read absent";
    turn.run(prompt).await;
    fixture.start_after(&conversation).await.run(prompt).await;
    let before = held();
    let turns: usize = std::env::var("BOOCODER_WARM_TURNS").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    for _ in 0..turns {
        let (said, end) = fixture.start_after(&conversation).await.run(prompt).await;
        assert_eq!(end.how, EndedHow::Completed);
        assert_eq!(said.text(), "hello");
    }
    let after = held();
    assert!(after.0 <= before.0 && after.1 <= before.1 + 2 && after.2 == 0, "{before:?} then {after:?}");
    fixture.over().await;
}
