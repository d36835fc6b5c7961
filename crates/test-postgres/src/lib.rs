//! A real PostgreSQL server for a test run, and an empty database for each test.
//!
//! `cargo xtask test` starts one [`Cluster`] for all tests and names it in [`URL_VARIABLE`]; a test asks for
//! a [`Database`] and never knows. Without that variable, for example below a bare `cargo nextest run`, each
//! test process starts a server of its own, which takes a second or two. A test that stops and starts its
//! server has a [`Cluster`] of its own in either case.
//!
//! Nothing stays behind: a server and its folder go with the process that started them, also when that is
//! killed (see [`Cluster`]).
//!
//! The standard library is all that is used, as `xtask` builds this first on a bare machine. Everything
//! blocks; the server's own programs (`initdb`, `pg_ctl`, `psql`) do the work.
//!
//! ```no_run
//! let database = test_postgres::Database::create().unwrap();
//! println!("postgres is at {}", database.url());
//! ```

mod cluster;
mod failure;
mod programs;
mod server;

pub use cluster::{Cluster, Shutdown};
pub use failure::Failure;
pub use programs::Programs;
pub use server::{Database, Server, URL_VARIABLE};
