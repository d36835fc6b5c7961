//! Fronts: other protocols than ACP, each translated for agents behind it.

mod host;
pub(crate) mod opencode;
pub(crate) mod stream_json;
