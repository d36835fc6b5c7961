//! opencode as an HTTP server: one `opencode serve` for all turns of this node (SPEC 3, 7).
//!
//! The server is started at the first turn (`server.rs`), proven to be ours before it is used (`proof.rs`), and kept
//! by the pool. One stream of events (`feed.rs`) serves all conversations; each event goes to the inbox of the turn
//! that it is about (`inbox.rs`), where it is translated (`translate.rs`): text (`texts.rs`), tool calls (`tool.rs`),
//! tokens (`usage.rs`), and how far the turn is (`progress.rs`). What the stream lost, by a break or because a turn was
//! too slow for its inbox, is asked for again (`snapshot.rs`). A turn goes through `backend.rs`, `start.rs`, and
//! `session.rs`; `control.rs` is the other hand on it.
//!
//! # What opencode 1.18 does, and what follows
//!
//! - Text streams as events and is stored when a part is complete: an answer to `GET …/message` holds nothing of a
//!   part that is being written. After a gap such a part is therefore shown when it is complete, whole.
//! - It takes its password from its environment only, which its commands inherit: what an agent runs can speak to the
//!   server. The password keeps other users out, not the agent itself (`docs/agents.md` says what that means).
//! - The agents that a turn starts (tool `task`) have conversations of their own, whose permission requests hold up
//!   the turn: they are answered as the turn's own are.
//! - Its tool `question` waits for a person for ever: questions are declined.

mod api;
mod backend;
mod control;
mod failure;
mod feed;
mod http;
mod inbox;
mod message_id;
mod offers;
mod profile;
mod progress;
mod proof;
mod rows;
mod server;
mod session;
mod settings;
mod snapshot;
mod start;
mod texts;
mod tool;
mod translate;
mod usage;
mod wire;

pub use backend::OpencodeServer;
pub use profile::OPENCODE_SERVER;
pub use progress::Standing;
pub use settings::OpencodeSettings;
pub use translate::Translator;
pub use wire::Kind;
