//! Tolerant types: what the schema crate knows, and everything else as it came.
//!
//! The schema's types are used wherever they fit. They refuse a whole message for one unknown word, so the
//! words that decide something (the kind of an update, a stop reason, an option's kind) are wrapped here, and
//! every decoded value keeps the JSON that it was read from.

mod permission;
mod probe;
mod session;
mod turn;
mod update;

pub use permission::{PermissionKind, PermissionOption, PermissionRequest};
pub use session::{Initialized, ModelInfo, Models, SessionOpened};
pub use turn::{StopReason, TurnEnd, Usage};
pub use update::{Chunk, ChunkContent, SessionUpdate, Update};
