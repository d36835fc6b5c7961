//! Which agent a task is for.

use backends::registry::Registry;
use dispatch_core::task::Name;

use super::App;
use crate::exit::Error;

/// What names native inference where an agent may be named.
const NATIVE: &str = "native";

/// Who is to do a task.
pub enum Wanted {
    /// This agent.
    Agent(Name),
    /// Native inference.
    Native,
}

impl Wanted {
    /// The agent's name.
    pub const fn name(&self) -> Option<&Name> {
        match self {
            Self::Agent(name) => Some(name),
            Self::Native => None,
        }
    }
}

impl App {
    /// The agent that was asked for, on the command line or in the configuration.
    pub fn wanted_agent(&self, named: Option<&str>) -> Result<Option<Wanted>, Error> {
        let Some(wanted) = named.or(self.config.agent.as_deref()) else { return Ok(None) };
        let name = Name::new(wanted).ok_or_else(|| Error::usage("the agent's name is empty"))?;
        if name.as_str() != NATIVE {
            return Ok(Some(Wanted::Agent(name)));
        }
        match self.config.native.endpoint {
            Some(_) => Ok(Some(Wanted::Native)),
            None => Err(Error::usage(
                "native inference needs an endpoint: set `endpoint` below [native] in boocoder.toml, or \
                 BOOCODER_NATIVE__ENDPOINT, as http://127.0.0.1:8080/v1",
            )),
        }
    }

    /// How to install an agent that is not on this machine.
    pub fn missing(&self, agent: &Name) -> Option<String> {
        let Some(entry) = self.registry.get(agent.as_str()) else {
            return Some(self.registry.unknown_hint());
        };
        let path = self.launcher.variable("PATH").map(AsRef::as_ref);
        Registry::installed(entry, path).is_none().then(|| entry.install.clone())
    }

    /// The first agent that is installed, else the demo agent; says which.
    pub fn default_agent(&self) -> Result<Wanted, Error> {
        let path = self.launcher.variable("PATH").cloned();
        let entry = self.registry.first_installed(path.as_deref()).ok_or_else(|| {
            Error::start("no agent is installed; `boocoder doctor` says how to install one")
        })?;
        complain!("boocoder: no agent named; using {} ({})", entry.name, entry.title);
        Ok(Wanted::Agent(entry.name.clone()))
    }

    /// The agent to run here and now.
    pub fn choose_agent(&self, named: Option<&str>) -> Result<Wanted, Error> {
        let Some(wanted) = self.wanted_agent(named)? else { return self.default_agent() };
        let missing = wanted.name().and_then(|name| Some((name, self.missing(name)?)));
        match missing {
            None => Ok(wanted),
            Some((name, hint)) => Err(Error::usage(format!("agent {name} is not installed: {hint}"))),
        }
    }
}
