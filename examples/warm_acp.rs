//! An agent that speaks ACP, kept between the turns of a chat: its process and its memory of the conversation outlive
//! each turn, until it was idle for ten minutes.
//!
//! A chat begins with a task, which is done by a process of its own; the prompts after the first continue the chat.
//!
//! `cargo run -p boocoder-examples --bin warm-acp -- DATA_DIR /path/to/repository "begin" "do this" "and now that"`

use std::{error::Error, process::ExitCode, sync::Arc};

use backends::{
    RegisteredAgents,
    acp::{AcpOnce, AcpSettings, AcpWarm},
    launch::Launcher,
    pool::{Pool, PoolSettings},
    process::Supervisor,
    registry::Registry,
};
use boocoder_examples::Host;

/// Any agent of the registry that speaks ACP.
const AGENT: &str = "goose";

fn main() -> ExitCode {
    boocoder_examples::main(chat)
}

async fn chat(host: Host) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(Registry::new([])?);
    let launcher = Launcher::new(Supervisor::SelfExe);
    let settings = AcpSettings::new(launcher.clone());
    let pool = Pool::new(PoolSettings::default());
    let once = AcpOnce::new(registry.clone(), settings.clone());
    let warm = AcpWarm::new(registry.clone(), settings, pool.clone());
    let agents = RegisteredAgents::new(registry, &launcher).with(Arc::new(once)).with(Arc::new(warm));
    host.run(Some(AGENT), agents.keeping(pool)).await
}
