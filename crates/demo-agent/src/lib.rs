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
//! # Other protocols
//!
//! With the argument `stream-json` it speaks Claude Code's control protocol instead, or takes one prompt as `claude -p`
//! does; with `serve` it is a server as opencode's is. Both are fronts, which translate for an agent behind them that
//! runs on a thread of its own, so that every directive works over each of them. They keep to recordings of Claude
//! Code 2.1.197 and opencode 1.18.33, as far as a host needs it.
//!
//! # The language of prompts
//!
#![doc = include_str!("language.md")]

mod agent;
mod args;
mod files;
mod friendly;
mod front;
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
    args::{Args, Fault, Protocol},
    wire::Wire,
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
    let ended = match args.protocol.clone() {
        Protocol::Acp => Agent::new(args, Wire::standard()).and_then(|mut agent| agent.serve()),
        Protocol::StreamJson(options) => front::stream_json::run(args, options),
        Protocol::Opencode => front::opencode::run(args),
    };
    ExitCode::from(ended.map_or_else(|why| why.code(), |()| 0))
}

/// The language as plain text.
fn manual() -> String {
    include_str!("language.md").replace("```text\n", "").replace("```\n", "").replace('`', "")
}
