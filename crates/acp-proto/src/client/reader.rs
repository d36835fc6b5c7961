//! The task that reads what the agent says.

use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use super::calls::{AnswerTo, CallId, Open};
use super::error::{CallError, CloseReason};
use super::event::{Event, Stray};
use super::inbound::{PermissionAnswer, Refused};
use super::shared::Shared;
use crate::codec::Decoder;
use crate::message::{Message, Notification, Request, Response};
use crate::method;
use crate::raw::RawJson;
use crate::request_ids::RequestId;
use crate::rpc_error::RpcError;
use crate::types::{PermissionRequest, SessionUpdate, TurnEnd};

/// JSON-RPC leaves -32000 and below to the implementation; this one says that the agent asks too much at once.
const TOO_MANY_REQUESTS: i64 = -32000;

pub(super) struct Reader {
    shared: Arc<Shared>,
    decoder: Decoder,
    /// Events of the bytes read last, with the length of their lines.
    events: Vec<(usize, Event)>,
    /// Requests that are being served. Dropped with the reader.
    served: JoinSet<()>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let decoder = Decoder::with_max_line(shared.config.max_line);
        Self { shared, decoder, events: Vec::new(), served: JoinSet::new() }
    }

    /// Reads until the agent's output ends, and then closes everything.
    pub(super) async fn run<R: AsyncRead + Unpin>(mut self, agent: R) {
        let reason = self.read(agent).await;
        while let Some(message) = self.decoder.finish() {
            self.dispatch(message).await;
        }
        self.close(reason);
    }

    async fn read<R: AsyncRead + Unpin>(&mut self, mut agent: R) -> CloseReason {
        let shared = Arc::clone(&self.shared);
        let mut failed = std::pin::pin!(shared.outbox.failed());
        let mut grace: Option<(CloseReason, Pin<Box<Sleep>>)> = None;
        loop {
            let may_read = self.may_read();
            let read = tokio::select! {
                read = agent.read_buf(self.decoder.space()), if may_read => read,
                () = shared.inbox.changed(), if !may_read => continue,
                Some(_) = self.served.join_next() => continue,
                reason = &mut failed, if grace.is_none() => {
                    shared.calls.refuse_new(&reason);
                    grace = Some((reason, Box::pin(sleep(shared.config.after_failed_write))));
                    continue;
                }
                reason = over(&mut grace) => return reason,
            };
            match read {
                Ok(0) => return CloseReason::EndOfOutput,
                Ok(_) => {}
                Err(error) => return CloseReason::ReadFailed(Arc::new(error)),
            }
            while let Some(message) = self.decoder.next_message() {
                self.dispatch(message).await;
            }
            self.shared.inbox.append(&mut self.events);
        }
    }

    fn may_read(&self) -> bool {
        let config = &self.shared.config;
        let weight = self.shared.inbox.weight();
        (weight < config.inbox && !self.shared.inbound.is_full())
            || (weight < config.inbox_while_awaited && self.shared.calls.awaited())
    }

    async fn dispatch(&mut self, message: Message) {
        match message {
            Message::Notification(notification) => self.notification(notification),
            Message::Response(response) => self.response(response),
            Message::Request(request) => self.request(request).await,
            Message::Malformed(malformed) => self.event(malformed.excerpt.len(), Event::Malformed(malformed)),
        }
    }

    fn event(&mut self, length: usize, event: Event) {
        self.events.push((length, event));
    }

    fn notification(&mut self, notification: Notification) {
        let length = length(notification.params.as_ref());
        let update = match &notification.params {
            Some(params) if notification.method.as_str() == method::SESSION_UPDATE => {
                SessionUpdate::decode(params)
            }
            _ => None,
        };
        self.event(length, update.map_or(Event::Notification(notification), Event::Update));
    }

    fn response(&mut self, response: Response) {
        let length = response.outcome.as_ref().map_or(0, |result| result.as_str().len());
        let (call, open) = match self.shared.calls.answer(response.id.as_ref()) {
            Ok(open) => open,
            Err(reason) => return self.event(length, Event::Stray(Stray { reason, response })),
        };
        let method = open.method.clone();
        let outcome = response.outcome.map_err(|error| CallError::Agent { method, error });
        self.answered(length, call, open, outcome);
    }

    /// Hands the end of a call to whoever wants it.
    fn answered(&mut self, length: usize, call: CallId, open: Open, outcome: Result<RawJson, CallError>) {
        match open.answer_to {
            AnswerTo::Turn { session_id } => {
                self.shared.inbound.cancelled(&session_id);
                self.shared.handler.turn_stopped(&session_id);
                let outcome = outcome.map(|result| TurnEnd::decode(&result));
                self.event(length, Event::TurnEnded { call, outcome });
            }
            AnswerTo::Caller { sender, opens } => {
                if let (Some(folder), Ok(result)) = (opens, &outcome)
                    && let Some(session_id) = session_id(result)
                {
                    self.shared.handler.session_opened(&session_id, &folder);
                }
                self.event(length, Event::Answered { call, method: open.method });
                // The events before the answer are there when the caller goes on.
                self.shared.inbox.append(&mut self.events);
                // A caller that has gone in this moment does not want it.
                drop(sender.send(outcome));
            }
        }
    }

    async fn request(&mut self, request: Request) {
        // It may stay open for long, and its line may be much longer than what is looked at.
        let request = request.detached();
        if request.method.as_str() == method::REQUEST_PERMISSION {
            return self.permission(request).await;
        }
        if let Err(refused) = self.open(&request, None) {
            return self.refuse(refused, request).await;
        }
        let shared = Arc::clone(&self.shared);
        self.served.spawn(async move {
            let id = request.id.clone();
            let method = request.method.clone();
            let outcome = shared.handler.serve(request).await;
            if let Err(error) = &outcome {
                tracing::debug!(%method, %error, "refused a request of the agent");
            }
            shared.answer(id, outcome).await;
        });
    }

    fn open(&self, request: &Request, permission: Option<&str>) -> Result<(), Refused> {
        // While an answer is awaited, the pipe is read however much is open.
        let must_fit = self.shared.calls.awaited();
        self.shared.inbound.open(&request.id, permission, request.weight(), must_fit)
    }

    async fn permission(&mut self, request: Request) {
        let params = request.params.clone().unwrap_or_else(RawJson::empty_object);
        let asked = match PermissionRequest::decode(&params) {
            Ok(asked) => asked,
            Err(error) => return self.reply(request.id, Err(error)).await,
        };
        if let Err(refused) = self.open(&request, Some(&asked.session_id)) {
            return self.refuse(refused, request).await;
        }
        // Asked after `open`, so that a cancel in between is seen by one of the two.
        if self.shared.inbound.is_cancelling(&asked.session_id) {
            if self.shared.inbound.close(&request.id) {
                self.reply(request.id, Ok(PermissionAnswer::Cancelled.to_result())).await;
            }
            return;
        }
        let length = params.as_str().len();
        self.event(length, Event::Permission { id: request.id, request: asked });
    }

    async fn refuse(&mut self, refused: Refused, request: Request) {
        let id = request.id;
        match refused {
            Refused::TooMany => {
                let error = RpcError::new(TOO_MANY_REQUESTS, "too many requests are open");
                self.reply(id, Err(error)).await;
            }
            // An answer would be taken for that to the request that has the id.
            Refused::IdInUse => tracing::warn!(%id, "the agent used the id of an open request again"),
        }
    }

    /// Answers at once. May wait for the agent to read; the writer's limit bounds that.
    async fn reply(&mut self, id: RequestId, outcome: Result<RawJson, RpcError>) {
        self.shared.inbox.append(&mut self.events);
        self.shared.reply(id, outcome).await;
    }

    fn close(&mut self, reason: CloseReason) {
        self.shared.outbox.close(reason.clone());
        self.shared.handler.connection_closed();
        let open = self.shared.calls.close(&reason);
        let unanswered = open.iter().map(|(_, open)| open.method.clone()).collect();
        for (call, open) in open {
            let method = open.method.clone();
            self.answered(0, call, open, Err(CallError::Closed { method, reason: reason.clone() }));
        }
        self.event(0, Event::Closed { reason, unanswered });
        self.shared.inbox.append(&mut self.events);
        self.shared.inbox.end();
    }
}

/// Waits for the end of the grace period; for ever while there is none.
async fn over(grace: &mut Option<(CloseReason, Pin<Box<Sleep>>)>) -> CloseReason {
    match grace {
        Some((reason, sleep)) => {
            sleep.await;
            reason.clone()
        }
        None => std::future::pending().await,
    }
}

fn length(raw: Option<&RawJson>) -> usize {
    raw.map_or(0, |raw| raw.as_str().len())
}

fn session_id(result: &RawJson) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Fields {
        #[serde(rename = "sessionId")]
        session_id: String,
    }
    result.decode::<Fields>().ok().map(|fields| fields.session_id)
}
