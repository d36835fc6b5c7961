//! Finding the node's server, or starting it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ids::SessionId;
use dispatch_core::ports::{Backend, Opened, SessionSpec};
use dispatch_core::profile::BackendProfile;
use dispatch_core::routing::Route;
use dispatch_core::task::TerminalReason;
use tokio::time::timeout;

use super::api::Api;
use super::control::{Link, OpencodeControl};
use super::profile::OPENCODE_SERVER;
use super::server::Server;
use super::session::OpencodeSession;
use super::settings::OpencodeSettings;
use crate::common::{open, profile, words};
use crate::pool::{Key, Lease, Pool};
use crate::registry::{AgentEntry, Registry};

/// opencode as an HTTP server: one for all turns, kept between them.
pub struct OpencodeServer {
    registry: Arc<Registry>,
    settings: OpencodeSettings,
    pool: Arc<Pool>,
    profile: &'static BackendProfile,
    /// Those that turns have used.
    servers: Mutex<Vec<Weak<Server>>>,
}

impl OpencodeServer {
    /// Reaches the registry's opencode with these settings, and keeps its server in this pool.
    #[must_use]
    pub fn new(registry: Arc<Registry>, settings: OpencodeSettings, pool: Arc<Pool>) -> Self {
        let profile = profile::with_grace(&OPENCODE_SERVER, settings.grace);
        Self { registry, settings, pool, profile, servers: Mutex::default() }
    }

    /// A share of the server, which is started if there is none.
    async fn lease(&self, entry: &AgentEntry, spec: &SessionSpec) -> Result<Lease<Server>, Failure> {
        let key = Key { route: Route::OpencodeServer, agent: entry.name.clone(), chat: None };
        let args = entry.ways.opencode_server.as_deref().unwrap_or_default();
        loop {
            let command = self.settings.launcher.command(entry, args)?;
            let start = Server::start(entry, &command, &self.settings, &spec.run_tag);
            let unfit = |kept: &Server| kept.unfit(&command, &self.settings);
            let lease = self.pool.get(&key, unfit, start).await?;
            self.remember(lease.warm());
            let Some(server) = self.cut_off_from(spec.session) else { return Ok(lease) };
            if Arc::ptr_eq(&server, lease.warm()) {
                lease.doom();
            }
            lease.give_back().await;
            self.recycled(entry, &server).await?;
        }
    }

    /// The server on which a turn of this line of work was cut off, if it is still there: new turns of others may have
    /// another one already.
    fn cut_off_from(&self, session: SessionId) -> Option<Arc<Server>> {
        let mut servers = self.servers();
        servers.retain(|server| server.strong_count() > 0);
        servers
            .iter()
            .filter_map(Weak::upgrade)
            .find(|server| server.has_cut_off(session) && !server.is_gone())
    }

    fn remember(&self, server: &Arc<Server>) {
        let mut servers = self.servers();
        if !servers.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(server))) {
            servers.push(Arc::downgrade(server));
        }
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Weak<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a server is gone on which a turn of this line of work may go on (SPEC S4).
    async fn recycled(&self, entry: &AgentEntry, server: &Server) -> Result<(), Failure> {
        let limit = self.settings.recycling;
        timeout(limit, server.gone()).await.map(drop).map_err(|_| {
            let text = format!(
                "agent {}: the turn before this one did not stop when it was asked, and its server is ended only when \
                 no other turn runs on it, which was not so within {}",
                entry.name,
                words::time(limit)
            );
            Failure::new(TerminalReason::CouldNotStart, text)
        })
    }
}

#[async_trait]
impl Backend for OpencodeServer {
    fn profile(&self) -> &'static BackendProfile {
        self.profile
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let entry = open::entry(&self.registry, &spec)?;
        let directory = spec.cwd.to_str().filter(|path| !path.is_empty()).ok_or_else(|| {
            let path = spec.cwd.display();
            let text = format!(
                "the worktree's path cannot be sent to opencode: {path:?}; choose another data folder"
            );
            Failure::new(TerminalReason::CouldNotStart, text)
        })?;
        let directory = directory.to_owned();
        let lease = self.lease(&entry, &spec).await?;
        let server = Arc::clone(lease.warm());
        let api = Api::new(server.http.clone(), directory);
        let link = Arc::new(Link::new(api, server, spec.session));
        let control = Arc::new(OpencodeControl(Arc::clone(&link)));
        Ok(Opened { session: Box::new(OpencodeSession::new(entry, spec, lease, link)), control })
    }

    async fn undone(&self) {
        self.settings.launcher.undone().await;
    }
}
