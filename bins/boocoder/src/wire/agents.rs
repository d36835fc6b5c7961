//! The agents, and the routes to them that are switched on.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use backends::{
    RegisteredAgents,
    acp::{AcpOnce, AcpSettings, AcpWarm},
    claude_sdk::{ClaudeSdk, ClaudeSettings},
    cli::{CliOnce, CliSettings},
    native::{ApiKey, Endpoint, NativeInference, NativeSettings},
    opencode_server::{OpencodeServer, OpencodeSettings},
    pool::{Keeper, Pool},
    registry::Registry,
};
use dispatch_core::{ports::Backend, task::Name};

use super::App;
use crate::{
    config::{Config, Native},
    exit::Error,
};

impl App {
    /// The agents, as dispatch reaches them.
    pub fn agents(&self) -> Result<RegisteredAgents, Error> {
        let pool = Pool::new(self.config.pool.settings());
        let agents = RegisteredAgents::new(Arc::clone(&self.registry), &self.launcher)
            .keeping(Arc::clone(&pool) as Arc<dyn Keeper>);
        let agents = self.backends(&pool)?.into_iter().fold(agents, RegisteredAgents::with);
        Ok(match self.native()? {
            Some(native) => agents.with(native),
            None => agents,
        })
    }

    /// The routes that are switched on, but for native inference.
    fn backends(&self, pool: &Arc<Pool>) -> Result<Vec<Arc<dyn Backend>>, Error> {
        let (registry, pool) = (|| Arc::clone(&self.registry), || Arc::clone(pool));
        let on = &self.config.routes;
        let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
        if on.opencode_server {
            backends.push(Arc::new(OpencodeServer::new(registry(), self.opencode(), pool())));
        }
        if on.claude_sdk {
            let mut settings = ClaudeSettings::new(self.launcher.clone());
            settings.grace = self.grace().unwrap_or(settings.grace);
            backends.push(Arc::new(ClaudeSdk::new(registry(), settings, pool())));
        }
        if on.warm_acp {
            backends.push(Arc::new(AcpWarm::new(registry(), self.acp(), pool())));
        }
        if on.one_shot_acp {
            backends.push(Arc::new(AcpOnce::new(registry(), self.acp())));
        }
        if on.one_shot_pty {
            let mut settings = CliSettings::new(self.launcher.clone());
            settings.grace = self.grace().unwrap_or(settings.grace);
            backends.push(Arc::new(CliOnce::new(registry(), settings)));
        }
        Ok(backends)
    }

    fn grace(&self) -> Option<Duration> {
        self.config.limits.stop_grace_s.map(Duration::from_secs)
    }

    fn acp(&self) -> AcpSettings {
        let mut settings = AcpSettings::new(self.launcher.clone());
        settings.grace = self.grace().unwrap_or(settings.grace);
        if let Some(seconds) = self.config.limits.start_s {
            // Each call has the whole time; the turn's own limit, a little longer, holds for all of them.
            let limits = &mut settings.connection.time_limits;
            (limits.initialize, limits.new_session) =
                (Duration::from_secs(seconds), Duration::from_secs(seconds));
        }
        settings
    }

    fn opencode(&self) -> OpencodeSettings {
        let mut settings = OpencodeSettings::new(self.launcher.clone());
        settings.grace = self.grace().unwrap_or(settings.grace);
        settings.start = self.config.limits.start_s.map_or(settings.start, Duration::from_secs);
        settings.ceiling = Some(self.data_dir.join("worktrees"));
        settings
    }

    /// Native inference, where it has an endpoint.
    fn native(&self) -> Result<Option<Arc<dyn Backend>>, Error> {
        let Native { endpoint, api_key, model, context_size, proxy } = &self.config.native;
        let Some(endpoint) = endpoint else { return Ok(None) };
        let wrong =
            |key: &str, why: &dyn std::fmt::Display| Error::usage(format!("{key} in [native]: {why}"));
        let endpoint = Endpoint::new(endpoint).map_err(|error| wrong("endpoint", &error))?;
        let mut settings = NativeSettings::new(self.launcher.clone(), endpoint);
        settings.api_key = match api_key {
            Some(key) => Some(ApiKey::new(key.reveal()).map_err(|error| wrong("api_key", &error))?),
            None => None,
        };
        settings.default_model = model.as_deref().and_then(Name::new);
        settings.context_size = *context_size;
        settings.proxy.clone_from(proxy);
        settings.grace = self.grace().unwrap_or(settings.grace);
        Ok(Some(Arc::new(NativeInference::new(settings))))
    }
}

/// The shipped agents, the user's, and the demo agent, which is this very program.
pub fn registry(config: &Config, files: &[PathBuf]) -> Result<Registry, Error> {
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
