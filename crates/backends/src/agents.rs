//! The dispatcher's `Agents` port, over the registry.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use dispatch_core::agent::AgentCommand;
use dispatch_core::ports::{Agents, Backend};
use dispatch_core::routing::{AgentFacts, Route, Routes};
use dispatch_core::task::Name;

use crate::acp::{AcpOnce, AcpSettings};
use crate::registry::Registry;

/// The agents of a [`Registry`], and the routes that are built: one-shot ACP.
pub struct RegisteredAgents {
    registry: Arc<Registry>,
    path: Option<OsString>,
    acp_once: Arc<AcpOnce>,
    commands: Arc<KnownCommands>,
}

/// The slash commands that agents have announced, by the agents' names. The last announcement counts.
#[derive(Default)]
pub(crate) struct KnownCommands(Mutex<HashMap<Name, Vec<AgentCommand>>>);

impl KnownCommands {
    /// Remembers an announcement; an empty one is none.
    pub(crate) fn learn(&self, agent: &Name, commands: &[AgentCommand]) {
        if !commands.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(agent.clone(), commands.to_vec());
        }
    }

    fn of(&self, agent: &Name) -> Vec<AgentCommand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(agent).cloned().unwrap_or_default()
    }
}

impl RegisteredAgents {
    /// Reaches the registry's agents with these settings.
    #[must_use]
    pub fn new(registry: Arc<Registry>, settings: AcpSettings) -> Self {
        let commands = Arc::new(KnownCommands::default());
        let path = settings.launcher.variable("PATH").cloned();
        let acp_once = Arc::new(AcpOnce::new(Arc::clone(&registry), settings, Arc::clone(&commands)));
        Self { registry, path, acp_once, commands }
    }

    /// What is known of the agents.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Agents for RegisteredAgents {
    fn facts(&self, agent: &Name) -> AgentFacts {
        match self.registry.get(agent.as_str()) {
            None => AgentFacts::Unknown { hint: self.registry.unknown_hint() },
            Some(entry) => match Registry::installed(entry, self.path.as_deref()) {
                None => AgentFacts::NotInstalled { hint: entry.install.clone() },
                Some(_) => AgentFacts::Installed { by: entry.routes },
            },
        }
    }

    fn available(&self) -> Routes {
        Routes::of(&[Route::OneShotAcp])
    }

    fn backend(&self, route: Route) -> Option<Arc<dyn Backend>> {
        match route {
            Route::OneShotAcp => Some(Arc::clone(&self.acp_once) as Arc<dyn Backend>),
            _ => None,
        }
    }

    fn commands(&self, agent: &Name) -> Vec<AgentCommand> {
        self.commands.of(agent)
    }
}
