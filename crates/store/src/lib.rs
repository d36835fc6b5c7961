//! The durable record: queue, conversations, frames and changes.
//!
//! Each engine has a folder of its own, with the feature of its name; what rows mean and how a turn without
//! its node ends is the same for all of them. Without an engine the crate is empty.

#[cfg(feature = "sqlite")]
mod end;
#[cfg(feature = "sqlite")]
mod fault;
#[cfg(feature = "sqlite")]
mod fresh;
#[cfg(feature = "sqlite")]
mod node_lock;
#[cfg(feature = "sqlite")]
mod recovery;
#[cfg(feature = "sqlite")]
mod rows;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, SqliteStore};
