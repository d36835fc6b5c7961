//! The only file that names concrete adapters: opens what a command needs and wires it together.

use std::{
    ffi::OsString,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use backends::{
    RegisteredAgents, acp::AcpSettings, launch::Launcher, process::Supervisor, registry::Registry,
};
use dispatch_core::{
    ids::{NodeId, ProjectId},
    ports::{Agents, Publisher, Records, Recovered, RecoveredAs, Store},
    routing::AgentFacts,
    task::Name,
};
use dispatch_driver::{Node, NodeConfig, Ports, TurnConfig, random_bytes};
use serde::Serialize;
use store::SqliteStore;
use worktree::{
    Policy, Project, Worktrees,
    dispatch::{DispatchWorkspace, with_advice},
};

use crate::{
    cli::Globals,
    config::{self, Config, Loaded},
    exit::Error,
    show::table::short,
    tidy::{self, Tidying},
};

/// Everything that a command needs.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The record, as people read it.
    pub records: Arc<dyn Records>,
    /// The record, as dispatch writes it.
    pub store: Arc<dyn Store>,
    /// Worktrees and checkpoints.
    pub worktrees: Worktrees,
    /// The agents that are known.
    pub registry: Arc<Registry>,
    /// How programs are started.
    pub launcher: Launcher,
    repository: Result<Project, String>,
    remarks: Vec<String>,
}

impl App {
    /// Opens the record and reads the configuration that holds where the command was given.
    pub fn open(globals: &Globals) -> Result<Self, Error> {
        let data_dir = config::load(globals, None)?.data_dir;
        let sqlite = SqliteStore::open(&data_dir).map_err(|error| Error::start(error.to_string()))?;
        let sqlite = Arc::new(sqlite);
        let worktrees = Worktrees::open(&data_dir.join("worktrees"), Policy::default())
            .map_err(|error| Error::start(with_advice(&error)))?;
        let repository = find_repository(&worktrees, globals);
        let root = repository.as_ref().ok().and_then(Project::root);
        let Loaded { config, files, remarks, .. } = config::load(globals, root)?;
        let registry = Arc::new(registry(&config, &files)?);
        let launcher = Launcher::new(Supervisor::SelfExe);
        Ok(Self {
            config,
            data_dir,
            records: Arc::clone(&sqlite) as Arc<dyn Records>,
            store: sqlite,
            worktrees,
            registry,
            launcher,
            repository,
            remarks,
        })
    }

    /// The top folder of the repository that the command is about.
    pub fn require_repository(&self) -> Result<PathBuf, Error> {
        let project = self.repository.as_ref().map_err(Error::usage)?;
        project.root().map(Path::to_owned).ok_or_else(|| {
            let place = project.common_dir().display();
            Error::usage(format!("the repository at {place} is bare; give a checkout of it with --project"))
        })
    }

    /// Says on stderr what the user should hear about the configuration.
    pub fn remark(&self) {
        self.remarks.iter().for_each(|remark| complain!("boocoder: {remark}"));
    }

    /// The project that a list is about: this one, or all.
    pub async fn project_filter(&self, all: bool) -> Result<Option<ProjectId>, Error> {
        if all {
            return Ok(None);
        }
        let root = self
            .require_repository()
            .map_err(|error| Error::usage(format!("{error}; or say --all for every project")))?;
        match self.records.project_at(&root).await? {
            Some(project) => Ok(Some(project.id)),
            None => Err(Error::usage(format!(
                "nothing was run yet in {}; --all shows every project",
                root.display()
            ))),
        }
    }

    /// The repository of a recorded project.
    pub async fn git_project_of(&self, id: ProjectId) -> Result<Project, Error> {
        let project = self.records.project(id).await?;
        let path =
            project.path.ok_or_else(|| Error::usage(format!("project {} has no path", project.name)))?;
        self.worktrees.project(&path).map_err(|error| Error::usage(with_advice(&error)))
    }

    /// The agent to run: the one named, the configured one, the first one installed, else the demo agent.
    pub fn choose_agent(&self, named: Option<&str>) -> Result<Name, Error> {
        let wanted = named.or(self.config.agent.as_deref());
        if let Some(text) = wanted {
            let name = Name::new(text).ok_or_else(|| Error::usage("the agent's name is empty"))?;
            return match self.agents().facts(&name) {
                AgentFacts::Installed { .. } => Ok(name),
                AgentFacts::Unknown { hint } | AgentFacts::NotInstalled { hint } => {
                    Err(Error::usage(format!("agent {name} is not installed: {hint}")))
                }
            };
        }
        let path = self.launcher.variable("PATH").cloned();
        let entry = self.registry.first_installed(path.as_deref()).ok_or_else(|| {
            Error::start("no agent is installed; `boocoder doctor` says how to install one")
        })?;
        complain!("boocoder: no agent named; using {} ({})", entry.name, entry.title);
        Ok(entry.name.clone())
    }

