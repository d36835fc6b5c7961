//! What both handles and the tasks of a connection share.

use std::sync::Arc;

use super::calls::Calls;
use super::config::Config;
use super::handler::{Answer, RequestHandler};
use super::inbound::Inbound;
use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::message::Response;
use crate::raw::RawJson;
use crate::request_ids::RequestId;
use crate::rpc_error::RpcError;

/// The state of a connection.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) handler: Arc<dyn RequestHandler>,
    pub(super) calls: Calls,
    pub(super) inbound: Inbound,
    pub(super) inbox: Inbox,
    pub(super) outbox: Arc<Outbox>,
}

impl Shared {
    /// Answers a request that is open. It counts as open until there is room for the answer, which bounds
    /// what waits for an agent that asks and does not read.
    pub(super) async fn answer(&self, id: RequestId, outcome: Result<Answer, RpcError>) {
        let (outcome, _room) = match outcome {
            Ok(Answer { result, room }) => (Ok(result), room),
            Err(error) => (Err(error), None),
        };
        let mut line = Vec::with_capacity(outcome.as_ref().map_or(0, |result| result.as_str().len()) + 64);
        Response::new(id.clone(), outcome).encode(&mut line);
        if let Err(reason) = self.outbox.send_if(line, || self.inbound.close(&id)).await {
            tracing::debug!(%id, %reason, "an answer was not sent");
        }
    }

    /// Answers a request that never was open.
    pub(super) async fn reply(&self, id: RequestId, outcome: Result<RawJson, RpcError>) {
        let mut line = Vec::new();
        Response::new(id.clone(), outcome).encode(&mut line);
        if let Err(reason) = self.outbox.send(line).await {
            tracing::debug!(%id, %reason, "an answer was not sent");
        }
    }
}
