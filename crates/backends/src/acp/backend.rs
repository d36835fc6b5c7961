//! Starting agents, one process per turn.

use std::ffi::OsString;
use std::sync::Arc;

use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ports::{Backend, Opened, SessionSpec};
use dispatch_core::profile::BackendProfile;

use super::control::{AcpControl, Link};
use super::process::AcpProcess;
use super::profile::ACP_ONCE;
use super::session::AcpSession;
use super::settings::AcpSettings;
use crate::common::open;
use crate::common::profile::with_grace;
use crate::pool::Lease;
use crate::registry::{AgentEntry, Registry};

/// One-shot ACP: each turn has a process of its own, in its worktree, gone when the session is closed.
pub struct AcpOnce {
    registry: Arc<Registry>,
    settings: AcpSettings,
    profile: &'static BackendProfile,
}

impl AcpOnce {
    /// Reaches the registry's agents with these settings.
    #[must_use]
    pub fn new(registry: Arc<Registry>, settings: AcpSettings) -> Self {
        let profile = with_grace(&ACP_ONCE, settings.grace);
        Self { registry, settings, profile }
    }
}

#[async_trait]
impl Backend for AcpOnce {
    fn profile(&self) -> &'static BackendProfile {
        self.profile
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let entry = open::entry(&self.registry, &spec)?;
        let command = command(&self.settings, &entry)?;
        let tag = open::turn_tag(&spec)?;
        let process = AcpProcess::spawn(&self.settings, entry, &command, &spec, tag).await?;
        Ok(opened(Arc::new(process), None, spec).await)
    }

    async fn undone(&self) {
        self.settings.launcher.undone().await;
    }
}

/// The command that makes an agent speak ACP.
pub(super) fn command(settings: &AcpSettings, entry: &AgentEntry) -> Result<Vec<OsString>, Failure> {
    settings.launcher.command(entry, entry.ways.acp.as_deref().unwrap_or_default())
}

/// A turn on a process.
pub(super) async fn opened(
    process: Arc<AcpProcess>,
    lease: Option<Lease<AcpProcess>>,
    spec: SessionSpec,
) -> Opened {
    let link = Arc::new(Link::new(&process));
    let control = Arc::new(AcpControl(Arc::clone(&link)));
    let session = AcpSession::new(process, lease, spec, link).await;
    Opened { session: Box::new(session), control }
}
