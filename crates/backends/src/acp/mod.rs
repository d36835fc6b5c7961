//! Agents that speak the Agent Client Protocol: one process per turn, or one per chat and agent that is kept.
//!
//! A turn goes through these files in order: [`AcpOnce`] (`backend.rs`) starts a process (`process.rs`) or [`AcpWarm`]
//! (`warm.rs`) finds one, the handshake opens a conversation in the worktree (`start.rs`) and applies model, mode and
//! thinking option (`offers.rs`), the prompt's updates are translated (`translate.rs`), and the process is let go or
//! given back (`session.rs`). What is known of a conversation beyond its turns is in `conversation.rs`.

mod backend;
mod control;
mod conversation;
mod offers;
mod process;
mod profile;
mod session;
mod settings;
mod start;
pub(crate) mod terminals;
mod tool_call;
mod translate;
mod usage;
mod warm;

pub use backend::AcpOnce;
pub use profile::{ACP_ONCE, ACP_WARM};
pub use settings::AcpSettings;
pub use translate::Translator;
pub use warm::AcpWarm;
