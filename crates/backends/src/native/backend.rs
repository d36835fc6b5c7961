//! Turns without an agent's program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ports::{Backend, Opened, SessionSpec};
use dispatch_core::profile::BackendProfile;
use dispatch_core::task::{Name, TerminalReason};

use super::client::Api;
use super::control::{Link, NativeControl};
use super::profile::NATIVE;
use super::session::NativeSession;
use super::settings::NativeSettings;
use super::tools::Tools;
use crate::acp::terminals::CommandSpawner;
use crate::common::open::{turn_tag, worktree_env};
use crate::common::profile::with_grace;
use crate::registry::{AgentEntry, Quirks, Ways};

/// Native inference: our own loop on an OpenAI-compatible service.
pub struct NativeInference {
    settings: NativeSettings,
    profile: &'static BackendProfile,
    /// Made when it is first needed: it reads the machine's certificates.
    api: OnceLock<Result<Api, String>>,
}

impl NativeInference {
    /// With these settings. Nothing is asked of the service yet.
    #[must_use]
    pub fn new(settings: NativeSettings) -> Self {
        let profile = with_grace(&NATIVE, settings.grace);
        Self { settings, profile, api: OnceLock::new() }
    }

    fn api(&self) -> Result<Api, Failure> {
        let api = self.api.get_or_init(|| Api::new(&self.settings)).clone();
        api.map_err(|text| Failure::new(TerminalReason::CouldNotStart, text))
    }
}

#[async_trait]
impl Backend for NativeInference {
    fn profile(&self) -> &'static BackendProfile {
        self.profile
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let api = self.api()?;
        let tag = turn_tag(&spec)?;
        let launcher = self.settings.launcher.clone();
        let commands = CommandSpawner::new(launcher, entry(), worktree_env(&spec.cwd), tag);
        let commands = Arc::new(commands);
        let tools = if spec.cwd.as_os_str().is_empty() {
            None
        } else {
            let tools = Tools::open(&spec.cwd, Arc::clone(&commands) as _, self.settings.limits);
            let failed = |error| {
                let text = format!("the worktree {} cannot be opened: {error}", spec.cwd.display());
                Failure::new(TerminalReason::CouldNotStart, text)
            };
            Some(tools.map_err(failed)?)
        };
        let link = Arc::new(Link::new(tools));
        let control = Arc::new(NativeControl(Arc::clone(&link)));
        let session = NativeSession::new(self.settings.clone(), spec, api, link, commands);
        Ok(Opened { session: Box::new(session), control })
    }

    /// Opening starts nothing.
    async fn undone(&self) {}
}

/// What the model's commands are started as: an agent that has nothing of its own, and sees no key.
fn entry() -> AgentEntry {
    AgentEntry {
        name: Name::new("native").expect("because it is not empty"),
        title: "native inference".to_owned(),
        program: OsString::new(),
        ways: Ways::default(),
        env: BTreeMap::new(),
        pass: Vec::new(),
        install: String::new(),
        version_args: Vec::new(),
        quirks: Quirks::default(),
    }
}
