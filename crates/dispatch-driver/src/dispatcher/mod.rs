//! Runs tasks as they come (SPEC 2).
//!
//! One [`Dispatcher`] claims for one node at a time, in passes that never overlap: woken by the record, by
//! its poll, by a slot that became free and by what recovery put back, however often, it makes one more
//! pass. Its turns run side by side, each told of Stops and of a shutdown through its node.
//!
//! A node whose lease is lost retires: its turns end, it leaves, and the dispatcher joins as another one. So
//! does a node that lost a turn to its store: nobody may settle that turn as long as the node lives, and
//! whoever keeps a lease for a turn that it gave up keeps its session for ever. In that case the others of
//! its turns go on to their ends under it, while a new node claims already.

mod claims;
mod config;
mod nodes;
mod run;
mod stage;
mod turns;

pub use config::{DispatcherConfig, Shutdown, Summary};
pub use run::Dispatcher;
