//! This test program is also the agent that it tests with, and the agent's supervisor, so that no other package's
//! program has to be built before.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The first argument that makes this program an agent.
const SWITCH: &str = "--as-demo-agent";

/// Runs before `main`, which is the test harness's.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    wait_at_gate();
    backends::process::supervise_if_asked();
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == SWITCH) {
        // As Rust's own start would have done.
        // SAFETY: ignoring runs no code of ours.
        let _ = unsafe {
            nix::sys::signal::signal(nix::sys::signal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn)
        };
        let code = demo_agent::main(args);
        // The code cannot be looked into but for its debug form, and cannot be returned before `main`.
        let code = format!("{code:?}").chars().filter(char::is_ascii_digit).collect::<String>();
        std::process::exit(code.parse().unwrap_or(1));
    }
}

/// The command that starts the agent with these arguments.
pub fn command(args: &[&str]) -> Vec<OsString> {
    let program = std::env::current_exe().unwrap();
    let args = std::iter::once(SWITCH).chain(args.iter().copied()).map(OsString::from);
    std::iter::once(program.into()).chain(args).collect()
}

/// A file that holds up whatever is to be supervised under this tag, for as long as it exists.
pub fn gate(tag: &str) -> PathBuf {
    // Not the folder for temporary files: a supervisor does not have our environment.
    PathBuf::from("/tmp").join(format!("{}.gate", tag.replace('/', "-")))
}

fn wait_at_gate() {
    let args: Vec<_> = std::env::args_os().collect();
    if let [_, tag] = args.as_slice()
        && let Some(tag) = tag.to_str()
    {
        while gate(tag).exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
