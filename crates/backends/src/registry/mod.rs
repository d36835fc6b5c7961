//! The agents, as data: what they are called, how they are started, what they may see, and how they differ.
//!
//! Nothing else in the workspace knows an agent by its name.

mod entry;
mod find;
mod list;
mod shipped;
mod user_quirks;
mod version;

pub use entry::{AgentEntry, Cli, Output, Quirks, Transport, Ways};
pub use find::find_program;
pub use list::{Registry, RegistryError, UserAgent};
pub use user_quirks::{MissingFileAnswer, UserQuirks};
pub use version::VersionError;
