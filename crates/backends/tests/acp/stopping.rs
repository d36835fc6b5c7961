//! Stop, in every phase, up to the last rung; and letting go.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use backends::process::{RunTag, leftovers};
use dispatch_core::agent::{AgentUpdate, EndedHow};
use dispatch_core::ports::{Agents, Close};
use dispatch_core::profile::Stop;
use dispatch_core::routing::Route;
use tokio::time::timeout;

use crate::agent_process;
use crate::common::Fixture;
use crate::support::said::text;
use crate::support::waiting::within;
use crate::until::until;

fn spoke(update: &AgentUpdate) -> Option<()> {
    matches!(update, AgentUpdate::Text(_)).then_some(())
}

fn tool_began(update: &AgentUpdate) -> Option<()> {
    matches!(update, AgentUpdate::ToolCall(_)).then_some(())
}

#[tokio::test]
async fn an_asked_agent_ends_its_turn_in_each_phase() {
    for fixture in Fixture::each(&[]) {
        asked(&fixture).await;
        fixture.over().await;
    }
}

async fn asked(fixture: &Fixture) {
    for (prompt, is_tool) in [
        ("/say begun\n/stall", false),
        ("/say begun\n/flood 30", false),
        ("/shell sleep 60", true),
        ("/terminal sleep 60", true),
        ("/sleep 60000", true),
    ] {
        let mut turn = fixture.prompt(prompt).await;
        turn.until(if is_tool { tool_began } else { spoke }).await;
        turn.control.stop(Stop::Ask).await;
        turn.control.stop(Stop::Ask).await;
        let end = turn.end().await;
        assert_eq!(end.how, EndedHow::Cancelled, "{prompt}");
        turn.close(Close::Return).await;
    }
}

#[tokio::test]
async fn a_cancel_at_once_is_not_lost() {
    for fixture in Fixture::each(&[]) {
        let mut turn = fixture.prompt("/stall").await;
        turn.control.stop(Stop::Ask).await;
        assert_eq!(turn.end().await.how, EndedHow::Cancelled);
        turn.close(Close::Return).await;
        fixture.over().await;
    }
}

#[tokio::test]
async fn a_cancel_that_was_too_early_is_sent_again() {
    for fixture in Fixture::each(&[]) {
        let mut turn = fixture.start().await;
        // There is no turn yet: the agent passes it over.
        turn.control.stop(Stop::Ask).await;
        turn.prompt("/stall").await;
        assert_eq!(turn.end().await.how, EndedHow::Cancelled);
        turn.close(Close::Return).await;
        fixture.over().await;
    }
}

#[tokio::test]
async fn the_ladder_ends_who_does_not_listen() {
    for fixture in Fixture::each(&[]) {
        ladder(&fixture).await;
        assert_eq!(fixture.kept(), [], "who did not listen is not kept");
        fixture.over().await;
    }
}

async fn ladder(fixture: &Fixture) {
    let mut turn = fixture.prompt("/ignore-cancel\n/say begun\n/stall").await;
    turn.until(spoke).await;
    turn.control.stop(Stop::Ask).await;
    turn.control.stop(Stop::Terminate).await;
    let end = turn.end().await;
    assert!(matches!(&end.how, EndedHow::Crashed(failure) if failure.text.contains("SIGTERM")), "{end:?}");
    turn.close(Close::Return).await;

    let mut turn = fixture
        .prompt("/ignore-cancel\n/ignore-signals\n/ignore-eof\n/fork 4 plain group session daemon\n/stall")
        .await;
    turn.until(spoke).await;
    turn.control.stop(Stop::Terminate).await;
    turn.control.stop(Stop::Kill).await;
    let end = turn.end().await;
    assert!(matches!(&end.how, EndedHow::Crashed(failure) if failure.text.contains("SIGKILL")), "{end:?}");
    turn.control.stop(Stop::Kill).await;
    turn.close(Close::Kill).await;
}

#[tokio::test]
async fn closing_leaves_nothing_whatever_the_agent_left() {
    let fixture = Fixture::new(&[]);
    let mut turn =
        fixture.prompt("/ignore-eof\n/ignore-signals\n/fork 5 plain group session daemon cleared").await;
    let pids = {
        assert_eq!(turn.end().await.how, EndedHow::Completed);
        let text = text(&turn.updates);
        let pids = text.lines().filter_map(|line| line.split_once(' ')?.1.parse::<i32>().ok());
        pids.collect::<Vec<_>>()
    };
    assert_eq!(pids.len(), 5);
    turn.close(Close::Return).await;
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
}

#[tokio::test]
async fn closing_mid_turn_takes_the_terminals_too() {
    let fixture = Fixture::new(&[]);
    for how in [Close::Kill, Close::Return] {
        let mut turn = fixture.prompt("/terminal echo $$; sleep 60").await;
        turn.until(tool_began).await;
        turn.close(how).await;
    }
}

#[tokio::test]
async fn a_stop_waits_for_no_terminal_that_is_being_started() {
    let fixture = Fixture::new(&[]);
    let name = format!("{}/{}", fixture.spec.run_tag, fixture.spec.task);
    let tag = RunTag::new(name.clone()).unwrap();
    let supervisors = || leftovers(&tag).iter().filter(|left| left.is_supervisor).count();
    for (how, left) in [(Stop::Terminate, 1), (Stop::Kill, 0)] {
        let mut turn = fixture.start().await;
        let gate = Gate::shut(&name);
        turn.prompt("/ignore-signals\n/terminal sleep 60").await;
        turn.until(tool_began).await;
        until(|| supervisors() == 2).await;
        // The start, which nothing lets through, may take ten seconds.
        timeout(Duration::from_secs(5), turn.control.stop(how)).await.expect("a Stop that does not wait");
        drop(gate);
        // What was being started dies as it comes.
        until(|| supervisors() == left).await;
        turn.close(Close::Kill).await;
    }
}

/// What is given up is killed, and that is waited for.
#[tokio::test]
async fn a_start_that_is_given_up_is_undone_before_its_turn_is_over() {
    for fixture in Fixture::each(&[]) {
        let backend = fixture.agents().backend(fixture.route).unwrap();
        let warm = if fixture.route == Route::WarmAcp { "warm/" } else { "" };
        let name = format!("{}/{warm}{}", fixture.spec.run_tag, fixture.spec.task);
        let tag = RunTag::new(name.clone()).unwrap();
        let gate = Gate::shut(&name);
        tokio::select! {
            _ = backend.open(fixture.spec.clone()) => panic!("nothing lets it through"),
            () = until(|| !leftovers(&tag).is_empty()) => {}
        }
        let mut undone = std::pin::pin!(backend.undone());
        assert!(timeout(Duration::from_millis(50), &mut undone).await.is_err());
        drop(gate);
        within(undone).await;
        assert_eq!(leftovers(&tag), []);
        fixture.over().await;
    }
}

/// Holds up what is to be supervised.
struct Gate(PathBuf);

impl Gate {
    fn shut(tag: &str) -> Self {
        let path = agent_process::gate(tag);
        std::fs::write(&path, "").unwrap();
        Self(path)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[tokio::test]
async fn an_agent_that_obeys_is_gone_quickly() {
    let fixture = Fixture::new(&[]);
    let mut turn = fixture.prompt("/say done").await;
    assert_eq!(turn.end().await.how, EndedHow::Completed);
    let began = Instant::now();
    turn.close(Close::Return).await;
    // It takes milliseconds; the last rung would come after three seconds.
    assert!(began.elapsed() < Duration::from_millis(2900), "{:?}", began.elapsed());
}
