//! The demo agent as a program of its own, for tests and benchmarks.

use std::process::ExitCode;

fn main() -> ExitCode {
    demo_agent::main(std::env::args_os().skip(1))
}
