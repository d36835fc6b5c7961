//! Terminals with real processes.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/processes.rs"]
mod processes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use acp_proto::host::{Command, Output, TerminalError, TerminalLimits, Terminals};
use processes::Processes;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

struct Ground {
    _temporary: TempDir,
    root: PathBuf,
    terminals: Arc<Terminals>,
}

fn ground(processes: Processes, limits: TerminalLimits) -> Ground {
    let temporary = TempDir::new().unwrap();
    let root = temporary.path().canonicalize().unwrap();
    let terminals = Arc::new(Terminals::new(root.clone(), Arc::new(processes), limits));
    Ground { _temporary: temporary, root, terminals }
}

fn plain() -> Ground {
    ground(Processes::default(), TerminalLimits::default())
}

impl Ground {
    fn shell(&self, line: &str) -> Command {
        Command::new(line.to_owned(), Vec::new(), Vec::new(), self.root.clone())
    }

    async fn start(&self, line: &str) -> String {
        self.terminals.create(self.shell(line), None).await.unwrap()
    }

    async fn finish(&self, id: &str) -> Output {
        timeout(DEADLINE, self.terminals.wait(id)).await.expect("an end in time").unwrap();
        self.terminals.output(id).unwrap()
    }

    /// Waits until a command has made a file, and returns what is in it.
    fn appears(&self, name: &str) -> String {
        let limit = Instant::now() + DEADLINE;
        loop {
            match std::fs::read_to_string(self.root.join(name)) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => assert!(Instant::now() < limit, "{name} did not appear"),
            }
            std::thread::yield_now();
        }
    }
}

