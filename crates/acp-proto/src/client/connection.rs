//! The two handles of a connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::calls::{AnswerTo, CallId, Calls};
use super::config::Config;
use super::error::{AnswerError, CallError, CloseReason};
use super::event::Event;
use super::handler::RequestHandler;
use super::inbound::{Inbound, PermissionAnswer};
use super::inbox::Inbox;
use super::outbox::{Outbox, write_lines};
use super::reader::Reader;
use super::shared::Shared;
use crate::message::{Method, Notification, Request, Response};
use crate::raw::RawJson;
use crate::request_ids::RequestId;

/// Sends to an agent. Clones talk to the same one.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

/// Everything that an agent says, in wire order. Dropping it ends the connection and closes both pipes.
pub struct Events {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

/// Starts to talk to an agent: `output` is its stdout, `input` its stdin.
///
/// Must be called within a tokio runtime whose timers are enabled.
pub fn connect<R, W>(
    output: R,
    input: W,
    handler: Arc<dyn RequestHandler>,
    config: Config,
) -> (Client, Events)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (outbox, lines) = Outbox::new(config.outbox);
    let outbox = Arc::new(outbox);
    let write_limit = config.write_limit;
    let shared = Arc::new(Shared {
        calls: Calls::default(),
        inbound: Inbound::new(config.open_requests, config.open_request_bytes),
        inbox: Inbox::new(),
        outbox: Arc::clone(&outbox),
        handler,
        config,
    });
    let writer = tokio::spawn(write_lines(lines, input, outbox, write_limit));
    let reader = tokio::spawn(Reader::new(Arc::clone(&shared)).run(output));
    (Client { shared: Arc::clone(&shared) }, Events { shared, reader, writer })
}

impl Events {
    /// Waits for events and appends up to `max` of them to `into`; 0 after [`Event::Closed`]. Cancel-safe.
    pub async fn recv_many(&mut self, into: &mut Vec<Event>, max: usize) -> usize {
        self.shared.inbox.take(into, max).await
    }

    /// Appends up to `max` events that are already there, without waiting; how many there were.
    pub fn try_recv_many(&mut self, into: &mut Vec<Event>, max: usize) -> usize {
        self.shared.inbox.try_take(into, max).0
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
        self.shared.handler.connection_closed();
        self.shared.outbox.close(CloseReason::ByHost);
        // Callers that wait learn it by their dropped senders.
        drop(self.shared.calls.close(&CloseReason::ByHost));
    }
}

impl Client {
    /// Calls any method and awaits the result.
    ///
    /// # Errors
    /// See [`CallError`]. Dropping the future gives the call up; its answer then is a
    /// [`Stray`](super::Stray).
    pub async fn request(
        &self,
        method: &str,
        params: RawJson,
        limit: Duration,
    ) -> Result<RawJson, CallError> {
        self.call(method, params, limit, None).await
    }

    /// As [`request`](Self::request), for a call that opens a session in a folder.
    pub(super) async fn call(
        &self,
        method: &str,
        params: RawJson,
        limit: Duration,
        opens: Option<PathBuf>,
    ) -> Result<RawJson, CallError> {
        let name = Method::from(method);
        let (sender, answer) = oneshot::channel();
        let id = self.shared.calls.open(name.clone(), AnswerTo::Caller { sender, opens })?;
        let open = Abandon { shared: &self.shared, id };
        // The reader may have stopped while nobody awaited anything.
        self.shared.inbox.recheck();
        let exchange = async {
            self.send_call(id, method, params).await?;
            let gone = |_| self.closed(&name, CloseReason::ByHost);
            answer.await.map_err(gone)?
        };
        let outcome = timeout(limit, exchange).await;
        drop(open);
        outcome.unwrap_or(Err(CallError::TimeLimit { method: name, limit }))
    }

    /// Sends a prompt. Its end arrives as [`Event::TurnEnded`], exactly once if this returns an id; without a
    /// time limit, which the caller sets by cancelling.
    ///
    /// # Errors
    /// [`CallError::Closed`].
    pub(super) async fn start_turn(&self, session_id: &str, params: RawJson) -> Result<CallId, CallError> {
        let method = crate::method::SESSION_PROMPT;
        self.shared.inbound.cancelled(session_id);
        let answer_to = AnswerTo::Turn { session_id: session_id.to_owned() };
        let id = self.shared.calls.open(Method::from(method), answer_to)?;
        let open = Abandon { shared: &self.shared, id };
        self.send_call(id, method, params).await?;
        open.keep();
        Ok(id)
    }

    async fn send_call(&self, id: CallId, method: &str, params: RawJson) -> Result<(), CallError> {
        let mut line = Vec::with_capacity(params.as_str().len() + 64);
        Request::new(id.0, method, params).encode(&mut line);
        let sent = self.shared.outbox.send(line).await;
        sent.map_err(|reason| self.closed(&Method::from(method), reason))
    }

    /// Sends any notification.
    ///
    /// # Errors
    /// [`CallError::Closed`].
    pub async fn notify(&self, method: &str, params: RawJson) -> Result<(), CallError> {
        let mut line = Vec::with_capacity(params.as_str().len() + 64);
        Notification::new(method, params).encode(&mut line);
        let sent = self.shared.outbox.send(line).await;
        sent.map_err(|reason| self.closed(&Method::from(method), reason))
    }

    /// Answers a permission request, once. Dropping the future leaves the request open.
    ///
    /// # Errors
    /// [`AnswerError::NotOpen`] if it was answered before, also by [`cancel`](Self::cancel).
    pub async fn answer_permission(
        &self,
        id: &RequestId,
        answer: PermissionAnswer,
    ) -> Result<(), AnswerError> {
        if !self.shared.inbound.is_open_permission(id) {
            return Err(AnswerError::NotOpen(id.clone()));
        }
        let mut line = Vec::new();
        Response::new(id.clone(), Ok(answer.to_result())).encode(&mut line);
        let sent = self.shared.outbox.send_if(line, || self.shared.inbound.close(id)).await;
        // The reader may have stopped because of what was open.
        self.shared.inbox.recheck();
        match sent {
            Ok(true) => Ok(()),
            Ok(false) => Err(AnswerError::NotOpen(id.clone())),
            Err(reason) => Err(AnswerError::Closed(reason)),
        }
    }

    /// Closes the agent's stdin once everything is written. What the agent still says arrives.
    pub fn close_input(&self) {
        self.shared.outbox.close(CloseReason::ByHost);
        self.shared.calls.refuse_new(&CloseReason::ByHost);
    }

    fn closed(&self, method: &Method, reason: CloseReason) -> CallError {
        CallError::Closed { method: method.clone(), reason }
    }
}

/// Ends a call whose caller has gone.
struct Abandon<'a> {
    shared: &'a Shared,
    id: CallId,
}

impl Abandon<'_> {
    /// Leaves the call open: only its answer, or the connection's end, ends it now.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.shared.calls.abandon(self.id);
    }
}
