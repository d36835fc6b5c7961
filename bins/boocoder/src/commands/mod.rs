//! What the commands do.

mod agents;
mod change;
mod checkpoint;
mod doctor;
mod permission;
mod project;
mod request;
mod run;
mod serve;
mod session;
mod task;
mod trust;

use crate::{
    cli::{Cli, Command},
    exit::{Code, Error},
};

/// Does what the command line asks for.
pub async fn dispatch(Cli { globals, command }: Cli) -> Result<Code, Error> {
    match command {
        Command::Run(args) => run::run(&globals, args).await,
        Command::Serve(args) => serve::run(&globals, args).await,
        Command::Project(command) => project::run(&globals, command).await,
        Command::Session(command) => session::run(&globals, command).await,
        Command::Task(command) => task::run(&globals, command).await,
        Command::Change(command) => change::run(&globals, command).await,
        Command::Checkpoint(command) => checkpoint::run(&globals, command).await,
        Command::Permission(command) => permission::run(&globals, command).await,
        Command::Agents { command } => agents::run(&globals, command).await,
        Command::Doctor => doctor::run(&globals).await,
        Command::Trust => trust::run(&globals).await,
        Command::DemoAgent { .. } => Err(Error::usage("the demo agent runs without the dispatcher")),
    }
}
