//! Faults planted around real adapters: a turn runs on the real store and real worktrees, with an agent
//! that follows a script, and any call of any port can be made to fail, to panic or to wait.

mod agent;
mod bench;
mod dispatching;
mod plan;
mod record;
mod store;
mod watcher;
mod workspace;

pub use agent::{FORGETFUL, OBEDIENT, STUBBORN, ScriptedAgent, Seen, Step};
pub use bench::{AGENT, Bench, WORK};
pub use dispatching::Dispatching;
pub use plan::{Fault, Faults, Gate, When};
pub use record::Record;
pub use store::FaultyStore;
pub use watcher::Watcher;
pub use workspace::FaultyWorkspace;
