//! Ways to reach an agent.

use crate::real_agents::RealAgent;

/// A way to reach an agent, as a user takes it.
#[derive(Debug)]
pub struct Route {
    /// As SPEC 3 calls it.
    pub name: &'static str,
    /// What the configuration needs for it.
    pub config: &'static str,
    /// The registry's name for the agent on this route; `Err` says why it cannot be reached by it.
    pub agent: fn(&RealAgent) -> Result<&'static str, &'static str>,
}

/// All that are tried.
pub static ROUTES: [&Route; 1] = [&ONE_SHOT_ACP];

/// A process for each turn, which speaks ACP.
pub static ONE_SHOT_ACP: Route = Route {
    name: "one-shot ACP",
    config: "[routes]\nopencode_server = false\nclaude_sdk = false\nwarm_acp = false\none_shot_pty = false\n",
    agent: |agent| Ok(agent.acp_program),
};
