//! Why a call or an answer failed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::message::Method;
use crate::rpc_error::RpcError;

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The agent answered with an error.
    #[error("{method}: {error}")]
    Agent {
        /// What was called.
        method: Method,
        /// The agent's answer.
        error: RpcError,
    },
    /// The agent did not answer in time. A later answer arrives as a [`Stray`](super::Stray).
    #[error("{method}: no answer within {limit:?}")]
    TimeLimit {
        /// What was called.
        method: Method,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The connection is closed, or was closed before the answer came.
    #[error("{method}: {reason}")]
    Closed {
        /// What was called.
        method: Method,
        /// Why there is no connection.
        reason: CloseReason,
    },
    /// The parameters cannot be sent, for instance a path that is not UTF-8.
    #[error("{method}: cannot be written as JSON: {source}")]
    NotEncodable {
        /// What was called.
        method: Method,
        /// What is wrong.
        source: Arc<serde_json::Error>,
    },
    /// The agent answered with something else than the protocol says.
    #[error("{method}: not the result that the protocol asks for: {source}")]
    Undecodable {
        /// What was called.
        method: Method,
        /// What is wrong.
        source: Arc<serde_json::Error>,
    },
}

impl CallError {
    /// The agent's error answer, if that is what failed the call.
    pub fn agent_error(&self) -> Option<&RpcError> {
        match self {
            Self::Agent { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why an answer to the agent was not sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AnswerError {
    /// The agent has no request open with this id: it was answered before, by a cancel too.
    #[error("no request is open with the id {0}")]
    NotOpen(crate::RequestId),
    /// There is no connection any more.
    #[error("{0}")]
    Closed(CloseReason),
}

/// Why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloseReason {
    /// The agent closed its stdout: it has ended, or is about to.
    #[error("the agent closed its output")]
    EndOfOutput,
    /// Reading failed.
    #[error("reading from the agent failed: {0}")]
    ReadFailed(Arc<io::Error>),
    /// Writing failed, mostly because the agent has ended.
    #[error("writing to the agent failed: {0}")]
    WriteFailed(Arc<io::Error>),
    /// The agent does not read its stdin.
    #[error("the agent read nothing for {0:?}")]
    WriteStalled(Duration),
    /// The host closed the agent's stdin, or dropped its end.
    #[error("the host closed the connection")]
    ByHost,
}
