//! A small scripted ACP agent: the product's fallback and the tests' fake.
//!
//! It speaks the Agent Client Protocol (JSON-RPC 2.0, one object a line on stdin and stdout), needs no
//! model, and does what the prompt says, from writing a file to dying in the middle of a turn. It is
//! written apart from the protocol crate of this workspace, so that a mistake there is not mirrored here.
//!
//! One thread does everything. A turn runs in the loop that also reads the host's messages, so a cancel
//! is heard whenever the agent is between two directives, waiting, or streaming. While an answer of the
//! host is awaited, a cancel does not end the waiting: a host that leaves a permission request unanswered
//! never gets the prompt's answer, as with gemini, goose and vibe. A second prompt during a turn is an error.
//!
//! # The language of prompts
//!
#![doc = include_str!("language.md")]

mod agent;
mod args;
mod files;
mod friendly;
mod history;
mod hostile;
mod script;
mod settings;
mod shell;
mod talk;
mod turn;
mod wire;

use crate::{
    agent::Agent,
    args::{Args, Fault},
    wire::Halt,
};
use std::{ffi::OsString, process::ExitCode};

/// Runs the agent on this process's stdin and stdout until the host closes them.
///
/// `args` are the arguments after the program's name; `--help` lists them. Call it from a process with
/// a single thread: `/fork` and `/crash` do to the process what they say.
///
/// The exit code is 0 when the host closed stdin, 2 for arguments that are not understood, 1 for a
/// broken pipe or directory, else what a directive or fault asked for.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::parse(args) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("demo-agent: {why}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    if args.help {
        print!("{}{}", include_str!("help.txt"), manual());
        return ExitCode::SUCCESS;
    }
    for fault in &args.faults {
        match fault {
            Fault::Exit(code) => return ExitCode::from(*code),
            Fault::Stderr(text) => eprintln!("{text}"),
            _ => {}
        }
    }
    match Agent::new(args).and_then(|mut agent| agent.serve()) {
        Ok(()) | Err(Halt::HostGone) => ExitCode::SUCCESS,
        Err(Halt::Exit(code)) => ExitCode::from(code),
        Err(why) => {
            eprintln!("demo-agent: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The language as plain text.
fn manual() -> String {
    include_str!("language.md").replace("```text\n", "").replace("```\n", "").replace('`', "")
}
