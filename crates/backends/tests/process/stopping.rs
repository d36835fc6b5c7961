//! A hostile tree is gone after each way of stopping it.

use std::time::{Duration, Instant};

use backends::process::{Child, Exit, LadderEnd, Rung, Status, Supervisor, leftovers};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::common::{Tree, helper, read_all, spawn, supervisor};
use crate::waiting::{PATIENCE, within};

const KILLED: Exit = Exit { status: Status::Signal(9), tree_empty: true, fence_lapsed: false };

async fn hostile_tree() -> (Child, Tree) {
    let mut child = spawn(&helper(&["hostile"])).await;
    let (tree, _) = Tree::read(child.take_stdout().unwrap()).await;
    (child, tree)
}

#[tokio::test]
async fn kill_leaves_nobody() {
    let (mut child, tree) = hostile_tree().await;
    let _stdin = child.take_stdin();
    child.control().kill();
    assert_eq!(within(child.wait()).await, KILLED);
    assert_eq!(tree.alive(), [""; 0]);
}

#[tokio::test]
async fn the_ladder_climbs_to_the_top_for_the_deaf() {
    let (mut child, tree) = hostile_tree().await;
    let patience = Duration::from_millis(100);
    let rungs = [(Rung::Ask, patience), (Rung::Terminate, patience), (Rung::Kill, Duration::from_secs(60))];
    let stopped = child.control().stop_ladder(&rungs).await;
    assert_eq!((stopped.rung, stopped.end), (Some(Rung::Kill), LadderEnd::Empty));
    // SAFETY F37: gone at most half a second after the grace. A busy machine takes longer; climbing on by the last
    // rung's patience would take a minute.
    assert!(stopped.took < Duration::from_secs(30), "{stopped:?}");
    assert_eq!(tree.alive(), [""; 0]);
    assert_eq!(within(child.wait()).await, KILLED);
}

#[tokio::test]
async fn a_ladder_without_kill_says_what_still_runs() {
    let (child, tree) = hostile_tree().await;
    let rungs = [(Rung::Ask, Duration::from_millis(20)), (Rung::Terminate, Duration::from_millis(20))];
    let stopped = child.control().stop_ladder(&rungs).await;
    assert_eq!((stopped.rung, stopped.end), (Some(Rung::Terminate), LadderEnd::Running));
    assert_eq!(tree.alive().len(), 7);
}

#[tokio::test]
async fn the_ladder_stops_at_the_rung_that_was_enough() {
    let rungs = [Rung::Ask, Rung::Terminate, Rung::Kill].map(|rung| (rung, Duration::from_secs(5)));
    let mut asked = spawn(&helper(&["echo"])).await;
    let stopped = asked.control().stop_ladder(&rungs).await;
    assert_eq!((stopped.rung, stopped.end), (Some(Rung::Ask), LadderEnd::Empty));
    assert_eq!(within(asked.wait()).await.status, Status::Code(0));

    let mut terminated = spawn(&helper(&["deaf"])).await;
    let stopped = terminated.control().stop_ladder(&rungs[1..]).await;
    assert_eq!((stopped.rung, stopped.end), (Some(Rung::Terminate), LadderEnd::Empty));
    assert_eq!(within(terminated.wait()).await.status, Status::Signal(15));

    let again = terminated.control().stop_ladder(&rungs).await;
    assert_eq!((again.rung, again.end), (None, LadderEnd::Empty));
}

#[tokio::test]
async fn a_process_that_is_always_another_one_is_caught() {
    for _ in 0..5 {
        let mut child = spawn(&helper(&["rabbit"])).await;
        let mut line = String::new();
        let mut output = BufReader::new(child.take_stdout().unwrap());
        within(output.read_line(&mut line)).await.unwrap();
        // Its leader ends at once; what it started goes on.
        let stopped = child.control().stop_ladder(&[(Rung::Kill, PATIENCE)]).await;
        assert_eq!(stopped.end, LadderEnd::Empty, "{stopped:?}");
    }
}

#[tokio::test]
async fn a_crowd_is_gone_at_once() {
    let mut child = spawn(&helper(&["crowd", "300"])).await;
    let mut line = String::new();
    within(BufReader::new(child.take_stdout().unwrap()).read_line(&mut line)).await.unwrap();
    let stopped = child.control().stop_ladder(&[(Rung::Kill, PATIENCE)]).await;
    assert_eq!(stopped.end, LadderEnd::Empty);
    // A look at `/proc` for each would take longer.
    assert!(stopped.took < Duration::from_secs(10), "{stopped:?}");
}

