//! The dispatcher for coding agents: a thin binary around the libraries.

// First, as its macros are everybody's.
#[macro_use]
mod show;

mod cli;
mod commands;
mod config;
mod exit;
#[cfg(debug_assertions)]
mod halt;
mod keyboard;
mod secret;
mod signals;
mod systemd;
mod tidy;
mod trust;
mod wire;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything else: this program is also the supervisor of the agents that it starts, and as that
    // it must have no thread and no open file of the dispatcher's.
    backends::process::supervise_if_asked();
    let cli = cli::Cli::parse();
    if let cli::Command::DemoAgent { args } = cli.command {
        return demo_agent::main(args);
    }
    if let Err(error) = backends::process::become_subreaper() {
        complain!("boocoder: orphans of a killed supervisor will only be found by their tag: {error}");
    }
    // Agents run as the same user, and must not read this process's environment or memory through /proc.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        complain!("boocoder: agents of the same user can look into this process: {error}");
    }
    show::log::start(&cli);
    if cli.globals.has_visible_password() {
        complain!(
            "boocoder: others can see the password in --database-url; put it into BOOCODER_DATABASE_URL"
        );
    }
    match run(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            complain!("boocoder: {error}");
            error.code().into()
        }
    }
}

fn run(cli: cli::Cli) -> Result<exit::Code, exit::Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| exit::Error::start(format!("the runtime could not be started: {error}")))?;
    let result = runtime.block_on(commands::dispatch(cli));
    // A thread that waits for a terminal's input must not keep the program.
    runtime.shutdown_background();
    result
}
