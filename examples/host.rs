//! What the examples of one backend each share: all but the backend.
//!
//! Such an example says how its agent is reached, and leaves the rest to [`Host::run`]: a record and git worktrees in a
//! data directory, a node, and one task after another, those after the first in its chat. What the agent says is printed
//! as it comes, then the files that it changed; the change waits in the record. `run_one_task.rs` shows all of that in
//! one piece.

use std::{env, error::Error, ffi::OsString, fs, io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use backends::{RegisteredAgents, process};
use dispatch_core::{
    frame::{Frame, FrameBody},
    ids::{NodeId, TaskId},
    ports::{Agents, ChangeFilter, NewProject, Publisher, Records},
    task::{Name, NewTask, PermissionPolicy, TaskState, TurnOptions},
};
use dispatch_driver::{Node, NodeConfig, Ports, TurnConfig, random_bytes};
use store::SqliteStore;
use worktree::{Policy, Worktrees, dispatch::DispatchWorkspace};

/// What an example was asked for on its command line: `DATA_DIR REPOSITORY PROMPT…`.
pub struct Host {
    data: PathBuf,
    repository: PathBuf,
    prompts: Vec<OsString>,
}

/// An example's whole program.
pub fn main<F: Future<Output = Result<(), Box<dyn Error>>>>(example: impl FnOnce(Host) -> F) -> ExitCode {
    // This program is also the supervisor of its agents.
    process::supervise_if_asked();
    let mut args = env::args_os().skip(1);
    let (Some(data), Some(repository)) = (args.next(), args.next()) else {
        eprintln!("usage: DATA_DIR REPOSITORY PROMPT…");
        return ExitCode::from(2);
    };
    let host = Host { data: data.into(), repository: repository.into(), prompts: args.collect() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(example(host)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Host {
    /// Has each prompt done by this agent, reached in one of these ways; without a name, by native inference.
    ///
    /// # Errors
    /// What was in the way: of the record, the repository, or a task that did not complete.
    pub async fn run(self, agent: Option<&str>, agents: RegisteredAgents) -> Result<(), Box<dyn Error>> {
        let agents = Arc::new(agents);
        let store = Arc::new(SqliteStore::open(&self.data)?);
        let worktrees = Worktrees::open(&self.data.join("worktrees"), Policy::default())?;
        let ports = Ports {
            store: store.clone(),
            workspace: Arc::new(DispatchWorkspace::new(worktrees)),
            agents: agents.clone(),
            publisher: Arc::new(Print),
        };
        let (id, turns) = (NodeId::from_random(random_bytes()), TurnConfig::new("example"));
        let node = Node::join(ports, NodeConfig { id, label: "example".into(), turns }).await?;
        node.recover().await?;

        let path = Some(fs::canonicalize(&self.repository)?);
        let project = store.ensure_project(NewProject { name: "example".into(), path }).await?;
        let mut session = None;
        for prompt in &self.prompts {
            let task = NewTask {
                options: TurnOptions { agent: agent.and_then(Name::new), ..TurnOptions::default() },
                // Its worktree is its own; nothing of it is applied here.
                permissions: PermissionPolicy::Allow,
                session,
                ..NewTask::new(TaskId::from_random(random_bytes()), project.id, prompt.to_string_lossy())
            };
            let task = store.create_task(task).await?;
            session = Some(task.session);
            node.run_task(task.id).await?;
            report(&*store, &*agents, task.id).await?;
        }
        node.release_agents().await;
        Ok(node.leave().await?)
    }
}

/// Shows what a turn says as it is recorded.
struct Print;

impl Publisher for Print {
    fn publish(&self, frames: &Arc<[Frame]>) {
        for frame in frames.iter() {
            match &frame.body {
                FrameBody::Delta { content, .. } => print!("{content}"),
                FrameBody::Notice { text, .. } => eprintln!("{text}"),
                _ => {}
            }
        }
        let _ = std::io::stdout().flush();
    }
}

/// Shows how a task ended, what it changed, and what is kept for the next one.
async fn report(store: &dyn Records, agents: &dyn Agents, task: TaskId) -> Result<(), Box<dyn Error>> {
    let task = store.task(task).await?;
    let route = task.route.map_or("no route", |route| route.as_str());
    println!("\n[{} by {route}]", task.state);
    let changes = store.changes(&ChangeFilter { task: Some(task.id), ..ChangeFilter::default() }).await?;
    for file in changes.iter().flat_map(|change| &change.draft.files) {
        println!("[changed {} +{} -{}]", file.path, file.additions, file.deletions);
    }
    for kept in agents.warm() {
        println!("[kept {} as process {}]", kept.agent, kept.pid);
    }
    match task.state {
        TaskState::Completed => Ok(()),
        _ => Err(task.summary.unwrap_or_else(|| "the task did not complete".into()).into()),
    }
}
