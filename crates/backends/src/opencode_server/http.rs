//! Calls to one server on loopback: no proxy, no redirect, and no answer that is longer than it may be.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::{http::plain_client, json, words};

/// Bytes of an error's answer that are read.
const ERROR_BYTES: usize = 64 << 10;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// Nobody answers, or the connection broke.
    #[error("opencode's server cannot be reached: {0}")]
    Unreachable(String),
    /// It takes too long.
    #[error("opencode's server did not answer {path} within {}", words::time(*.limit))]
    TimedOut { path: String, limit: Duration },
    /// It says no.
    #[error("opencode's server refused {path} with status {status}: {text}")]
    Refused { path: String, status: StatusCode, text: String },
    /// Its answer is longer than is read, or would take far more memory than its length.
    #[error("opencode's server answered {path} with more than fits into {limit} bytes")]
    TooLong { path: String, limit: usize },
    /// Its answer is none.
    #[error("opencode's server answered {path} with what cannot be read: {text}")]
    Garbled { path: String, text: String },
}

/// The way to one server.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    base: Url,
    password: Option<Password>,
}

/// A server's password. It is shown nowhere.
#[derive(Clone)]
pub(super) struct Password(Arc<str>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl Password {
    /// 128 random bits, as hexadecimal digits.
    ///
    /// # Errors
    /// The kernel has no randomness.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bits)).into()))
    }

    /// The password itself, for the server's environment.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

/// The user's name that belongs to the password.
pub(super) const USER: &str = "opencode";

/// How long a call may take, and how long its answer may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) time: Duration,
    pub(super) bytes: usize,
}

impl Http {
    /// Calls to this address; `keep` is how many connections are kept open between them.
    ///
    /// # Errors
    /// [`HttpError::Unreachable`] when the client cannot be made.
    pub(super) fn new(base: Url, password: Option<Password>, keep: usize) -> Result<Self, HttpError> {
        let client = plain_client().pool_max_idle_per_host(keep).build();
        let client = client.map_err(|error| HttpError::Unreachable(error.to_string()))?;
        Ok(Self { client, base, password })
    }

    /// An address below the server's own. Each segment and value is escaped.
    pub(super) fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Asks for JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: Url, bounds: Bounds) -> Result<T, HttpError> {
        let request = self.request(Method::GET, url);
        let (path, body) = answered(request, bounds).await?;
        if !json::is_modest(&body) {
            return Err(HttpError::TooLong { path, limit: bounds.bytes });
        }
        let read = json::decode(String::from_utf8_lossy(&body));
        read.map_err(|error| HttpError::Garbled { path, text: error.to_string() })
    }

    /// Sends JSON; returns the answer's body.
    pub(super) async fn post(
        &self,
        url: Url,
        body: &impl Serialize,
        bounds: Bounds,
    ) -> Result<Vec<u8>, HttpError> {
        let path = url.path().to_owned();
        let body =
            serde_json::to_vec(body).map_err(|error| HttpError::Garbled { path, text: error.to_string() })?;
        let request = self.request(Method::POST, url).header(CONTENT_TYPE, "application/json").body(body);
        answered(request, bounds).await.map(|(_, body)| body)
    }

    /// The status of an answer whose body nobody reads.
    pub(super) async fn status(&self, url: Url, time: Duration) -> Result<StatusCode, HttpError> {
        let path = url.path().to_owned();
        let sent = self.request(Method::GET, url).timeout(time).send().await;
        sent.map(|response| response.status()).map_err(|error| explain(&error, path, time))
    }

    /// Opens a stream; nothing bounds how long it lasts but its reader.
    pub(super) async fn open(&self, url: Url, time: Duration) -> Result<Response, HttpError> {
        let path = url.path().to_owned();
        let sent = tokio::time::timeout(time, self.request(Method::GET, url).send()).await;
        let response = sent
            .map_err(|_| HttpError::TimedOut { path: path.clone(), limit: time })?
            .map_err(|error| explain(&error, path.clone(), time))?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(HttpError::Refused { path, status, text: "it opens no stream".to_owned() });
        }
        Ok(response)
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.password {
            Some(password) => request.basic_auth(USER, Some(password.reveal())),
            None => request,
        }
    }
}

/// The path and the body of a good answer. opencode answers an unknown path with its web page and status 200: what is
/// no JSON is no answer, unless it is empty.
async fn answered(request: RequestBuilder, bounds: Bounds) -> Result<(String, Vec<u8>), HttpError> {
    let Bounds { time, bytes } = bounds;
    let sent = request.timeout(time).send().await;
    let response = sent.map_err(|error| {
        let path = error.url().map_or_else(String::new, |url| url.path().to_owned());
        explain(&error, path, time)
    })?;
    let path = response.url().path().to_owned();
    let status = response.status();
    let has_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !status.is_success() {
        let body = read(response, &path, Bounds { bytes: ERROR_BYTES, ..bounds }).await.unwrap_or_default();
        return Err(HttpError::Refused { text: sentence(&body), path, status });
    }
    let body = read(response, &path, Bounds { time, bytes }).await?;
    if !has_json && !body.is_empty() {
        return Err(HttpError::Garbled { path, text: "it is no JSON".to_owned() });
    }
    Ok((path, body))
}

async fn read(mut response: Response, path: &str, bounds: Bounds) -> Result<Vec<u8>, HttpError> {
    let too_long = || HttpError::TooLong { path: path.to_owned(), limit: bounds.bytes };
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > bounds.bytes => return Err(too_long()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(explain(&error, path.to_owned(), bounds.time)),
        }
    }
}

fn explain(error: &reqwest::Error, path: String, limit: Duration) -> HttpError {
    if error.is_timeout() {
        return HttpError::TimedOut { path, limit };
    }
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    HttpError::Unreachable(if text.is_empty() { error.to_string() } else { text })
}

/// What opencode says of a call that it refuses.
fn sentence(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let said =
        ["/data/message", "/message", "/name", "/_tag"].iter().find_map(|at| value.pointer(at)?.as_str());
    said.unwrap_or("no reason is given").chars().take(500).collect()
}
