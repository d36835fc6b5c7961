//! What may be set of one-shot and warm ACP alike.

use std::time::Duration;

use acp_proto::client::Config;

use super::profile::GRACE;
use crate::launch::Launcher;

/// How agents are started and how long they are waited for.
#[derive(Debug, Clone)]
pub struct AcpSettings {
    /// How programs are started.
    pub launcher: Launcher,
    /// How long an agent may take to obey `session/cancel` (SPEC S4). 10 s.
    pub grace: Duration,
    /// The connection's limits, with the time limits of the handshake.
    pub connection: Config,
}

impl AcpSettings {
    /// The defaults, with this way to start programs.
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        // What the agent says is listened to in every phase, so that nothing needs to wait in memory for a consumer
        // that awaits an answer.
        let limits = Config::default();
        let connection = Config { inbox_while_awaited: limits.inbox, ..limits };
        Self { launcher, grace: GRACE, connection }
    }
}
