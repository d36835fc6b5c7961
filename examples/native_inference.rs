//! No agent's program at all: our own loop on any OpenAI-compatible service, with tools that see the worktree only.
//!
//! ```sh
//! export MODEL_ENDPOINT=http://127.0.0.1:8080/v1    # llama.cpp, ollama, vLLM, a hosted service
//! export MODEL_NAME=qwen3-coder                     # else the first that it offers
//! cargo run -p boocoder-examples --bin native-inference -- DATA_DIR /path/to/repository "do this" "and now that"
//! ```

use std::{env, error::Error, process::ExitCode, sync::Arc};

use backends::{
    RegisteredAgents,
    launch::Launcher,
    native::{ApiKey, Endpoint, NativeInference, NativeSettings},
    process::Supervisor,
    registry::Registry,
};
use boocoder_examples::Host;
use dispatch_core::task::Name;

fn main() -> ExitCode {
    boocoder_examples::main(chat)
}

async fn chat(host: Host) -> Result<(), Box<dyn Error>> {
    let launcher = Launcher::new(Supervisor::SelfExe);
    let endpoint = Endpoint::new(&env::var("MODEL_ENDPOINT")?)?;
    let mut settings = NativeSettings::new(launcher.clone(), endpoint);
    settings.default_model = env::var("MODEL_NAME").ok().and_then(|name| Name::new(&name));
    if let Ok(key) = env::var("MODEL_API_KEY") {
        settings.api_key = Some(ApiKey::new(&key)?);
    }
    let native = NativeInference::new(settings);
    let agents = RegisteredAgents::new(Arc::new(Registry::new([])?), &launcher);
    host.run(None, agents.with(Arc::new(native))).await
}
