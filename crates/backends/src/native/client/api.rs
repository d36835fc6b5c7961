//! Requests to the service.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::answer::{Answer, AnswerLimits, Shown, TooMuch};
use super::chunk::{self, Piece};
use super::fault::Fault;
use super::incoming::Incoming;
use super::pause;
use crate::common::sse::LONGEST;
use crate::common::{http, json};
use crate::native::settings::{ApiKey, Endpoint, NativeSettings};

/// The most bytes of an error that are read.
const ERROR_BYTES: usize = 64 << 10;

/// The service.
#[derive(Debug, Clone)]
pub(in crate::native) struct Api {
    client: Client,
    endpoint: Endpoint,
    key: Option<ApiKey>,
}

/// One streamed answer, as far as it has come.
#[derive(Default)]
pub(in crate::native) struct Reading {
    pub(in crate::native) answer: Answer,
    /// Whether something of it was shown to the user.
    pub(in crate::native) is_shown: bool,
    /// Events that could not be read.
    pub(in crate::native) unreadable: u64,
    is_done: bool,
}

impl Api {
    /// A client of the settings' service.
    ///
    /// # Errors
    /// Why there can be none: a proxy's address that cannot be read, or no certificates on this machine.
    pub(in crate::native) fn new(settings: &NativeSettings) -> Result<Self, String> {
        let NativeSettings { endpoint, api_key, proxy, .. } = settings;
        let through_tls = !endpoint.is_plain() || proxy.is_some();
        let mut builder = if through_tls { http::client() } else { http::plain_client() };
        if let Some(proxy) = proxy {
            let proxy = reqwest::Proxy::all(proxy).map_err(|_| "the proxy is not an address".to_owned())?;
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| Fault::connection("no client", error).text)?;
        Ok(Self { client, endpoint: endpoint.clone(), key: api_key.clone() })
    }

    /// Where the service is.
    pub(in crate::native) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks for JSON below the base address.
    pub(super) async fn get(&self, path: &str, limit: Duration) -> Result<Value, Fault> {
        self.get_url(self.endpoint.at(path), limit).await
    }

    /// Asks for JSON beside the version folder.
    pub(super) async fn get_beside(&self, path: &str, limit: Duration) -> Result<Value, Fault> {
        self.get_url(self.endpoint.beside(path), limit).await
    }

    async fn get_url(&self, url: Url, limit: Duration) -> Result<Value, Fault> {
        let asking = async {
            let response = self.send(self.request(Method::GET, url)).await?;
            let body = self.body(response, LONGEST).await?;
            json::object(&body).ok_or_else(|| Fault::unreadable("the answer is no JSON object"))
        };
        let late = || Fault::unreadable(format!("no answer from {} within {limit:?}", self.endpoint));
        tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| Err(late()))
    }

    /// Asks the model, and hands what a user is shown to `show` as it comes. Dropping the future ends the request.
    ///
    /// # Errors
    /// A [`Fault`]; what had come until then is in `reading`.
    pub(in crate::native) async fn chat<F: Future<Output = ()>>(
        &self,
        body: Vec<u8>,
        limits: AnswerLimits,
        reading: &mut Reading,
        mut show: impl FnMut(Shown) -> F,
    ) -> Result<(), Fault> {
        let request = self.request(Method::POST, self.endpoint.at("chat/completions"));
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let mut response = self.send(request).await?;
        let (mut body, mut broken) = (Incoming::default(), None);
        let mut is_over = false;
        while !reading.is_done && !is_over {
            let chunk = self.chunk(&mut response).await.unwrap_or_else(|fault| {
                broken = Some(fault);
                None
            });
            is_over = chunk.is_none();
            let mut pieces = Vec::new();
            match chunk {
                Some(chunk) => body.push(&chunk, |data| reading.read(data, &mut pieces))?,
                None => body.end(|data| {
                    // The end of one that broke off may be anything.
                    if broken.is_none() || json::object(data).is_some() {
                        reading.read(data, &mut pieces);
                    }
                }),
            }
            for piece in pieces {
                if let Some(shown) = self.take(piece, limits, reading)? {
                    // A call that is not whole is taken back.
                    reading.is_shown |= !matches!(shown, Shown::Call { .. });
                    show(shown).await;
                }
            }
        }
        // An answer that was complete is not lost with the connection.
        let has_ended = reading.is_done || reading.answer.finish.is_some();
        if has_ended { Ok(()) } else { Err(broken.unwrap_or_else(Fault::cut)) }
    }

    fn take(
        &self,
        piece: Piece,
        limits: AnswerLimits,
        reading: &mut Reading,
    ) -> Result<Option<Shown>, Fault> {
        if let Piece::Error(error) = piece {
            return Err(self.hide(Fault::said(None, &error)));
        }
        reading.answer.add(piece, limits).map_err(|TooMuch| {
            Fault::too_much(format!("the model's answer is longer than {} bytes", limits.bytes))
        })
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url).header(ACCEPT, "application/json, text/event-stream");
        match &self.key {
            Some(key) => request.header(AUTHORIZATION, key.header()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Fault> {
        let sent = request.send().await;
        let response = sent.map_err(|error| {
            self.hide(Fault::connection(&format!("{} could not be reached", self.endpoint), error))
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let text = format!(
                "{} sends us elsewhere (status {}), where we do not go",
                self.endpoint,
                status.as_u16()
            );
            return Err(Fault::said(Some(status.as_u16()), &Value::String(text)));
        }
        let wait = pause::asked_for(response.headers());
        // What cannot be read of an error's words is missing, the status is not.
        let body = self.words(response).await;
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        let value = json::object(&body).unwrap_or_else(text);
        Err(self.hide(Fault::said(Some(status.as_u16()), &value).waiting(wait)))
    }

    /// The beginning of an error's body.
    async fn words(&self, mut response: Response) -> Vec<u8> {
        let mut words = Vec::new();
        while words.len() < ERROR_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            words.extend_from_slice(&chunk[..chunk.len().min(ERROR_BYTES - words.len())]);
        }
        words
    }

    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if body.len() + chunk.len() > limit {
                return Err(Fault::too_much(format!(
                    "{} answered with more than {limit} bytes",
                    self.endpoint
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Fault> {
        let chunk = response.chunk().await;
        chunk.map_err(|error| self.hide(Fault::connection("the model's answer was cut off", error)))
    }

    /// What the service says may hold the key, and may be long.
    fn hide(&self, fault: Fault) -> Fault {
        fault.hiding(self.key.as_ref())
    }
}

impl Reading {
    fn read(&mut self, data: &[u8], pieces: &mut Vec<Piece>) {
        if data == b"[DONE]" {
            self.is_done = true;
            return;
        }
        match json::object(data) {
            Some(object) => chunk::pieces(object, |piece| pieces.push(piece)),
            None => self.unreadable += 1,
        }
    }
}
