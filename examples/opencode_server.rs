//! opencode as a server: one `opencode serve`, started at the first turn, takes the turns of all chats.
//!
//! `cargo run -p boocoder-examples --bin opencode-server -- DATA_DIR /path/to/repository "do this" "and now that"`

use std::{error::Error, process::ExitCode, sync::Arc};

use backends::{
    RegisteredAgents,
    launch::Launcher,
    opencode_server::{OpencodeServer, OpencodeSettings},
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
    let server = OpencodeServer::new(registry.clone(), OpencodeSettings::new(launcher.clone()), pool.clone());
    let agents = RegisteredAgents::new(registry, &launcher).with(Arc::new(server)).keeping(pool);
    host.run(Some("opencode"), agents).await
}
