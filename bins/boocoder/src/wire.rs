//! The only place that names concrete adapters: opens what a command needs and wires it together.

mod agents;
mod wanted;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use backends::{launch::Launcher, process::Supervisor, registry::Registry};
use dispatch_core::{
    ids::{NodeId, ProjectId},
    ports::{Agents, Class, NewProject, Publisher, Records, Store},
    task,
};
use dispatch_driver::{Node, NodeConfig, Ports, TurnConfig, random_bytes};
use store::{ConnectError, PostgresConfig, PostgresStore, SqliteStore};
use worktree::{
    Policy, Project, Worktrees,
    dispatch::{DispatchWorkspace, with_advice},
};

pub use wanted::Wanted;

use crate::{
    cli::Globals,
    config::{self, Config, Loaded},
    exit::Error,
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
    /// Which store that is, and where.
    pub about_store: String,
    /// Worktrees and checkpoints.
    pub worktrees: Worktrees,
    /// The agents that are known.
    pub registry: Arc<Registry>,
    /// How programs are started.
    pub launcher: Launcher,
    repository: Result<Project, String>,
    remarks: Vec<String>,
}

/// How long agents outlive a dispatcher that stands still, where another machine may take its tasks over: less than
/// the lease of 10 s, so that they are gone before that happens. A lock file goes with its process alone.
const FENCE: Duration = Duration::from_secs(7);

/// What a node is for that takes tasks of the queue; its label begins with it.
pub const SERVES: &str = "serve";

/// Whose configuration holds for a command.
enum Whose {
    /// The user's, with that of the repository where the command was given.
    Repository,
    /// The user's alone.
    User,
}

/// The record, and which it is.
struct Record {
    store: Arc<dyn Store>,
    records: Arc<dyn Records>,
    about: String,
}

/// Opens the record: the database that is configured, else SQLite's in the data directory.
async fn open_record(users: &Loaded, patience: Duration) -> Result<Record, Error> {
    let Some(url) = &users.database_url else {
        let sqlite = SqliteStore::open(&users.data_dir).map_err(|error| Error::start(error.to_string()))?;
        let sqlite = Arc::new(sqlite);
        let about = format!("SQLite in {}, schema {}", users.data_dir.display(), store::sqlite::SCHEMA);
        return Ok(Record { records: Arc::clone(&sqlite) as Arc<dyn Records>, store: sqlite, about });
    };
    let at = format!("PostgreSQL at {}", url.place());
    let config = PostgresConfig::new(url.reveal(), &users.data_dir);
    let postgres = Arc::new(connect(config, &at, patience).await?);
    let about = format!("{at}, schema {}", store::postgres::SCHEMA);
    Ok(Record { records: Arc::clone(&postgres) as Arc<dyn Records>, store: postgres, about })
}

/// Connects; a database that cannot be reached is tried again while the patience lasts, every 5 s at last.
async fn connect(config: PostgresConfig, at: &str, patience: Duration) -> Result<PostgresStore, Error> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(250);
    loop {
        let error = match PostgresStore::connect(config.clone()).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        let left = patience.saturating_sub(begun.elapsed());
        match error {
            ConnectError::Address(_) | ConnectError::Tls => {
                return Err(Error::usage(format!(
                    "{error} (--database-url, BOOCODER_DATABASE_URL or database_url)"
                )));
            }
            _ if error.class() == Class::GiveUp => return Err(Error::start(format!("{at}: {error}"))),
            _ if left.is_zero() => {
                return Err(Error::start(format!(
                    "{at}: {error}; start the database, or name another one with --database-url, \
                     BOOCODER_DATABASE_URL or database_url in the configuration"
                )));
            }
            _ => {
                tracing::warn!(%error, store = at, "the record cannot be reached; trying for {} s more", left.as_secs());
                tokio::time::sleep(pause.min(left)).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

impl App {
    /// Opens the record and reads the configuration that holds where the command was given.
    pub async fn open(globals: &Globals) -> Result<Self, Error> {
        Self::open_with(globals, Whose::Repository, Duration::ZERO).await
    }

    /// Opens the record for a service, which belongs to no repository: none has a say in how it works. Waits
    /// so long for a database that cannot be reached.
    pub async fn open_service(globals: &Globals, patience: Duration) -> Result<Self, Error> {
        Self::open_with(globals, Whose::User, patience).await
    }

    async fn open_with(globals: &Globals, whose: Whose, patience: Duration) -> Result<Self, Error> {
        let users = config::load(globals, None)?;
        let Record { store, records, about } = open_record(&users, patience).await?;
        let fence = users.database_url.is_some().then_some(FENCE);
        let data_dir = users.data_dir.clone();
        let worktrees = Worktrees::open(&data_dir.join("worktrees"), Policy::default())
            .map_err(|error| Error::start(with_advice(&error)))?;
        let repository = find_repository(&worktrees, globals);
        let Loaded { config, files, remarks, .. } = match whose {
            Whose::Repository => config::load(globals, repository.as_ref().ok().and_then(Project::root))?,
            Whose::User => users,
        };
        let registry = Arc::new(agents::registry(&config, &files)?);
        let mut launcher = Launcher::new(Supervisor::SelfExe);
        launcher.fence = fence;
        Ok(Self {
            config,
            data_dir,
            records,
            store,
            about_store: about,
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

    /// Joins the record as a node, settles what dead ones left, and begins to tidy up after them.
    pub async fn node(&self, publisher: Arc<dyn Publisher>, role: &str) -> Result<(Node, Tidying), Error> {
        let id = NodeId::from_random(random_bytes());
        let data = tidy::data_tag(&self.data_dir)?;
        let agents: Arc<dyn Agents> = Arc::new(self.agents()?);
        let ports = Ports {
            store: Arc::clone(&self.store),
            workspace: Arc::new(DispatchWorkspace::new(self.worktrees.clone())),
            agents,
            publisher,
        };
        #[cfg(debug_assertions)]
        let ports = crate::halt::ports(ports);
        let turns = TurnConfig {
            limits: self.config.limits.turn(),
            rules: self.config.permission_rules.clone().into(),
            run_tag: data.clone(),
            // Who sits in front of a run hears at once that an agent is missing.
            may_fall_back: role == SERVES,
        };
        let node = Node::join(ports, NodeConfig { id, label: label(role), turns }).await?;
        node.recover().await?;
        Ok((node, self.tidy(data)))
    }

    /// Begins to tidy up after dead nodes, whose turns were recovered.
    pub fn tidy(&self, data_tag: String) -> Tidying {
        Tidying::begin(self.data_dir.clone(), data_tag, self.worktrees.clone(), Arc::clone(&self.records))
    }

    /// The recorded project of a repository, by its top folder.
    pub async fn ensure_project(
        &self,
        repository: &Path,
        name: Option<String>,
    ) -> Result<task::Project, Error> {
        let last = repository.file_name().unwrap_or(repository.as_os_str());
        let name = name.unwrap_or_else(|| last.to_string_lossy().into_owned());
        let new = NewProject { name, path: Some(repository.to_owned()) };
        Ok(self.records.ensure_project(new).await?)
    }
}

/// What people read of a node: what it is for, and where it runs.
fn label(role: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{role} on {}, process {}", host.trim(), std::process::id())
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
