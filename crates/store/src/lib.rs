//! The durable record: queue, conversations, frames and changes.
//!
//! Each engine has a folder of its own, with the feature of its name; what rows mean and how a turn without
//! its node ends is the same for all of them.

mod end;
mod fault;
mod fresh;
mod recovery;
mod rows;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, SqliteStore};
