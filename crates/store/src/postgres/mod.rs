//! The shared store: a PostgreSQL database of its own, for any number of machines.
//!
//! A pool of connections writes and reads; two more carry wake-ups. Statements are prepared once a
//! connection and sent together where one does not need another's answer, so that most calls are one or two
//! round trips.
//!
//! Locks are taken in one order everywhere: a session's row, then its tasks' rows. Whoever ends a task, or puts
//! it back, holds its session. A claim, which takes ready tasks that nobody else has, and what a turn notes on
//! its own task hold that task's row alone. What is decided behind a lock is read by a later statement.
//!
//! Durability: what a call has answered survives the death of the server, as far as it is configured so.
//! U+0000, which PostgreSQL's text cannot hold, is kept in a task's input, in frames and in parts, and shown
//! as U+2400 elsewhere.
//!
//! TLS is not built in: a server elsewhere is reached through a private network, or a tunnel.

mod aside;
mod changes;
mod claim;
mod connect;
mod conversations;
mod create;
mod db;
mod frames;
mod host;
mod listener;
mod locks;
mod node;
mod noted;
mod notifier;
mod offers;
mod permissions;
mod queue;
mod records_port;
mod recover;
mod sessions;
mod store;
mod store_port;
mod tasks;
mod text;
mod turns;
mod warm;

pub use connect::{ConnectError, PostgresConfig, SCHEMA};
pub use store::PostgresStore;

pub(crate) use db::{may_pass, said};
