//! The durable record: queue, conversations, frames and changes.
//!
//! Each engine has a folder of its own, with the feature of its name; what rows mean and how a turn without
//! its node ends is the same for all of them. Without an engine the crate is empty.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod admission;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod end;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod fault;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod fresh;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod node_lock;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod noted;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod prefix;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod recovery;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod rows;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use node_lock::is_node_running;
#[cfg(feature = "postgres")]
pub use postgres::{ConnectError, PostgresConfig, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, SqliteStore};
