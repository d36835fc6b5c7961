//! Real agents, each in an environment of its own that knows one model server and nothing else.
//!
//! The programs come from `target/tools`, where `cargo xtask tools` installs them in the versions that
//! `tools/package-lock.json` names. Nothing of the user's own configuration is read, and nothing is
//! written outside the folder given. All of it works for root, too.
//!
//! ```no_run
//! use boocoder_tests::{
//!     model_server::ModelServer,
//!     real_agents::{AGENTS, Approval, Site},
//! };
//!
//! let (server, dir) = (ModelServer::start(), tempfile::tempdir().unwrap());
//! for agent in AGENTS {
//!     let site = Site { model_url: &server.url(), dir: &dir.path().join(agent.name), approval: Approval::Allow };
//!     let start = agent.once(&site, "say hello");
//!     // … start.to_command(), with start.input on its standard input …
//! }
//! ```

mod agent;
mod table;

pub use agent::{Approval, RealAgent, Site, Start, tool};
pub use table::{AGENTS, CLAUDE, CODEX, GEMINI, GOOSE, OPENCODE, QWEN};