#[tokio::test]
async fn a_stopped_process_gets_to_handle_its_termination() {
    let mut command = helper(&["-c", "trap 'exit 5' TERM; echo ready; read line"]);
    command.program = "/bin/sh".into();
    let mut child = spawn(&command).await;
    let _stdin = child.take_stdin();
    let mut ready = [0; 6];
    within(child.take_stdout().unwrap().read_exact(&mut ready)).await.unwrap();
    let leader = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(leader, rustix::process::Signal::STOP).unwrap();
    child.control().terminate();
    assert_eq!(within(child.wait()).await.status, Status::Code(5));
}

#[tokio::test]
async fn nobody_outlives_the_leader() {
    let (mut child, tree) = hostile_tree().await;
    child.take_stdin().unwrap().write_all(b"7\n").await.unwrap();
    let exit = within(child.wait()).await;
    assert_eq!(exit, Exit { status: Status::Code(7), tree_empty: true, fence_lapsed: false });
    assert_eq!(tree.alive(), [""; 0]);
}

#[tokio::test]
async fn output_that_a_grandchild_holds_open_ends_after_the_drain() {
    let mut command = helper(&["linger"]);
    // Long enough for the grandchild to say its word.
    command.limits.drain = Duration::from_secs(2);
    let mut child = spawn(&command).await;
    let text = String::from_utf8(read_all(&mut child.take_stdout().unwrap()).await).unwrap();
    assert!(text.starts_with("plain "), "{text}");
    within(child.wait()).await;
}

#[tokio::test]
async fn last_words_within_the_drain_are_heard() {
    let mut command = helper(&["last-words"]);
    command.limits.drain = PATIENCE;
    let mut child = spawn(&command).await;
    assert_eq!(read_all(&mut child.take_stdout().unwrap()).await, b"the end\n");
    let exit = within(child.wait()).await;
    assert_eq!(exit, Exit { status: Status::Code(0), tree_empty: true, fence_lapsed: false });
}

#[tokio::test]
async fn dropping_the_child_kills_the_tree() {
    let (child, tree) = hostile_tree().await;
    let control = child.control();
    drop(child);
    assert!(within(control.wait_tree_empty()).await);
    assert_eq!(tree.alive(), [""; 0]);
}

#[tokio::test]
async fn dropping_the_start_leaves_nothing() {
    let command = helper(&["hostile"]);
    {
        let supervisor = supervisor();
        let mut start = std::pin::pin!(command.spawn(&supervisor));
        // One poll: the supervisor exists, the agent does not yet or just so.
        assert!(futures_poll_once(&mut start).await.is_none());
        // It has no environment to be known by before it is executed.
        let begun = Instant::now();
        while leftovers(&command.tag).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "the supervisor");
        }
    }
    within(async {
        while !leftovers(&command.tag).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn the_end_of_the_runtime_kills_the_tree() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (child, tree) = runtime.block_on(hostile_tree());
    runtime.shutdown_background();
    assert_eq!(tree.alive_after(PATIENCE), [""; 0]);
    drop(child);
}

#[tokio::test]
async fn without_a_supervisor_the_group_and_the_tagged_are_killed() {
    let mut child = helper(&["hostile"]).spawn(&Supervisor::ProcessGroupOnly).await.unwrap();
    let (tree, _) = Tree::read(child.take_stdout().unwrap()).await;
    child.control().terminate();
    child.control().kill();
    let exit = within(child.wait()).await;
    assert_eq!(exit, Exit { tree_empty: false, ..KILLED });
    // It has left the group and the session, and cleared its environment: what the supervisor is for.
    assert_eq!(tree.alive(), ["ghost"]);
}

#[tokio::test]
async fn without_a_supervisor_the_exit_is_seen() {
    for (args, status) in [(["exit", "3"], Status::Code(3)), (["die", "11"], Status::Signal(11))] {
        let mut child = helper(&args).spawn(&Supervisor::ProcessGroupOnly).await.unwrap();
        assert_eq!(read_all(&mut child.take_stdout().unwrap()).await, b"");
        assert_eq!(within(child.wait()).await.status, status);
    }
}
