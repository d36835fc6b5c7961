//! What the tests of `process` run: an agent with the misbehaviour that its first argument names, or a dispatcher
//! that is to be killed.

use std::io::{self, BufRead, Read, Write, stdin, stdout};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

use backends::process::{Command, Limits, RunTag, Supervisor, supervise_if_asked};
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use tokio::io::AsyncReadExt;

fn main() {
    supervise_if_asked();
    let mut args = std::env::args().skip(1);
    let mode = args.next().expect("because every test names a mode");
    let rest: Vec<String> = args.collect();
    match (mode.as_str(), rest.as_slice()) {
        ("hostile", []) => hostile(),
        ("member", [role]) => member(role),
        ("fork", [role]) => fork_and_end(role),
        ("dispatch", [fence, tag]) => dispatch(fence, tag),
        ("exit", [code]) => process::exit(code.parse().expect("because it is a code")),
        ("die", [number]) => die(number.parse().expect("because it is a signal")),
        ("open-files", []) => open_files(),
        ("signals", []) => signals(),
        ("environment", []) => environment(),
        ("folder", []) => println!("{}", std::env::current_dir().expect("because there is one").display()),
        ("echo", []) => drop(io::copy(&mut stdin(), &mut stdout())),
        ("deaf", []) => loop {
            std::thread::park();
        },
        ("close-stdout", []) => close_stdout(),
        ("flood-stdout", []) => flood(stdout(), u64::MAX),
        ("flood-stderr", [bytes]) => flood(io::stderr(), bytes.parse().expect("because it is a size")),
        ("linger", []) => linger(),
        ("last-words", []) => start(&["speak", &process::id().to_string()], |command| command),
        ("speak", [parent]) => speak(parent.parse().expect("because it is a process id")),
        ("rabbit", []) => rabbit(),
        ("crowd", [size]) => crowd(size.parse().expect("because it is a number")),
        _ => process::exit(99),
    }
}

/// Ignores what a polite stop sends.
fn ignore_signals() {
    for number in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        // SAFETY: ignoring runs no code of ours.
        unsafe { signal(number, SigHandler::SigIgn) }.expect("because the signal exists");
    }
}

/// A leader with five descendants, each out of reach in another way. Every one prints its role and process id
/// when it is ready. The leader ends with the code that it reads from standard input, if any.
fn hostile() {
    ignore_signals();
    start(&["member", "plain"], |command| command);
    start(&["member", "own-group"], |command| command.process_group(0));
    start(&["fork", "daemon"], |command| command);
    start(&["member", "session"], |command| command);
    start(&["member", "cleared"], |command| command.env_clear());
    start(&["fork", "ghost"], |command| command.env_clear());
    announce("leader");
    let mut line = String::new();
    stdin().lock().read_line(&mut line).expect("because it is readable");
    match line.trim().parse() {
        Ok(code) => process::exit(code),
        Err(_) => sleep_for_ever(),
    }
}

/// Nobody waits for it: hostile parents do not.
#[expect(clippy::zombie_processes)]
fn start(args: &[&str], adjust: fn(&mut process::Command) -> &mut process::Command) {
    let mut command = process::Command::new(std::env::current_exe().expect("because it is running"));
    command.args(args).stdin(Stdio::null());
    adjust(&mut command);
    command.spawn().expect("because the program is this one");
}

fn member(role: &str) {
    ignore_signals();
    if matches!(role, "session" | "daemon" | "ghost") {
        nix::unistd::setsid().expect("because it leads no group");
    }
    announce(role);
    sleep_for_ever();
}

/// The first half of becoming a daemon.
fn fork_and_end(role: &str) {
    start(&["member", role], |command| command);
}

