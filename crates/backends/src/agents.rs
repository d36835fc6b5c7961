//! The dispatcher's `Agents` port, over the registry and the backends that are built.

use std::ffi::OsString;
use std::sync::Arc;

use async_trait::async_trait;
use dispatch_core::ids::ChatId;
use dispatch_core::ports::{Agents, Backend, WarmAgent};
use dispatch_core::routing::{AgentFacts, Route, Routes};
use dispatch_core::task::Name;
use tokio::task::JoinSet;

use crate::launch::Launcher;
use crate::pool::Keeper;
use crate::registry::Registry;

/// The agents of a [`Registry`], and the routes that were added.
pub struct RegisteredAgents {
    registry: Arc<Registry>,
    path: Option<OsString>,
    backends: Vec<Arc<dyn Backend>>,
    keepers: Vec<Arc<dyn Keeper>>,
}

impl RegisteredAgents {
    /// The registry's agents, as this launcher finds their programs, and no route yet.
    #[must_use]
    pub fn new(registry: Arc<Registry>, launcher: &Launcher) -> Self {
        let path = launcher.variable("PATH").cloned();
        Self { registry, path, backends: Vec::new(), keepers: Vec::new() }
    }

    /// With the route of this backend; it takes the place of one that was added before.
    #[must_use]
    pub fn with(mut self, backend: Arc<dyn Backend>) -> Self {
        let route = backend.profile().route;
        self.backends.retain(|known| known.profile().route != route);
        self.backends.push(backend);
        self
    }

    /// With the pool in which backends keep what outlives a turn.
    #[must_use]
    pub fn keeping(mut self, keeper: Arc<dyn Keeper>) -> Self {
        self.keepers.push(keeper);
        self
    }

    /// What is known of the agents.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

#[async_trait]
impl Agents for RegisteredAgents {
    fn facts(&self, agent: &Name) -> AgentFacts {
        match self.registry.get(agent.as_str()) {
            None => AgentFacts::Unknown { hint: self.registry.unknown_hint() },
            Some(entry) => match Registry::installed(entry, self.path.as_deref()) {
                None => AgentFacts::NotInstalled { hint: entry.install.clone() },
                Some(_) => AgentFacts::Installed { by: entry.ways.routes() },
            },
        }
    }

    fn available(&self) -> Routes {
        Routes::of(&self.backends.iter().map(|backend| backend.profile().route).collect::<Vec<_>>())
    }

    fn backend(&self, route: Route) -> Option<Arc<dyn Backend>> {
        self.backends.iter().find(|backend| backend.profile().route == route).cloned()
    }

    fn warm(&self) -> Vec<WarmAgent> {
        self.keepers.iter().flat_map(|keeper| keeper.warm()).collect()
    }

    async fn close_chats(&self, chats: &[ChatId]) {
        // One waits for its turns, and must not keep the others from being told.
        let mut closing = JoinSet::new();
        for keeper in &self.keepers {
            let (keeper, chats) = (Arc::clone(keeper), chats.to_vec());
            closing.spawn(async move { keeper.close_chats(&chats).await });
        }
        closing.join_all().await;
    }

    async fn end_idle(&self) {
        for keeper in &self.keepers {
            keeper.end_idle().await;
        }
    }

    async fn shut_down(&self) {
        for keeper in &self.keepers {
            keeper.shut_down().await;
        }
    }
}
