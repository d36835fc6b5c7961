//! The PostgreSQL record: the common contract, and what only holds for a server and its connections.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

mod crowd;
mod lease;
mod lost_answers;
mod opening;
mod plans;
mod proxy;
mod races;
mod restart;
mod subject;
mod wakeups;
mod work;

use subject::PostgresSubject;

conformance::store_conformance!(contract, PostgresSubject::fresh());
