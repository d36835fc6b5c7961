//! The Agent Client Protocol, as the host of a coding agent needs it: JSON-RPC 2.0, one object a line, on the
//! agent's stdin and stdout.
//!
//! - [`Decoder`] turns bytes into [`Message`]s without I/O. It is bounded, and what is no message is a value.
//! - [`types`] says what the messages mean. An unknown kind of update, an unknown stop reason and private
//!   methods are values too, and every value keeps the JSON that it came from.
//! - [`client`] is a connection on tokio: calls with time limits, and events in wire order.
//! - [`host`] serves the agent's files and terminals inside a session's folder.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use acp_proto::client::{Config, Event, RefuseAll, connect};
//! use acp_proto::schema::ContentBlock;
//! use tokio::io::{AsyncRead, AsyncWrite};
//!
//! /// Runs one turn and counts its updates.
//! async fn turn<R, W>(stdout: R, stdin: W) -> Result<usize, acp_proto::client::CallError>
//! where
//!     R: AsyncRead + Send + Unpin + 'static,
//!     W: AsyncWrite + Send + Unpin + 'static,
//! {
//!     let (client, mut events) = connect(stdout, stdin, Arc::new(RefuseAll), Config::default());
//!     let session = client.new_session(Path::new("/repo"), &[]).await?;
//!     client.prompt(&session.session_id, &[ContentBlock::from("say hello")]).await?;
//!     let (mut batch, mut updates) = (Vec::new(), 0);
//!     while events.recv_many(&mut batch, 256).await > 0 {
//!         for event in batch.drain(..) {
//!             match event {
//!                 Event::Update(_) => updates += 1,
//!                 Event::TurnEnded { outcome, .. } => return outcome.map(|_| updates),
//!                 _ => {}
//!             }
//!         }
//!     }
//!     Ok(updates)
//! }
//! # use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! #     let (host, agent) = tokio::io::duplex(4096);
//! #     let (stdout, stdin) = tokio::io::split(host);
//! #     let counted = tokio::spawn(turn(stdout, stdin));
//! #     let (read, mut write) = tokio::io::split(agent);
//! #     let mut lines = BufReader::new(read).lines();
//! #     lines.next_line().await.unwrap();
//! #     write.write_all(b"{\"id\":1,\"result\":{\"sessionId\":\"s\"}}\n").await.unwrap();
//! #     lines.next_line().await.unwrap();
//! #     write.write_all(b"{\"method\":\"session/update\",\"params\":{\"sessionId\":\"s\",\"update\":{\"sessionUpdate\":\"x\"}}}\n").await.unwrap();
//! #     write.write_all(b"{\"id\":2,\"result\":{\"stopReason\":\"end_turn\"}}\n").await.unwrap();
//! #     assert_eq!(counted.await.unwrap().unwrap(), 1);
//! # }
//! ```

pub use agent_client_protocol_schema::{ProtocolVersion, v1 as schema};

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
mod weight;
mod wire_str;

pub use codec::{DEFAULT_MAX_LINE, Decoder};
pub use frame::{Line, LineCutter};
pub use message::{Extra, Fault, Malformed, Message, Method, Notification, Request, Response};
pub use raw::RawJson;
pub use request_ids::RequestId;
pub use rpc_error::{
    INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, PARSE_ERROR, RESOURCE_NOT_FOUND, RpcError,
};
pub use weight::{is_modest, overhead};
pub use wire_str::WireStr;
