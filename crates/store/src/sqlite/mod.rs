//! The embedded store: one SQLite file in a folder that only its owner can read.
//!
//! Every process that opens the folder has one writing connection on a thread of its own, and a few that
//! read. SQLite lets one process write at a time; all writes begin with the write lock, so what a
//! transaction has looked at stays true until it ends.
//!
//! Whoever makes a task claimable rings a bell, which every process on the folder hears: a file in it whose
//! times change.
//!
//! Durability: everything survives the death of the process. A power cut may cost claims (which recovery
//! makes good) and up to a second of frames; accepted tasks, Stops, `prompt_sent` and ends are on the disk
//! when their call returns.

mod aside;
mod bell;
mod changes;
mod claim;
mod conversations;
mod create;
mod folder;
mod frames;
mod lookup;
mod node;
mod offers;
mod open;
mod open_error;
mod permissions;
mod place;
mod projects;
mod queue;
mod readers;
mod records_port;
mod recover;
mod resume;
mod sessions;
mod store;
mod store_port;
mod tasks;
mod turns;
mod warm;
mod writer;

pub use open::SCHEMA;
pub use open_error::OpenError;
pub use store::SqliteStore;
