//! The SQLite record: the common contract, and what only holds for files and processes.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod damage;
mod files;
mod killed;
mod subject;

use subject::SqliteSubject;

conformance::store_conformance!(contract, SqliteSubject::fresh());
