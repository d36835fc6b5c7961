//! Native inference: our own loop on any OpenAI-compatible Chat Completions service (SPEC 3, first rows).
//!
//! A turn asks the service for its models (`session.rs`), then runs (`turn.rs`): a request with the conversation
//! (`conversation.rs`) that fits the model's context (`budget.rs`); its answer, streamed (`client/`); the tools that it
//! asks for (`calls.rs`, `tools/`); and again, until the model asks for nothing more. There is no process but the
//! commands that the model runs.
//!
//! # What a service may do
//!
//! - Send its answer as a stream or in one piece, with or without ids, indices, a count of tokens, a last event.
//! - Have no time: the request is made again, with growing pauses, or when the service says (`retry-after`); not when
//!   something of its answer was shown.
//! - Find the conversation too long: it is shortened, and asked once more.
//! - Send anything else: it ends the turn with its words, typed. It never costs more memory than the limits.

mod backend;
mod budget;
mod calls;
mod client;
mod control;
mod conversation;
mod history;
mod instructions;
mod outbox;
mod profile;
mod session;
mod settings;
mod tools;
mod totals;
mod turn;

pub use backend::NativeInference;
pub use profile::NATIVE;
pub use settings::{ApiKey, Endpoint, EndpointError, InvalidKey, NativeLimits, NativeSettings};
