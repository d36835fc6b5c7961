//! A connection to an agent, as its host.
//!
//! [`connect`] takes both ends of the agent's stdio and gives two handles: [`Client`], which can be cloned and
//! sends, and [`Events`], which hands out everything that the agent says, in wire order and many at a time.
//! Dropping [`Events`] ends the connection.
//!
//! What bounds it: the inbox stops reading the pipe when its consumer is slow, except while somebody awaits an
//! answer, which could be behind what fills the inbox (a loaded session replays its history first); even then
//! it stops at a second, higher limit. The outbox holds a bounded number of bytes, and an agent that reads
//! nothing for the write limit loses the connection. The agent's own requests are weighed while they are open,
//! and stop the reading too, or are refused while somebody awaits an answer; long [`Answer`]s to them are
//! counted by who serves them. Every request has a time limit, but for prompts, whose end arrives as an event.

mod calls;
mod config;
mod connection;
mod error;
mod event;
mod handler;
mod inbound;
mod inbox;
mod outbox;
mod reader;
mod shared;
mod typed;

pub use calls::{CallId, StrayReason};
pub use config::{Config, TimeLimits};
pub use connection::{Client, Events, connect};
pub use error::{AnswerError, CallError, CloseReason};
pub use event::{Event, Stray};
pub use handler::{Answer, RefuseAll, RequestHandler};
pub use inbound::PermissionAnswer;
