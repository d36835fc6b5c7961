//! Claude Code by its control protocol, one process kept for each chat: it asks for leave, can be interrupted, and tells
//! what a turn cost.
//!
//! A chat begins with a task, which is done by `claude -p`; the prompts after the first continue the chat.
//!
//! `cargo run -p boocoder-examples --bin claude-sdk -- DATA_DIR /path/to/repository "begin" "do this" "and now that"`

use std::{error::Error, process::ExitCode, sync::Arc};

use backends::{
    RegisteredAgents,
    claude_sdk::{ClaudeSdk, ClaudeSettings},
    cli::{CliOnce, CliSettings},
    launch::Launcher,
    pool::{Pool, PoolSettings},
    process::Supervisor,
    registry::Registry,
};
use boocoder_examples::Host;

fn main() -> ExitCode {
    boocoder_examples::main(chat)
}

async fn chat(host: Host) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(Registry::new([])?);
    let launcher = Launcher::new(Supervisor::SelfExe);
    let pool = Pool::new(PoolSettings::default());
    let once = CliOnce::new(registry.clone(), CliSettings::new(launcher.clone()));
    let sdk = ClaudeSdk::new(registry.clone(), ClaudeSettings::new(launcher.clone()), pool.clone());
    let agents = RegisteredAgents::new(registry, &launcher).with(Arc::new(once)).with(Arc::new(sdk));
    host.run(Some("claude"), agents.keeping(pool)).await
}
