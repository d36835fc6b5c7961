//! The PostgreSQL record: the common contract, and what only holds for a server and its connections.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

mod subject;

use subject::PostgresSubject;

conformance::store_conformance!(contract, PostgresSubject::fresh());
