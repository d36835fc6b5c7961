//! Agents that are kept between turns, one process per chat and agent.

use std::sync::Arc;
use std::time::Duration;

use acp_proto::client::{Client, Event, PermissionAnswer};
use acp_proto::{RawJson, RequestId, method};
use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ports::{Backend, Opened, SessionSpec};
use dispatch_core::profile::BackendProfile;
use serde_json::json;

use super::backend;
use super::process::{AcpProcess, Wire};
use super::profile::ACP_WARM;
use super::settings::AcpSettings;
use crate::common::profile::with_grace;
use crate::common::{open, words};
use crate::pool::{Ending, Key, Pool, Warm};
use crate::registry::Registry;

/// What an agent may say between two turns, in bytes. A history, or the rest of a cancelled answer, is less.
const BETWEEN_TURNS: u64 = 16 * 1024 * 1024;
/// How many events are taken at once before a turn; a full inbox has fewer.
const MOST_AT_A_LOOK: usize = 8192;
/// How long an agent may take to forget a closed conversation.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Warm ACP: each chat has a process for each of its agents, in the session's worktree, which is kept between turns.
pub struct AcpWarm {
    registry: Arc<Registry>,
    settings: AcpSettings,
    pool: Arc<Pool>,
    profile: &'static BackendProfile,
}

impl AcpWarm {
    /// Reaches the registry's agents with these settings, and keeps them in this pool.
    #[must_use]
    pub fn new(registry: Arc<Registry>, settings: AcpSettings, pool: Arc<Pool>) -> Self {
        let profile = with_grace(&ACP_WARM, settings.grace);
        Self { registry, settings, pool, profile }
    }
}

#[async_trait]
impl Backend for AcpWarm {
    fn profile(&self) -> &'static BackendProfile {
        self.profile
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let entry = open::entry(&self.registry, &spec)?;
        let command = backend::command(&self.settings, &entry)?;
        let tag = open::warm_tag(&spec)?;
        let key = Key { route: ACP_WARM.route, agent: entry.name.clone(), chat: Some(spec.chat) };
        let unfit = |kept: &AcpProcess| kept.unfit(&command, &spec);
        let start = AcpProcess::spawn(&self.settings, entry, &command, &spec, tag);
        let lease = self.pool.get(&key, unfit, start).await?;
        let process = Arc::clone(lease.warm());
        process.memory.goes_on(&spec);
        process.terminals.reopen();
        Ok(backend::opened(process, Some(lease), spec).await)
    }

    async fn undone(&self) {
        self.settings.launcher.undone().await;
    }
}

#[async_trait]
impl Warm for AcpProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn idle(&self) -> String {
        let mut wire = self.wire.lock().await;
        let most = self.read.bytes() + BETWEEN_TURNS;
        loop {
            let is_open = wire.listen().await;
            self.pass_over(&mut wire);
            if !is_open {
                return words::ending(wire.exit().await);
            }
            if self.read.bytes() > most {
                return "did not stop talking between two turns".to_owned();
            }
        }
    }

    async fn is_well(&self) -> bool {
        let mut wire = self.wire.lock().await;
        let Wire { events, taken, .. } = &mut *wire;
        events.try_recv_many(taken, MOST_AT_A_LOOK);
        let is_closed = taken.iter().any(|event| matches!(event, Event::Closed { .. }));
        self.pass_over(&mut wire);
        !is_closed && !self.process.has_ended() && is_running(self.pid)
    }

    async fn end(&self, how: Ending) {
        if how != Ending::Kill {
            let mut wire = self.wire.lock().await;
            if how == Ending::ChatClosed {
                self.close_conversation(&mut wire).await;
            }
            self.let_go(&mut wire).await;
        }
        self.kill().await;
    }
}

impl AcpProcess {
    /// What an agent says between turns belongs to none of them; what lasts is learned, what is asked is refused.
    fn pass_over(&self, wire: &mut Wire) {
        let Wire { taken, conversation, .. } = wire;
        for event in taken.drain(..) {
            match (event, conversation.as_mut()) {
                (Event::Update(update), Some(conversation)) if *update.session_id == *conversation.id => {
                    conversation.learn(&update);
                }
                (Event::Notification(notification), Some(conversation)) => {
                    conversation.notified(&notification);
                }
                (Event::Permission { id, .. }, _) => refuse(&self.client, id),
                _ => {}
            }
        }
    }

    /// Tells the agent to forget its conversation's resources, where it can.
    async fn close_conversation(&self, wire: &mut Wire) {
        let can = |wire: &Wire| {
            let hello = wire.hello.as_ref()?;
            hello.agent.agent_capabilities.session_capabilities.close.as_ref()?;
            wire.conversation.as_ref().map(|conversation| conversation.id.clone())
        };
        let Some(session) = can(wire) else { return };
        let Ok(params) = RawJson::encode(&json!({ "sessionId": session })) else { return };
        let closing = self.client.request(method::SESSION_CLOSE, params, CLOSE_LIMIT);
        if let Err(error) = wire.deaf_until(closing).await {
            tracing::debug!(agent = %self.entry.name, %error, "a conversation was not closed");
        }
    }
}

/// Whether a process that nobody has reported as ended runs: that may have been a moment ago.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): the state follows the name, which may hold anything, in brackets.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A task, since an agent that reads nothing makes it wait.
fn refuse(client: &Client, id: RequestId) {
    let client = client.clone();
    tokio::spawn(async move {
        if let Err(error) = client.answer_permission(&id, PermissionAnswer::Cancelled).await {
            tracing::debug!(%error, "a permission request needed no answer any more");
        }
    });
}
