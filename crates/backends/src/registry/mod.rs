//! The agents, as data: what they are called, how they are started, what they may see, and how they differ.
//!
//! Nothing else in the workspace knows an agent by its name.

mod entry;
mod find;
mod list;
mod shipped;
mod version;

pub use entry::{AgentEntry, Quirks, Transport};
pub use find::find_program;
pub use list::{Registry, RegistryError, UserAgent};
pub use version::VersionError;