/// In one write, so that the lines of several processes do not mix.
fn announce(role: &str) {
    let line = format!("{role} {}\n", process::id());
    stdout().write_all(line.as_bytes()).expect("because it is read");
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Runs a hostile agent, passing its standard output on, until it is killed or the agent ends.
#[tokio::main(flavor = "current_thread")]
async fn dispatch(fence: &str, tag: &str) {
    // As a dispatcher does, to keep its environment and descriptors from the agent (SAFETY A16).
    nix::sys::prctl::set_dumpable(false).expect("because Linux can");
    let fence = fence.parse().expect("because it is a number");
    let command = Command {
        program: std::env::current_exe().expect("because it is running").into(),
        args: vec!["hostile".into()],
        cwd: PathBuf::from("/"),
        env: Default::default(),
        tag: RunTag::new(tag).expect("because it is a tag"),
        terminal: None,
        limits: Limits::default(),
        fence: Some(Duration::from_millis(fence)).filter(|fence| !fence.is_zero()),
    };
    let mut child = command.spawn(&Supervisor::SelfExe).await.expect("because it can be started");
    let _stdin = child.take_stdin();
    let mut output = child.take_stdout().expect("because it was not taken");
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        stdout().write_all(&buffer[..length]).expect("because it is read");
    }
    let exit = child.wait().await;
    println!("exit fence_lapsed={} tree_empty={}", exit.fence_lapsed, exit.tree_empty);
}

fn die(number: i32) {
    let number = Signal::try_from(number).expect("because it is a signal");
    // Rust handles SIGSEGV, to tell a stack overflow; SIGKILL has no handler to take away.
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { signal(number, SigHandler::SigDfl) };
    raise(number).expect("because it exists");
    sleep_for_ever();
}

fn open_files() {
    let listed = std::fs::read_dir("/proc/self/fd").expect("because /proc is there");
    let open = listed.flatten().filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        // Not the listing itself.
        (!target.ends_with("fd")).then(|| entry.file_name().into_string().unwrap_or_default())
    });
    let mut open: Vec<String> = open.collect();
    open.sort();
    println!("{}", open.join(" "));
}

/// The masks of blocked and ignored signals. Rust's own start ignores SIGPIPE, so the shell tells.
fn signals() {
    let mut shell = process::Command::new("grep");
    let error = shell.args(["-E", "^Sig(Blk|Ign)", "/proc/self/status"]).exec();
    panic!("grep was not started: {error}");
}

fn environment() {
    for (name, value) in std::env::vars_os() {
        println!("{}={}", name.display(), value.display());
    }
}

/// Ends its standard output, and then waits for the end of its input.
fn close_stdout() {
    nix::unistd::close(1).expect("because it is open");
    let _ = stdin().read_to_end(&mut Vec::new());
    process::exit(0);
}

fn flood(mut to: impl Write, mut bytes: u64) {
    let block = [b'x'; 8192];
    while bytes > 0 {
        let length = block.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        to.write_all(&block[..length]).expect("because it is read");
        bytes -= length as u64;
    }
    to.write_all(b"end").expect("because it is read");
}

/// Says something once its parent has ended, and ends.
fn speak(parent: i32) {
    while nix::unistd::getppid().as_raw() == parent {
        std::thread::yield_now();
    }
    println!("the end");
}

/// Starts a line of processes of which each ends as soon as it has a successor in a session of its own.
fn rabbit() {
    announce("rabbit");
    // Not for ever, should a test fail to catch it.
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        // SAFETY: this process has one thread.
        match unsafe { nix::unistd::fork() } {
            Ok(nix::unistd::ForkResult::Child) => drop(nix::unistd::setsid()),
            Ok(nix::unistd::ForkResult::Parent { .. }) => process::exit(0),
            Err(_) => {}
        }
    }
}

/// Many sleeping children, which say nothing.
fn crowd(size: usize) {
    ignore_signals();
    for _ in 0..size {
        // SAFETY: this process has one thread.
        if let Ok(nix::unistd::ForkResult::Child) = unsafe { nix::unistd::fork() } {
            sleep_for_ever();
        }
    }
    announce("crowd");
    sleep_for_ever();
}

/// Ends at once and leaves a child that holds standard output open.
fn linger() {
    start(&["member", "plain"], |command| command);
}
