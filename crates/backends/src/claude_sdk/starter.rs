//! Taking a process from the pool for a turn, or starting one.

use std::ffi::OsString;
use std::sync::Arc;

use dispatch_core::agent::{Failure, Notice, NoticeCode};
use dispatch_core::ports::SessionSpec;
use tokio::sync::OwnedMutexGuard;

use super::process::{ClaudeProcess, Conversation, Wire};
use super::profile::CLAUDE_SDK;
use crate::launch::Launcher;
use crate::pool::{Key, Lease, Pool};
use crate::registry::AgentEntry;

/// The thinking options that it takes at its start (Claude Code 2.1.197).
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// What is needed to start a process for a turn, now or once more.
pub(super) struct Starter {
    pool: Arc<Pool>,
    pub(super) launcher: Launcher,
    pub(super) entry: AgentEntry,
    effort: Option<String>,
}

impl Starter {
    /// With no thinking option yet.
    pub(super) fn new(pool: Arc<Pool>, launcher: Launcher, entry: AgentEntry) -> Self {
        Self { pool, launcher, entry, effort: None }
    }

    /// Takes the process that is kept for the turn's chat, or starts one in this conversation.
    pub(super) async fn lend(
        &self,
        command: &[OsString],
        spec: &SessionSpec,
        conversation: Conversation,
    ) -> Result<Used, Failure> {
        let key = Key { route: CLAUDE_SDK.route, agent: self.entry.name.clone(), chat: Some(spec.chat) };
        let (entry, effort) = (self.entry.clone(), self.effort.clone());
        let start = ClaudeProcess::spawn(&self.launcher, entry, command, spec, conversation, effort);
        let unfit = |kept: &ClaudeProcess| kept.unfit(command, spec, self.effort.as_deref());
        let lease = self.pool.get(&key, unfit, start).await?;
        lease.warm().memory.goes_on(spec);
        let wire = Arc::clone(&lease.warm().wire).lock_owned().await;
        Ok(Used { lease, wire })
    }

    /// Takes over the thinking option that was asked for, if there is such a one; otherwise says so.
    pub(super) fn effort(&mut self, spec: &SessionSpec) -> Option<Notice> {
        let wanted = spec.thinking.as_ref()?;
        let known = EFFORTS.iter().find(|effort| effort.eq_ignore_ascii_case(wanted.as_str()));
        self.effort = known.map(|effort| (*effort).to_owned());
        let text = format!(
            "agent {} goes on without the thinking option `{wanted}`: it has {}",
            self.entry.name,
            EFFORTS.join(", ")
        );
        self.effort.is_none().then_some(Notice { code: NoticeCode::OptionIgnored, text })
    }
}

/// The process that a turn uses.
pub(super) struct Used {
    pub(super) lease: Lease<ClaudeProcess>,
    pub(super) wire: OwnedMutexGuard<Wire>,
}

impl Used {
    pub(super) fn process(&self) -> &Arc<ClaudeProcess> {
        self.lease.warm()
    }
}
