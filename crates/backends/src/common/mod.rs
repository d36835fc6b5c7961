//! What every route has the same shape of.

pub(crate) mod drivel;
pub(crate) mod failure;
pub(crate) mod http;
pub(crate) mod id_hash;
pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod named_tool;
pub(crate) mod oddities;
pub(crate) mod open;
pub(crate) mod origin;
pub(crate) mod plain;
pub(crate) mod printed;
pub(crate) mod profile;
pub(crate) mod random_id;
pub(crate) mod sse;
pub(crate) mod updates;
pub(crate) mod words;
