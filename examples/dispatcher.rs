//! A dispatcher in another program: the record, the driver and the agents that speak ACP, one process per turn. It
//! serves the record in DATA_DIR until Ctrl-C; `enqueue-and-watch` gives it work.
//!
//! `cargo run -p boocoder-examples --bin dispatcher -- DATA_DIR`

use std::{error::Error, path::PathBuf, process::ExitCode, sync::Arc};

use backends::{
    RegisteredAgents,
    acp::{AcpOnce, AcpSettings},
    launch::Launcher,
    process,
    registry::Registry,
};
use dispatch_core::ids::NodeId;
use dispatch_driver::{
    Dispatcher, DispatcherConfig, FanOut, FanOutConfig, Node, NodeConfig, Ports, Shutdown, TurnConfig,
    random_bytes,
};
use store::SqliteStore;
use tokio::sync::mpsc;
use worktree::{Policy, Worktrees, dispatch::DispatchWorkspace};

fn main() -> ExitCode {
    // This program is also the supervisor of its agents, and, as there may be no other, an agent.
    process::supervise_if_asked();
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.as_slice() {
        [first, rest @ ..] if first == "demo-agent" => demo_agent::main(rest.to_vec()),
        [data] => {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let served = runtime.block_on(serve(PathBuf::from(data)));
            served
                .inspect_err(|error| eprintln!("dispatcher: {error}"))
                .map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        _ => ExitCode::from(2),
    }
}

async fn serve(data: PathBuf) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(SqliteStore::open(&data)?);
    let worktrees = Worktrees::open(&data.join("worktrees"), Policy::default())?;
    let demo = vec![std::env::current_exe()?.into(), "demo-agent".into()];
    let registry = Arc::new(Registry::new([])?.with_demo(demo));
    let launcher = Launcher::new(process::Supervisor::SelfExe);
    let agents = RegisteredAgents::new(Arc::clone(&registry), &launcher);
    let agents = agents.with(Arc::new(AcpOnce::new(registry, AcpSettings::new(launcher))));
    let ports = Ports {
        store: store.clone(),
        workspace: Arc::new(DispatchWorkspace::new(worktrees)),
        agents: Arc::new(agents),
        publisher: Arc::new(FanOut::new(store, FanOutConfig::default())),
    };
    let turns = TurnConfig::new("example");
    let id = NodeId::from_random(random_bytes());
    let node = Node::join(ports, NodeConfig { id, label: "example".into(), turns }).await?;
    let (shutdown, told) = mpsc::channel(1);
    let dispatcher = tokio::spawn(Dispatcher::run(node, DispatcherConfig::default(), told));
    tokio::signal::ctrl_c().await?;
    shutdown.send(Shutdown::Graceful).await?;
    println!("{:?}", dispatcher.await??);
    Ok(())
}