/// Waits until a process is gone; one that has ended and was not yet waited for is.
fn assert_dies(pid: &str) {
    let limit = Instant::now() + DEADLINE;
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next().map(|rest| !rest.starts_with(['Z', 'X']))
    };
    while alive() == Some(true) {
        assert!(Instant::now() < limit, "{pid} is still running");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_shell_line_without_arguments_runs_in_a_shell() {
    let ground = plain();
    let id = ground.start("echo hi && pwd; echo err >&2; exit 3").await;
    let output = ground.finish(&id).await;
    assert_eq!(output.text, format!("hi\n{}\nerr\n", ground.root.display()));
    assert_eq!(output.exit.unwrap().code, Some(3));
    assert!(!output.truncated);
}

#[tokio::test]
async fn a_program_with_arguments_and_environment_runs_without_a_shell() {
    let ground = plain();
    let args = vec!["-c".to_owned(), "printf '%s|' \"$0\" \"$A\"".to_owned(), "a b;c".to_owned()];
    let env = vec![("A".to_owned(), "v w".to_owned())];
    let command = Command::new("sh".to_owned(), args, env, ground.root.clone());
    let id = ground.terminals.create(command, None).await.unwrap();
    assert_eq!(ground.finish(&id).await.text, "a b;c|v w|");
}

#[tokio::test]
async fn only_the_end_of_much_output_is_kept_and_no_pipe_fills_up() {
    let ground = plain();
    let line = ground.shell("yes 'ä' | head -n 200000; printf end");
    let id = ground.terminals.create(line, Some(10)).await.unwrap();
    let output = ground.finish(&id).await;
    assert_eq!(output.text, "\nä\nä\nend");
    assert!(output.truncated);
    assert_eq!(output.exit.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_killed_command_ends_and_its_output_can_still_be_read() {
    let ground = plain();
    let id = ground.start("echo before; echo $$ > pid; exec sleep 600").await;
    let pid = ground.appears("pid");
    ground.terminals.kill(&id).unwrap();
    let output = ground.finish(&id).await;
    assert_eq!(output.exit.unwrap().signal.as_deref(), Some("signal 9"));
    assert_eq!(output.text, "before\n");
    assert_dies(&pid);
    ground.terminals.kill(&id).unwrap();
    ground.terminals.release(&id).unwrap();
    assert!(matches!(ground.terminals.output(&id), Err(TerminalError::Unknown { .. })));
    assert!(matches!(ground.terminals.release(&id), Err(TerminalError::Unknown { .. })));
}

#[tokio::test]
async fn releasing_kills_and_ends_whoever_waits() {
    let ground = plain();
    let id = ground.start("echo $$ > pid; exec sleep 600").await;
    let pid = ground.appears("pid");
    let waiting = tokio::spawn({
        let (terminals, id) = (Arc::clone(&ground.terminals), id.clone());
        async move { terminals.wait(&id).await }
    });
    tokio::task::yield_now().await;
    ground.terminals.release(&id).unwrap();
    // The one that waits may have come just after the release.
    match timeout(DEADLINE, waiting).await.expect("an end in time").unwrap() {
        Ok(exit) => assert!(exit.signal.is_some(), "{exit:?}"),
        Err(error) => assert!(matches!(error, TerminalError::Unknown { .. }), "{error}"),
    }
    assert_dies(&pid);
}

#[tokio::test]
async fn stopping_kills_all_with_what_they_started() {
    let ground = plain();
    ground.start("sleep 600 & echo $! > child; wait").await;
    ground.start("echo $$ > second; exec sleep 600").await;
    let pids = [ground.appears("child"), ground.appears("second")];
    ground.terminals.stop_all();
    ground.terminals.stop_all();
    pids.iter().for_each(|pid| assert_dies(pid));
    let again = ground.start("echo again").await;
    assert_eq!(ground.finish(&again).await.text, "again\n");
}

#[tokio::test]
async fn a_command_that_was_being_started_when_the_turn_stopped_dies_too() {
    let (open, reached) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let gate = Some((Arc::clone(&open), Arc::clone(&reached)));
    let ground = ground(Processes { gate }, TerminalLimits::default());
    let starting = tokio::spawn({
        let (terminals, command) =
            (Arc::clone(&ground.terminals), ground.shell("echo $$ > pid; exec sleep 600"));
        async move { terminals.create(command, None).await }
    });
    drop(timeout(DEADLINE, reached.acquire()).await.expect("a start in time").unwrap());
    let pid = ground.appears("pid");
    ground.terminals.stop_all();
    open.add_permits(1);
    assert!(matches!(starting.await.unwrap(), Err(TerminalError::Stopped)));
    assert_dies(&pid);
}

#[tokio::test]
async fn an_end_is_reported_though_something_left_behind_holds_the_output() {
    let ground = plain();
    let id = ground.start("sleep 600 & echo $! > child; echo done").await;
    let child = ground.appears("child");
    let output = ground.finish(&id).await;
    assert_eq!((output.text.as_str(), output.exit.unwrap().code), ("done\n", Some(0)));
    ground.terminals.release(&id).unwrap();
    assert_dies(&child);
}

#[tokio::test]
async fn terminals_are_counted_until_released_and_a_failed_start_counts_nothing() {
    let ground = ground(Processes::default(), TerminalLimits { count: 2, output: 100 });
    let missing =
        || Command::new("/no/such/program".to_owned(), vec!["x".to_owned()], Vec::new(), ground.root.clone());
    for _ in 0..3 {
        let error = ground.terminals.create(missing(), None).await.unwrap_err();
        assert!(matches!(error, TerminalError::Spawn { .. }), "{error}");
    }
    let first = ground.start("true").await;
    let second = ground.start("true").await;
    assert_ne!(first, second);
    let error = ground.terminals.create(ground.shell("true"), None).await.unwrap_err();
    assert!(matches!(error, TerminalError::TooMany { limit: 2 }), "{error}");
    ground.terminals.release(&first).unwrap();
    let third = ground.start("true").await;
    assert!(third != first && third != second);
}

#[tokio::test]
async fn the_folder_of_a_command_is_inside_the_sessions() {
    let ground = plain();
    std::fs::create_dir(ground.root.join("sub")).unwrap();
    std::fs::write(ground.root.join("file"), "").unwrap();
    std::os::unix::fs::symlink("/", ground.root.join("out")).unwrap();
    let folder = |cwd: &str| ground.terminals.folder(Some(Path::new(cwd)));
    assert_eq!(ground.terminals.folder(None).unwrap(), ground.root);
    assert_eq!(folder("sub").unwrap(), ground.root.join("sub"));
    assert_eq!(folder(ground.root.join("sub/..").to_str().unwrap()).unwrap(), ground.root);
    for outside in ["/", "/tmp", "..", "out", "out/tmp", "file", "none"] {
        assert!(matches!(folder(outside), Err(TerminalError::Outside { .. })), "{outside}");
    }
}
