//! A hostile tree is gone when its dispatcher or its supervisor is.

use std::process::Stdio;
use std::time::{Duration, Instant};

use backends::process::{Exit, RunTag, Status, become_subreaper, leftovers, sweep};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::common::{HELPER, ROLES, Tree, helper, spawn, supervisor_of};
use crate::fresh_tag::fresh_tag;
use crate::waiting::{PATIENCE, within};

/// Another process as the dispatcher of a hostile agent.
async fn dispatcher(
    fence: Duration,
    tag: &RunTag,
) -> (Child, Tree, BufReader<impl AsyncRead + Unpin + use<>>) {
    let mut dispatcher = Command::new(HELPER)
        .args(["dispatch", &fence.as_millis().to_string(), tag.as_str()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (tree, lines) = Tree::read(dispatcher.stdout.take().unwrap()).await;
    (dispatcher, tree, lines)
}

fn signal(dispatcher: &Child, signal: Signal) {
    let pid = Pid::from_raw(dispatcher.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn nobody_outlives_a_killed_dispatcher() {
    let tag = fresh_tag();
    let (mut dispatcher, tree, _) = dispatcher(Duration::ZERO, &tag).await;
    assert_eq!(leftovers(&tag).iter().filter(|left| left.is_supervisor).count(), 1);
    dispatcher.kill().await.unwrap();
    assert_eq!(tree.alive_after(PATIENCE), [""; 0]);
    // The supervisor goes last.
    within(async {
        while !leftovers(&tag).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn a_dispatcher_killed_at_any_moment_of_its_start_leaves_nobody() {
    // Whoever escapes becomes a child of this process, whatever it has done to hide.
    become_subreaper().unwrap();
    for delay in (0..20).map(Duration::from_millis) {
        let mut dispatcher = std::process::Command::new(HELPER);
        dispatcher.args(["dispatch", "0", fresh_tag().as_str()]).stdout(Stdio::null());
        let mut dispatcher = dispatcher.spawn().unwrap();
        std::thread::sleep(delay);
        dispatcher.kill().unwrap();
        dispatcher.wait().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !matches!(wait(WaitOptions::NOHANG), Err(Errno::CHILD)) {
            assert!(Instant::now() < deadline, "killed after {delay:?}");
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn a_stopped_dispatcher_loses_its_agent_to_the_fence() {
    let (mut dispatcher, tree, mut lines) = dispatcher(Duration::from_secs(3), &fresh_tag()).await;
    signal(&dispatcher, Signal::STOP);
    assert_eq!(tree.alive_after(PATIENCE), [""; 0]);
    // When it comes back it learns why.
    signal(&dispatcher, Signal::CONT);
    let mut line = String::new();
    within(lines.read_line(&mut line)).await.unwrap();
    assert_eq!(line, "exit fence_lapsed=true tree_empty=true\n");
    within(dispatcher.wait()).await.unwrap();
}

#[tokio::test]
async fn a_fence_spares_the_agent_of_a_living_dispatcher() {
    // A quarter of it passes between two heartbeats: long enough for a machine that has more to do.
    let fence = Duration::from_secs(6);
    let mut command = helper(&["deaf"]);
    command.fence = Some(fence);
    let mut child = spawn(&command).await;
    let lapsed = tokio::time::timeout(fence + fence / 2, child.wait()).await;
    assert!(lapsed.is_err(), "{lapsed:?}");
}

#[tokio::test]
async fn a_killed_supervisor_is_noticed_and_what_it_leaves_is_found() {
    become_subreaper().unwrap();
    let command = helper(&["hostile"]);
    let mut child = spawn(&command).await;
    let (tree, _) = Tree::read(child.take_stdout().unwrap()).await;
    kill_process(supervisor_of(&child), Signal::KILL).unwrap();
    let exit = within(child.wait()).await;
    assert_eq!(exit, Exit { status: Status::SupervisorLost, tree_empty: true, fence_lapsed: false });
    assert_eq!(tree.alive(), [""; 0]);
    // They were this process's to reap.
    let zombies = ROLES.iter().filter(|role| std::fs::exists(format!("/proc/{}", tree.pid(role))).unwrap());
    assert_eq!(zombies.collect::<Vec<_>>(), [&""; 0]);
}

#[tokio::test]
async fn without_a_subreaper_only_the_ghost_escapes_a_killed_supervisor() {
    let mut child = spawn(&helper(&["hostile"])).await;
    let (tree, _) = Tree::read(child.take_stdout().unwrap()).await;
    kill_process(supervisor_of(&child), Signal::KILL).unwrap();
    let exit = within(child.wait()).await;
    assert_eq!(exit, Exit { status: Status::SupervisorLost, tree_empty: false, fence_lapsed: false });
    assert_eq!(tree.alive(), ["ghost"]);
}

#[tokio::test]
async fn a_stopped_supervisor_still_obeys() {
    let mut child = spawn(&helper(&["hostile"])).await;
    let (tree, _) = Tree::read(child.take_stdout().unwrap()).await;
    kill_process(supervisor_of(&child), Signal::STOP).unwrap();
    child.control().kill();
    assert!(within(child.wait()).await.tree_empty);
    assert_eq!(tree.alive(), [""; 0]);
}

#[tokio::test]
async fn a_sweep_finds_what_two_killed_processes_left() {
    let tag = fresh_tag();
    let (mut dispatcher, tree, _) = dispatcher(Duration::ZERO, &tag).await;
    let is_supervisor = |left: &&backends::process::Leftover| left.is_supervisor;
    let supervisor = leftovers(&tag).iter().find(is_supervisor).unwrap().pid;
    let supervisor = Pid::from_raw(supervisor.cast_signed()).unwrap();
    // Stopped first, so that it cannot act on the dispatcher's death.
    kill_process(supervisor, Signal::STOP).unwrap();
    dispatcher.kill().await.unwrap();
    kill_process(supervisor, Signal::KILL).unwrap();
    // The kernel takes the leader along.
    within(async {
        while tree.alive().contains(&"leader") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(tree.alive().len(), ROLES.len() - 1);

    let swept = tokio::task::spawn_blocking(move || sweep(&tag)).await.unwrap();
    assert_eq!(swept.remaining, []);
    assert!(swept.gone.len() >= 4, "{swept:?}");
    // The environment of these two was cleared before they were started. One that is dying has none any more, either.
    within(async {
        while tree.alive() != ["cleared", "ghost"] {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_sweep_wakes_a_stopped_supervisor_without_a_dispatcher() {
    let tag = fresh_tag();
    let (mut dispatcher, tree, _) = dispatcher(Duration::ZERO, &tag).await;
    let supervisor = leftovers(&tag).into_iter().find(|left| left.is_supervisor).unwrap().pid;
    kill_process(Pid::from_raw(supervisor.cast_signed()).unwrap(), Signal::STOP).unwrap();
    dispatcher.kill().await.unwrap();

    let swept = tokio::task::spawn_blocking(move || sweep(&tag)).await.unwrap();
    assert_eq!(swept.remaining, []);
    assert_eq!(tree.alive(), [""; 0]);
}
