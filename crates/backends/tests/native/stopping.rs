//! Stop, at every moment: at once, and nothing is left.

use std::time::Duration;

use dispatch_core::agent::{AgentUpdate, Answer, EndedHow, NoticeCode};
use dispatch_core::ports::Close;
use dispatch_core::profile::Stop;
use serde_json::json;

use crate::common::Fixture;
use crate::server::{End, Reply, calls, delta, error, events, says};
use crate::support::said::asked;
use crate::support::turn::Turn;
use crate::support::waiting::within;
use crate::until::until;

async fn stopped(mut turn: Turn, rung: Stop) {
    turn.control.stop(rung).await;
    turn.control.stop(rung).await;
    assert_eq!(turn.end_answering(Answer::Allow).await.how, EndedHow::Cancelled);
    let control = turn.control.clone();
    turn.close(Close::Return).await;
    control.stop(Stop::Kill).await;
}

#[tokio::test]
async fn while_the_model_thinks_and_while_it_speaks() {
    for body in [String::new(), events(&[delta(json!({ "content": "so far" }))])] {
        for rung in [Stop::Ask, Stop::Kill] {
            let fixture = Fixture::new([Reply::stream(body.clone()).ending(End::Never)]).await;
            let mut turn = fixture.prompt("go").await;
            if body.is_empty() {
                within(fixture.server.requested(2)).await;
            } else {
                turn.until(|update| matches!(update, AgentUpdate::Text(_)).then_some(())).await;
            }
            stopped(turn, rung).await;
            within(fixture.server.left()).await;
        }
    }
}

#[tokio::test]
async fn while_leave_is_asked() {
    let fixture = Fixture::new([calls(&[("run_command", json!({ "command": "touch ran" }))])]).await;
    let mut turn = fixture.prompt("go").await;
    turn.until(asked).await;
    stopped(turn, Stop::Ask).await;
    assert!(!fixture.worktree().join("ran").exists());
}

/// Its tree is gone, too: closing looks for what is left.
#[tokio::test]
async fn while_a_command_runs() {
    let command = "trap '' TERM INT; setsid sleep 600 & echo begun > begun; sleep 600; wait";
    let fixture = Fixture::new([calls(&[("run_command", json!({ "command": command }))])]).await;
    let mut turn = fixture.prompt("go").await;
    turn.until(asked).await;
    turn.control.answer("permission-1", Answer::Allow).await;
    let begun = fixture.worktree().join("begun");
    until(|| begun.exists()).await;
    stopped(turn, Stop::Ask).await;
}

/// What the model looks for may be hard to find: a match may begin with a third of these letters, and ends nowhere.
#[tokio::test]
async fn while_a_search_runs() {
    let search = json!({ "pattern": "(a.{0,60}){9}d" });
    let fixture = Fixture::new([calls(&[("search", search)])]).await;
    let mut state = 1_u64;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ['a', 'b', 'c'][(state >> 33) as usize % 3]
    });
    let letters: String = letters.take(1 << 20).collect();
    let lines: Vec<&str> = (0..1 << 10).map(|line| &letters[line << 10..(line + 1) << 10]).collect();
    fixture.write("long", &lines.join("\n"));
    let mut turn = fixture.prompt("go").await;
    turn.until(|update| matches!(update, AgentUpdate::ToolCall(_)).then_some(())).await;
    let begun = std::time::Instant::now();
    stopped(turn, Stop::Ask).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn while_it_waits_to_ask_again() {
    let busy = error(429, "slow down").with_header("retry-after: 50");
    let fixture = Fixture::new([busy, says("too late")]).await;
    let mut turn = fixture.prompt("go").await;
    let waits = |update: &AgentUpdate| {
        matches!(update, AgentUpdate::Notice(notice) if notice.code == NoticeCode::RequestRepeated)
            .then_some(())
    };
    turn.until(waits).await;
    let begun = std::time::Instant::now();
    stopped(turn, Stop::Ask).await;
    assert!(begun.elapsed() < Duration::from_secs(40), "it does not sit the pause out");
    assert_eq!(fixture.server.chats().len(), 1);
}

#[tokio::test]
async fn before_the_prompt() {
    let mut fixture = Fixture::new([]).await;
    fixture.settings.limits.models = Duration::from_secs(600);
    fixture.server.models(Reply::stream("").ending(End::Never));
    let mut turn = fixture.open().await;
    {
        let mut start = turn.session.start();
        tokio::select! {
            _ = &mut start => panic!("it has no answer"),
            () = within(fixture.server.requested(1)) => {}
        }
    }
    // Given up, as the dispatcher does it.
    turn.close(Close::Return).await;
}

#[tokio::test]
async fn closing_in_the_middle_ends_everything() {
    let fixture =
        Fixture::new([Reply::stream(events(&[delta(json!({ "content": "x" }))])).ending(End::Never)]).await;
    let mut turn = fixture.prompt("go").await;
    turn.until(|update| matches!(update, AgentUpdate::Text(_)).then_some(())).await;
    turn.close(Close::Return).await;
    within(fixture.server.left()).await;
}
