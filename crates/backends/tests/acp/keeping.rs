//! How long and how much is kept.

use std::time::Duration;

use backends::pool::{Keeper, PoolSettings};
use backends::process::leftovers;
use dispatch_core::agent::EndedHow;
use dispatch_core::ids::{ChatId, TaskId};
use dispatch_core::ports::{Close, SessionSpec};

use crate::common::Fixture;
use crate::support::turn::assert_nothing_left;
use crate::support::waiting::within;
use crate::until::until;

fn keeping(settings: PoolSettings) -> Fixture {
    Fixture::warm(&[]).keeping(settings)
}

/// A turn of another chat.
fn of_chat(fixture: &Fixture, number: u8) -> SessionSpec {
    fixture.spec(|spec| {
        spec.chat = ChatId::from_random([number; 16]);
        spec.task = TaskId::from_random([number; 16]);
    })
}

#[tokio::test]
async fn what_is_idle_for_too_long_goes_and_what_is_used_stays() {
    let fixture = keeping(PoolSettings { idle: Duration::from_millis(150), ..PoolSettings::default() });
    let (_, end) = fixture.run("/sleep 1000").await;
    assert_eq!(end.how, EndedHow::Completed);
    fixture.until_kept(0).await;
    let turn = fixture.start().await;
    assert_eq!(turn.told(), [], "that was no crash");
    turn.close(Close::Return).await;
    fixture.until_kept(0).await;
    assert_nothing_left(&fixture.spec.run_tag);
    fixture.over().await;
}

#[tokio::test]
async fn the_one_that_is_idle_for_longest_makes_room() {
    let fixture = keeping(PoolSettings { cap: 2, ..PoolSettings::default() });
    for chat in [1, 2, 1, 3] {
        fixture.start_for(of_chat(&fixture, chat)).await.run("/say hello").await;
    }
    // What goes is there until it is gone.
    fixture.until_kept(2).await;
    let mut kept: Vec<_> = fixture.kept().into_iter().filter_map(|kept| kept.chat).collect();
    kept.sort_unstable();
    assert_eq!(kept, [ChatId::from_random([1; 16]), ChatId::from_random([3; 16])]);
    // Turns are not refused, and what they used is not kept beyond the limit.
    let mut turns = Vec::new();
    for chat in 4..8 {
        let mut turn = fixture.start_for(of_chat(&fixture, chat)).await;
        turn.prompt("/say hello").await;
        turns.push(turn);
    }
    fixture.until_kept(4).await;
    for mut turn in turns {
        assert_eq!(turn.end().await.how, EndedHow::Completed);
        turn.close(Close::Return).await;
    }
    fixture.until_kept(2).await;
    fixture.over().await;
}

/// The turn before may have ended, as far as its record goes, and still be letting go of it.
#[tokio::test]
async fn no_chat_has_two_processes() {
    let fixture = Fixture::warm(&[]);
    let first = fixture.open().await.unwrap();
    let mut next = std::pin::pin!(fixture.open());
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut next).await.is_err(), "it waits");
    assert_eq!(fixture.kept().len(), 1);
    let (next, _) = tokio::join!(next, first.close(Close::Return));
    next.unwrap().close(Close::Return).await;
    // A start that is given up is no start.
    let other = of_chat(&fixture, 1);
    let given_up = tokio::time::timeout(Duration::ZERO, fixture.open_for(other.clone())).await;
    assert!(given_up.is_err());
    fixture.start_for(other).await.run("/say hello").await;
    assert_eq!(fixture.kept().len(), 2);
    fixture.over().await;
}

#[tokio::test]
async fn shutting_down_ends_everything_in_every_state() {
    let fixture = Fixture::warm(&[]);
    fixture
        .start_for(of_chat(&fixture, 1))
        .await
        .run("/ignore-eof\n/ignore-signals\n/fork 2 daemon cleared")
        .await;
    let mut busy = fixture.start_for(of_chat(&fixture, 2)).await;
    busy.prompt("/stall").await;
    let starting = fixture.open_for(of_chat(&fixture, 3));
    let (opened, ()) = tokio::join!(starting, within(fixture.pool.shut_down()));
    assert_eq!(fixture.kept(), []);
    assert_nothing_left(&fixture.spec.run_tag);
    let end = busy.end().await;
    assert!(matches!(end.how, EndedHow::Crashed(_)), "{end:?}");
    busy.close(Close::Kill).await;
    if let Ok(opened) = opened {
        opened.close(Close::Return).await;
    }
    let failure = fixture.open().await.err().unwrap();
    assert_eq!(failure.text, "the dispatcher is shutting down");
    fixture.over().await;
}

#[tokio::test]
async fn a_dropped_turn_is_killed_and_a_dropped_pool_keeps_nothing() {
    let mut fixture = Fixture::warm(&[]);
    let turn = fixture.prompt("/ignore-signals\n/stall").await;
    drop(turn);
    fixture.until_kept(0).await;
    fixture.run("/say hello").await;
    assert_eq!(fixture.kept().len(), 1);
    fixture = fixture.keeping(PoolSettings::default());
    until(|| leftovers(&fixture.tag()).is_empty()).await;
}
