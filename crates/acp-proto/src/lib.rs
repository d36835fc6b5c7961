//! The Agent Client Protocol: a bounded codec, tolerant types and a client connection.

pub use agent_client_protocol_schema::v1 as schema;

pub mod client;
mod codec;
mod frame;
pub mod host;
mod message;
pub mod method;
mod parse;
mod raw;
mod request_ids;
mod rpc_error;
pub mod types;
mod wire_str;

pub use codec::{DEFAULT_MAX_LINE, Decoder};
pub use message::{Extra, Fault, Malformed, Message, Method, Notification, Request, Response};
pub use raw::RawJson;
pub use request_ids::RequestId;
pub use rpc_error::{
    INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, PARSE_ERROR, RESOURCE_NOT_FOUND, RpcError,
};
pub use wire_str::WireStr;
