//! The whole path in another program: store, worktrees, driver and the demo agent (or one named as the second
//! argument), without boocoder's command line.
//!
//! `cargo run -p boocoder-examples --bin run-one-task -- /path/to/repository [agent]`

use std::{error::Error, ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc};

use backends::{
    RegisteredAgents,
    acp::{AcpOnce, AcpSettings},
    launch::Launcher,
    process,
    registry::Registry,
};
use dispatch_core::{
    frame::Frame,
    ids::{NodeId, TaskId},
    ports::{NewProject, Publisher, Records},
    task::{Name, NewTask, PermissionPolicy, TurnOptions},
};
use dispatch_driver::{Node, NodeConfig, Ports, TurnConfig, random_bytes};
use store::SqliteStore;
use worktree::{Policy, Worktrees, dispatch::DispatchWorkspace};

struct Print;

impl Publisher for Print {
    fn publish(&self, frames: &Arc<[Frame]>) {
        frames.iter().for_each(|frame| println!("{} {}", frame.seq.0, frame.body.name()));
    }
}

fn main() -> ExitCode {
    process::supervise_if_asked();
    let mut args = std::env::args_os().skip(1);
    let Some(first) = args.next() else {
        eprintln!("usage: run-one-task REPOSITORY [AGENT]");
        return ExitCode::from(2);
    };
    if first == "demo-agent" {
        return demo_agent::main(args.collect::<Vec<_>>());
    }
    let agent = args.next().and_then(|agent| Name::new(agent.to_str()?)).or_else(|| Name::new("demo"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(run(PathBuf::from(first), agent)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("run-one-task: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(repository: PathBuf, agent: Option<Name>) -> Result<(), Box<dyn Error>> {
    let data = std::env::temp_dir().join("boocoder-example");
    let store = Arc::new(SqliteStore::open(&data)?);
    let itself = vec![std::env::current_exe()?.into(), OsString::from("demo-agent")];
    let registry = Arc::new(Registry::new([])?.with_demo(itself));
    let launcher = Launcher::new(process::Supervisor::SelfExe);
    let agents = RegisteredAgents::new(Arc::clone(&registry), &launcher);
    let agents = agents.with(Arc::new(AcpOnce::new(registry, AcpSettings::new(launcher))));
    let ports = Ports {
        store: store.clone(),
        workspace: Arc::new(DispatchWorkspace::new(Worktrees::open(
            &data.join("worktrees"),
            Policy::default(),
        )?)),
        agents: Arc::new(agents),
        publisher: Arc::new(Print),
    };
    let id = NodeId::from_random(random_bytes());
    let turns = TurnConfig::new("example");
    let node = Node::join(ports, NodeConfig { id, label: "example".into(), turns }).await?;
    node.recover().await?;

    let path = Some(std::fs::canonicalize(&repository)?);
    let project = store.ensure_project(NewProject { name: "example".into(), path }).await?;
    let task = NewTask {
        options: TurnOptions { agent, ..TurnOptions::default() },
        permissions: PermissionPolicy::Deny,
        ..NewTask::new(TaskId::from_random(random_bytes()), project.id, "say hello")
    };
    let task = store.create_task(task).await?;
    let report = node.run_task(task.id).await?;
    println!("{report:?}");
    Ok(node.leave().await?)
}
