//! A program that takes one prompt, prints what it does, and ends: the way to agents that know no protocol.
//!
//! `cargo run -p boocoder-examples --bin one-shot-cli -- DATA_DIR /path/to/repository "do this"`

use std::{error::Error, process::ExitCode, sync::Arc};

use backends::{
    RegisteredAgents,
    cli::{CliOnce, CliSettings},
    launch::Launcher,
    process::Supervisor,
    registry::Registry,
};
use boocoder_examples::Host;

/// Any agent of the registry that has such a program; a user's own may be added to it.
const AGENT: &str = "gemini";

fn main() -> ExitCode {
    boocoder_examples::main(once)
}

async fn once(host: Host) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(Registry::new([])?);
    let launcher = Launcher::new(Supervisor::SelfExe);
    let cli = CliOnce::new(registry.clone(), CliSettings::new(launcher.clone()));
    host.run(Some(AGENT), RegisteredAgents::new(registry, &launcher).with(Arc::new(cli))).await
}
