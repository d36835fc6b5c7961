//! Ways to reach an agent, and who can be reached by which.

use dispatch_core::routing::Route as Way;

use crate::real_agents::{CLAUDE, CODEX, GEMINI, GOOSE, OPENCODE, QWEN, RealAgent};

/// Who does the work.
#[derive(Debug, Clone, Copy)]
pub enum Worker {
    /// An agent's program.
    Agent(&'static RealAgent),
    /// boocoder's own loop.
    Native,
}

/// All of them, in the docs' order.
pub static WORKERS: [Worker; 7] = [
    Worker::Agent(&OPENCODE),
    Worker::Agent(&GOOSE),
    Worker::Agent(&CLAUDE),
    Worker::Agent(&QWEN),
    Worker::Agent(&GEMINI),
    Worker::Agent(&CODEX),
    Worker::Native,
];

impl Worker {
    /// In the docs' word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent(agent) => agent.name,
            Self::Native => "native",
        }
    }
}

/// A way to reach an agent, as a user takes it.
#[derive(Debug)]
pub struct Route {
    /// As the docs call it.
    pub name: &'static str,
    /// As the record calls it.
    pub way: Way,
    /// What a task names who works on this route; `Err` says why it cannot be reached by it.
    pub called: fn(Worker) -> Result<&'static str, &'static str>,
}

/// All of them, in the order of SPEC 3.
pub static ROUTES: [&Route; 6] =
    [&NATIVE, &OPENCODE_SERVER, &CLAUDE_SDK, &WARM_ACP, &ONE_SHOT_ACP, &ONE_SHOT_CLI];

/// No agent: boocoder asks the model.
pub static NATIVE: Route = Route {
    name: "native inference",
    way: Way::Native,
    called: |worker| match worker {
        Worker::Native => Ok("native"),
        Worker::Agent(_) => Err("no agent takes part in it"),
    },
};

/// opencode's HTTP server.
pub static OPENCODE_SERVER: Route = Route {
    name: "opencode server",
    way: Way::OpencodeServer,
    called: |worker| match program(worker)?.name {
        "opencode" => Ok("opencode"),
        _ => Err("the server is opencode's own"),
    },
};

/// Claude Code's control protocol.
pub static CLAUDE_SDK: Route = Route {
    name: "Claude SDK",
    way: Way::ClaudeSdk,
    called: |worker| match program(worker)?.name {
        "claude" => Ok("claude"),
        _ => Err("the protocol is Claude Code's own"),
    },
};

/// A process for each chat, which speaks ACP.
pub static WARM_ACP: Route =
    Route { name: "warm ACP", way: Way::WarmAcp, called: |worker| Ok(program(worker)?.acp_program) };

/// A process for each turn, which speaks ACP.
pub static ONE_SHOT_ACP: Route =
    Route { name: "one-shot ACP", way: Way::OneShotAcp, called: |worker| Ok(program(worker)?.acp_program) };

/// A process for each turn, which is given one prompt.
pub static ONE_SHOT_CLI: Route =
    Route { name: "one-shot CLI", way: Way::OneShotPty, called: |worker| Ok(program(worker)?.name) };

fn program(worker: Worker) -> Result<&'static RealAgent, &'static str> {
    match worker {
        Worker::Agent(agent) => Ok(agent),
        Worker::Native => Err("it is no program"),
    }
}

impl Route {
    /// The configuration that leaves a task no other route.
    #[must_use]
    pub fn config(&self) -> String {
        let switches = Way::ALL.iter().filter(|way| **way != Way::Native);
        let lines = switches.map(|way| format!("{way} = {}\n", *way == self.way));
        format!("[routes]\n{}", lines.collect::<String>())
    }

    /// Whether a process is kept between the turns of a chat.
    #[must_use]
    pub const fn keeps_a_process(&self) -> bool {
        matches!(self.way, Way::OpencodeServer | Way::ClaudeSdk | Way::WarmAcp)
    }
}
