//! A worktree from its making to its removal.

mod admin;
mod create;
mod handle;
mod record;
pub(crate) mod remove;

pub use create::Base;
pub(crate) use create::create;
pub(crate) use handle::open;
pub use handle::{BaseRef, Worktree};
pub use record::Kind;
pub(crate) use record::{Record, State};
pub use remove::RemovalReceipt;