    /// The agents, as dispatch reaches them.
    pub fn agents(&self) -> RegisteredAgents {
        let mut settings = AcpSettings::new(self.launcher.clone());
        if let Some(seconds) = self.config.limits.stop_grace_s {
            settings.grace = Duration::from_secs(seconds);
        }
        if let Some(seconds) = self.config.limits.start_s {
            // Each call has the whole time; the turn's own limit, a little longer, holds for all of them.
            let limits = &mut settings.connection.time_limits;
            (limits.initialize, limits.new_session) =
                (Duration::from_secs(seconds), Duration::from_secs(seconds));
        }
        RegisteredAgents::new(Arc::clone(&self.registry), settings)
    }

    /// Joins the record as a node, settles what dead ones left, and begins to tidy up after them.
    pub async fn node(&self, publisher: Arc<dyn Publisher>, label: &str) -> Result<(Node, Tidying), Error> {
        let id = NodeId::from_random(random_bytes());
        let data = tidy::data_tag(&self.data_dir)?;
        let agents: Arc<dyn Agents> = Arc::new(self.agents());
        let ports = Ports {
            store: Arc::clone(&self.store),
            workspace: Arc::new(DispatchWorkspace::new(self.worktrees.clone())),
            agents,
            publisher,
        };
        let turns = TurnConfig {
            limits: self.config.limits.turn(),
            run_tag: format!("{data}/{id}"),
            may_fall_back: false,
        };
        let label = format!("{label}, process {}", std::process::id());
        let node = Node::join(ports, NodeConfig { id, label, turns }).await?;
        for left in node.recover().await? {
            self.end_unasked(&left).await?;
        }
        let tidying =
            Tidying::begin(self.data_dir.clone(), data, self.worktrees.clone(), Arc::clone(&self.records));
        Ok((node, tidying))
    }

    /// Cancels a task whose `run` was killed before its agent was asked. It is pending again (SPEC D6), but
    /// whoever wanted it here and now is gone, and no other dispatcher takes tasks yet.
    async fn end_unasked(&self, left: &Recovered) -> Result<(), Error> {
        if left.became == RecoveredAs::Pending {
            self.store.request_stop(left.task).await?;
            let task = short(left.task);
            complain!("task {task} was killed before its agent was asked: cancelled, nothing was done");
        }
        Ok(())
    }

    /// Prints each item as one line of JSON.
    pub fn json_lines<T: Serialize>(&self, items: &[T]) -> Result<(), Error> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let printed = items.iter().try_for_each(|item| {
            serde_json::to_writer(&mut out, item)?;
            out.write_all(b"\n")
        });
        printed.and_then(|()| out.flush()).map_err(|error| Error::failed(format!("stdout: {error}")))
    }
}

/// The repository around the project's path, or around the current folder.
fn find_repository(worktrees: &Worktrees, globals: &Globals) -> Result<Project, String> {
    let path = match &globals.project {
        Some(path) => path.clone(),
        None => std::env::current_dir().map_err(|error| format!("the current folder: {error}"))?,
    };
    let path = std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    worktrees.project(&path).map_err(|error| with_advice(&error))
}

/// The shipped agents, the user's, and the demo agent, which is this very program.
fn registry(config: &Config, files: &[PathBuf]) -> Result<Registry, Error> {
    let user = config.agents.iter().map(|(name, agent)| match Name::new(name) {
        Some(name) => Ok((name, agent.clone())),
        None => Err(Error::usage("[agents.\"\"]: an agent needs a name")),
    });
    let user = user.collect::<Result<Vec<_>, _>>()?;
    let files = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
    let registry = Registry::new(user)
        .map_err(|error| Error::usage(format!("the configuration is wrong ({files}): {error}")))?;
    let program = std::env::current_exe()
        .map_err(|error| Error::start(format!("this program's own file cannot be found: {error}")))?;
    Ok(registry.with_demo(vec![program.into(), OsString::from("demo-agent")]))
}
