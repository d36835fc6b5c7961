//! A process that writes is killed at any moment (SAFETY F4, F5, F23): what it was answered is there.
//!
//! The helper is this test program itself. It prints a line for each answer that it got.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use dispatch_core::{
    conversation::MessageState,
    frame::FrameBody,
    ids::{MessageId, NodeId, Seq, TaskId},
    ports::{ClaimRequest, NewProject, NodeInfo, Records, RecoveredAs, Store},
    task::{Claim, NewTask, PermissionPolicy, TaskState, TurnOptions},
};
use store::SqliteStore;

use crate::subject::SqliteSubject;

const HELPER: &str = "STORE_TEST_WRITER";

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::writing_helper", "--nocapture"])
        .env(HELPER, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Writes until it is killed, when it is asked to.
#[tokio::test]
async fn writing_helper() {
    let Some(dir) = std::env::var_os(HELPER) else { return };
    let store = SqliteStore::open(Path::new(&dir)).unwrap();
    let unique_number = u128::from(std::process::id());
    let unique = unique_number.to_be_bytes();
    let node = NodeInfo { id: NodeId::from_random(unique), label: "helper".into() };
    let lease = store.join(&node).await.unwrap();
    let project = store.ensure_project(NewProject { name: "p".into(), path: None }).await.unwrap();
    let mut made = 0_u64;
    let mut new = || NewTask {
        id: {
            made += 1;
            TaskId::from_random((unique_number << 64 | u128::from(made)).to_be_bytes())
        },
        project: project.id,
        input: "write".into(),
        options: TurnOptions::default(),
        permissions: PermissionPolicy::Ask,
        session: None,
        chat: None,
        default_model: None,
        attended_by: None,
    };
    let running = store.create_task(new()).await.unwrap();
    let claim = store.claim(&lease, &ClaimRequest::only(running.id)).await.unwrap().pop().unwrap();
    let key = claim.key();
    let message = store.begin_message(&key, MessageId::from_random(unique), None).await.unwrap().1;
    store.record_prompt_sent(&key).await.unwrap();
    println!("\nturn {}", running.id);
    for batch in 1.. {
        let text = "x".repeat(500);
        let frames = [FrameBody::delta(&text), FrameBody::delta(&text)];
        let appended = store.append(&key, batch, Some(message), &frames).await.unwrap().unwrap();
        println!("frames {}", appended.first.0 + 1);
        let task = store.create_task(new()).await.unwrap();
        println!("task {}", task.id);
        // SQLite's lock goes to whoever comes first: others are to have a chance.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a killed helper had been answered.
#[derive(Default)]
struct Answered {
    running: Option<TaskId>,
    frames: i64,
    tasks: Vec<TaskId>,
}

/// Lets a helper write until it has been answered `lines` times, then kills it.
fn write_and_kill(dir: &Path, lines: usize) -> Answered {
    let mut helper = spawn(dir);
    let mut said = BufReader::new(helper.stdout.take().unwrap()).lines();
    let mut answered = Answered::default();
    let take = |line: String, answered: &mut Answered| {
        match line.split_once(' ') {
            Some(("turn", id)) => answered.running = id.parse().ok(),
            Some(("frames", last)) => answered.frames = last.parse().unwrap_or(answered.frames),
            Some(("task", id)) => answered.tasks.extend(id.parse::<TaskId>()),
            _ => return 0,
        }
        1
    };
    let mut seen = 0;
    while seen < lines {
        seen += take(said.next().expect("because the helper writes for ever").unwrap(), &mut answered);
    }
    helper.kill().unwrap();
    helper.wait().unwrap();
    for line in said.map_while(Result::ok) {
        take(line, &mut answered);
    }
    answered
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let subject = SqliteSubject::fresh();
    let dir = subject.data_dir();
    for lines in [1, 2, 3, 20, 57, 110] {
        let answered = write_and_kill(&dir, lines);
        let running = answered.running.unwrap();
        let check: String = subject.raw().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");

        let store = SqliteStore::open(&dir).unwrap();
        let recovered = store.recover().await.unwrap();
        assert_eq!(recovered.len(), 1, "{recovered:?}");
        assert_eq!((recovered[0].task, recovered[0].became), (running, RecoveredAs::Interrupted));
        let task = store.task(running).await.unwrap();
        assert_eq!(task.state, TaskState::Interrupted);
        let frames = store.frames(task.session, Seq(0), 0).await.unwrap();
        assert!(frames.iter().map(|frame| frame.seq.0).eq(1..=frames.len() as i64));
        assert!(frames.len() as i64 >= answered.frames + 3);
        let messages = store.messages(task.chat).await.unwrap();
        assert_eq!(messages[1].state, MessageState::Failed);
        let streamed: usize = (frames.len() - 3) * 500;
        assert_eq!(messages[1].content.len(), streamed.min(50_000));
        for id in answered.tasks {
            assert_eq!(store.task(id).await.unwrap().state, TaskState::Pending);
        }
    }
    assert_eq!(std::fs::read_dir(dir.join("nodes")).unwrap().count(), 0);
}

#[tokio::test]
async fn another_process_is_a_live_node_until_it_dies() {
    let subject = SqliteSubject::fresh();
    let dir = subject.data_dir();
    let mut helper = spawn(&dir);
    let mut said = BufReader::new(helper.stdout.take().unwrap()).lines();
    let running: TaskId = loop {
        let line = said.next().unwrap().unwrap();
        if let Some(id) = line.strip_prefix("turn ") {
            break id.parse().unwrap();
        }
    };
    let store = SqliteStore::open(&dir).unwrap();
    let node = NodeInfo { id: NodeId::from_random([9; 16]), label: "us".into() };
    let lease = store.join(&node).await.unwrap();
    let drain = std::thread::spawn(move || said.map_while(Result::ok).count());
    let mut mine = Vec::new();
    for _ in 0..20 {
        assert_eq!(store.recover().await.unwrap(), []);
        let running = mine.iter().map(|claim: &Claim| claim.task.id).collect();
        let request = ClaimRequest { running, ..ClaimRequest::any(1) };
        mine.extend(store.claim(&lease, &request).await.unwrap());
    }
    assert!(store.running_epoch(running).await.unwrap().is_some());
    helper.kill().unwrap();
    helper.wait().unwrap();
    drain.join().unwrap();
    let recovered = store.recover().await.unwrap();
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0].task, running);
    for claim in mine {
        assert_eq!(store.running_epoch(claim.task.id).await.unwrap(), Some(claim.epoch));
    }
}

#[tokio::test]
async fn another_process_wakes_this_one() {
    let subject = SqliteSubject::fresh();
    let dir = subject.data_dir();
    let store = SqliteStore::open(&dir).unwrap();
    let mut wakeups = store.wakeups();
    let mut helper = spawn(&dir);
    let woken = tokio::time::timeout(std::time::Duration::from_secs(60), wakeups.next()).await;
    helper.kill().unwrap();
    helper.wait().unwrap();
    woken.expect("the helper's task is heard of");
}
