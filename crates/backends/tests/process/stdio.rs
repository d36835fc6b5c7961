//! The three streams, with agents that do not read, do not stop writing, or close them.

use std::io;
use std::time::Duration;

use backends::process::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{helper, read_all, spawn, status_field};
use crate::waiting::within;

#[tokio::test]
async fn what_goes_in_comes_out() {
    let mut child = spawn(&helper(&["echo"])).await;
    let mut stdin = child.take_stdin().unwrap();
    let mut stdout = child.take_stdout().unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        stdin.write_all(&copy).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    assert_eq!(read_all(&mut stdout).await, sent);
    writer.await.unwrap();
    assert_eq!(within(child.wait()).await.status, Status::Code(0));
}

#[tokio::test]
async fn a_flood_on_standard_error_blocks_nobody_and_is_not_kept() {
    let bytes = 20_000_000u64;
    let mut child = spawn(&helper(&["flood-stderr", &bytes.to_string()])).await;
    assert_eq!(within(child.wait()).await.status, Status::Code(0));
    assert_eq!(child.stderr_bytes(), bytes + 3);
    let tail = child.stderr_tail();
    assert_eq!(tail.len(), 8 * 1024);
    assert!(tail.ends_with("xend"), "{}", &tail[tail.len() - 10..]);
}

#[tokio::test]
async fn an_agent_that_is_not_read_waits() {
    let mut child = spawn(&helper(&["flood-stdout"])).await;
    let leader = child.id().cast_signed();
    // It sleeps in write(2) on the full pipe.
    within(async {
        while !status_field(leader, "State").starts_with('S') {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut stdout = child.take_stdout().unwrap();
    let mut buffer = vec![0; 1_000_000];
    within(stdout.read_exact(&mut buffer)).await.unwrap();
    assert!(buffer.iter().all(|byte| *byte == b'x'));
    child.control().kill();
    assert!(within(child.wait()).await.tree_empty);
    within(stdout.read_to_end(&mut buffer)).await.unwrap();
}

#[tokio::test]
async fn closing_output_is_not_ending() {
    let mut child = spawn(&helper(&["close-stdout"])).await;
    let stdin = child.take_stdin();
    assert_eq!(read_all(&mut child.take_stdout().unwrap()).await, b"");
    assert!(tokio::time::timeout(Duration::from_millis(50), child.wait()).await.is_err(), "it is alive");
    drop(stdin);
    assert_eq!(within(child.wait()).await.status, Status::Code(0));
}

#[tokio::test]
async fn a_write_that_nobody_reads_is_ended_by_closing() {
    let mut child = spawn(&helper(&["deaf"])).await;
    let mut stdin = child.take_stdin().unwrap();
    let control = child.control();
    let writer = tokio::spawn(async move { stdin.write_all(&vec![b'x'; 1 << 20]).await });
    // The pipe holds 64 KiB: the writer is stuck once it is waiting for the second time.
    tokio::task::yield_now().await;
    control.close_stdin();
    let error = within(writer).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn writing_to_an_ended_agent_fails() {
    let mut child = spawn(&helper(&["exit", "0"])).await;
    let mut stdin = child.take_stdin().unwrap();
    within(child.wait()).await;
    let error = stdin.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_quarter_gigabyte_costs_no_memory() {
    let mut child = spawn(&helper(&["flood-stdout"])).await;
    let mut stdout = child.take_stdout().unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let us = std::process::id().cast_signed();
    let rss = || status_field(us, "VmRSS").trim_end_matches(" kB").parse::<u64>().unwrap();
    let before = rss();
    let mut left: u64 = 256 * 1024 * 1024;
    while left > 0 {
        left = left.saturating_sub(within(stdout.read(&mut buffer)).await.unwrap() as u64);
    }
    assert!(rss() < before + 8 * 1024, "{before} -> {}", rss());
}
