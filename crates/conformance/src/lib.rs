//! Each port's contract as tests, one named test per clause.
//!
//! A suite knows a port and the capabilities that it needs to test it, never an engine. An adapter runs one
//! with a line in its own tests, for example [`store_conformance!`].

// A failed expectation is what a suite is for.
#![allow(clippy::unwrap_used)]

pub mod store;
