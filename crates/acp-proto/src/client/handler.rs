//! Who serves the agent's requests.

use std::path::Path;

use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;

use crate::message::Request;
use crate::raw::RawJson;
use crate::rpc_error::RpcError;

/// Serves the agent's requests, but for permissions, which go to the consumer of the events.
///
/// [`Host`](crate::host::Host) is the one with files and terminals.
#[async_trait]
pub trait RequestHandler: Send + Sync + 'static {
    /// A session was opened in this folder. Called before any later message of the agent is looked at; must
    /// not block for long.
    fn session_opened(&self, session_id: &str, folder: &Path);

    /// A turn of this session has ended or is being cancelled: what it has running must end.
    fn turn_stopped(&self, session_id: &str);

    /// The connection has ended: what any session has running must end. May be called twice.
    fn connection_closed(&self);

    /// Serves one request. Many may be served at once; the future is dropped when the connection ends.
    ///
    /// # Errors
    /// What the agent is answered, [`RpcError::method_not_found`] for what is not served. The turn goes on.
    async fn serve(&self, request: Request) -> Result<Answer, RpcError>;
}

/// What a request of the agent is answered with.
#[derive(Debug)]
pub struct Answer {
    pub(super) result: RawJson,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// A long result. An agent that asks and does not read makes it wait, so the handler counts such results:
    /// `room` is given back when there is room for this one among the lines that are to be written.
    pub fn holding(result: RawJson, room: OwnedSemaphorePermit) -> Self {
        Self { result, room: Some(room) }
    }
}

impl From<RawJson> for Answer {
    fn from(result: RawJson) -> Self {
        Self { result, room: None }
    }
}

/// Serves nothing: for agents that were told that their host has neither files nor terminals.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefuseAll;

#[async_trait]
impl RequestHandler for RefuseAll {
    fn session_opened(&self, _: &str, _: &Path) {}

    fn turn_stopped(&self, _: &str) {}

    fn connection_closed(&self) {}

    async fn serve(&self, request: Request) -> Result<Answer, RpcError> {
        Err(RpcError::method_not_found(request.method.as_str()))
    }
}
