//! A turn of any backend, for the tests of each.

pub mod fresh_tag;
pub mod said;
pub mod spec;
pub mod turn;
pub mod waiting;
