//! A server that says what a test wants. The program that the route starts only prints its address and waits; the
//! server runs in the test.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures_core::Stream;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::support::waiting::within;

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// Nothing.
    #[default]
    Good,
    /// Its first request is never answered.
    SlowToWake,
    /// It asks for no password.
    Open,
    /// It takes any password.
    Credulous,
    /// It takes no password.
    Stranger,
}

/// A running fake.
pub struct Fake {
    shared: Arc<Shared>,
    folder: TempDir,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    folder: PathBuf,
}

#[derive(Default)]
struct State {
    manner: Manner,
    requests: u32,
    /// Answers by method and path, or with the last of its query after it; what is not here gets a default.
    answers: BTreeMap<String, Answer>,
    /// What was called, with its body.
    calls: Vec<(String, Value)>,
    streams: Vec<mpsc::UnboundedSender<Bytes>>,
    /// Streams that were opened so far.
    opened: usize,
    sessions: u32,
}

#[derive(Clone)]
enum Answer {
    Json(Value),
    /// A JSON text.
    Text(String),
    /// So many bytes of a JSON text.
    Endless(usize),
    Status(u16),
    Never,
}

impl Fake {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\nprintf %s \"$OPENCODE_SERVER_PASSWORD\" > {0}/password.new\nmv {0}/password.new {0}/password\n\
             echo \"opencode server listening on http://{address}\"\nexec sleep 1000\n",
            folder.path().display()
        );
        install(&folder.path().join("opencode"), &script);
        let shared = Arc::new(Shared { folder: folder.path().to_owned(), ..Shared::default() });
        shared.lock().manner = manner;
        let app = Router::new().fallback({
            let shared = Arc::clone(&shared);
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let shared = Arc::clone(&shared);
                async move { shared.respond(&method, &uri, &headers, &body).await }
            }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { shared, folder, serving }
    }

    /// The program to start.
    pub fn program(&self) -> PathBuf {
        self.folder.path().join("opencode")
    }

    /// Puts a new file in the program's place.
    pub fn replace_program(&self) {
        let script = std::fs::read_to_string(self.program()).unwrap();
        install(&self.program(), &script);
    }

    pub fn answer(&self, call: &str, value: Value) {
        self.set(call, Answer::Json(value));
    }

    pub fn answer_text(&self, call: &str, json: String) {
        self.set(call, Answer::Text(json));
    }

    pub fn answer_status(&self, call: &str, status: u16) {
        self.set(call, Answer::Status(status));
    }

    pub fn answer_endlessly(&self, call: &str, bytes: usize) {
        self.set(call, Answer::Endless(bytes));
    }

    pub fn never_answer(&self, call: &str) {
        self.set(call, Answer::Never);
    }

    fn set(&self, call: &str, answer: Answer) {
        self.shared.lock().answers.insert(call.to_owned(), answer);
    }

    /// Sends an event to all streams.
    pub fn event(&self, kind: &str, properties: Value) {
        self.line(&event(kind, properties));
    }

    /// Sends bytes to all streams.
    pub fn line(&self, line: &str) {
        let bytes = Bytes::copy_from_slice(line.as_bytes());
        self.shared.lock().streams.retain(|stream| stream.send(bytes.clone()).is_ok());
    }

    /// Breaks all streams off.
    pub fn cut(&self) {
        self.shared.lock().streams.clear();
    }

    /// Waits until so many streams were opened in all.
    pub async fn streams(&self, count: usize) {
        self.shared.until(|state| (state.opened >= count).then_some(())).await;
    }

    /// Waits for the n-th call of that method and path, from 1, and returns its body.
    pub async fn called(&self, call: &str, nth: usize) -> Value {
        let find = |state: &State| {
            state.calls.iter().filter(|(known, _)| known == call).nth(nth - 1).map(|(_, body)| body.clone())
        };
        self.shared.until(find).await
    }

    /// How often that was called.
    pub fn calls(&self, call: &str) -> usize {
        self.shared.lock().calls.iter().filter(|(known, _)| known == call).count()
    }
}

/// An event as it is sent.
pub fn event(kind: &str, properties: Value) -> String {
    let payload = json!({"id": "evt_1", "type": kind, "properties": properties});
    format!("data: {}\n\n", json!({"directory": "/", "payload": payload}))
}

/// As installers do it: a new file in the old one's place.
fn install(program: &Path, script: &str) {
    let new = program.with_extension("new");
    std::fs::write(&new, script).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, program).unwrap();
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn until<T>(&self, find: impl Fn(&State) -> Option<T>) -> T {
        within(async {
            loop {
                let changed = self.changed.notified();
                let found = find(&self.lock());
                match found {
                    Some(found) => return found,
                    None => changed.await,
                }
            }
        })
        .await
    }

    async fn respond(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
        let call = format!("{method} {}", uri.path());
        let (manner, is_first) = {
            let mut state = self.lock();
            state.requests += 1;
            (state.manner, state.requests == 1)
        };
        if manner == Manner::SlowToWake && is_first {
            return std::future::pending().await;
        }
        if !self.is_let_in(manner, headers) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let body = serde_json::from_slice(body).unwrap_or_default();
        self.lock().calls.push((call.clone(), body));
        self.changed.notify_waiters();
        let last = uri.query().and_then(|query| query.rsplit('&').next()).unwrap_or_default();
        let asked = format!("{call}?{last}");
        let set = {
            let state = self.lock();
            state.answers.get(&asked).or_else(|| state.answers.get(&call)).cloned()
        };
        match set {
            Some(Answer::Json(value)) => Json(value).into_response(),
            Some(Answer::Text(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Some(Answer::Status(status)) => {
                let status = StatusCode::from_u16(status).unwrap();
                (status, Json(json!({"name": "Refused", "data": {"message": "no"}}))).into_response()
            }
            Some(Answer::Endless(bytes)) => {
                let piece = Bytes::from(vec![b'['; 1 << 16]);
                let frames = Frames::Repeated(piece, bytes >> 16);
                ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(frames)).into_response()
            }
            Some(Answer::Never) => std::future::pending().await,
            None => self.usual(&call),
        }
    }

    fn is_let_in(&self, manner: Manner, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match manner {
            Manner::Open => true,
            Manner::Credulous => given.is_some(),
            Manner::Stranger => false,
            Manner::Good | Manner::SlowToWake => {
                let password = std::fs::read_to_string(self.folder.join("password")).unwrap();
                given == Some(&format!("Basic {}", base64(format!("opencode:{password}").as_bytes())))
            }
        }
    }

    fn usual(&self, call: &str) -> Response {
        let mut state = self.lock();
        let answer = match call {
            "GET /global/health" => json!({"healthy": true, "version": "0"}),
            "GET /global/event" => {
                let (stream, frames) = mpsc::unbounded_channel();
                let hello = json!({"payload": {"id": "evt_0", "type": "server.connected", "properties": {}}});
                stream.send(format!("data: {hello}\n\n").into()).unwrap();
                state.streams.push(stream);
                state.opened += 1;
                self.changed.notify_waiters();
                let kind = [(header::CONTENT_TYPE, "text/event-stream")];
                return (kind, Body::from_stream(Frames::Sent(frames))).into_response();
            }
            "POST /session" => {
                state.sessions += 1;
                json!({"id": format!("ses_{}", state.sessions), "directory": "/"})
            }
            "GET /config/providers" | "GET /config" | "GET /session/status" => json!({}),
            "GET /agent" => {
                json!([{"name": "build", "mode": "primary"}, {"name": "explore", "mode": "subagent"}])
            }
            call if call.ends_with("/prompt_async") => return StatusCode::NO_CONTENT.into_response(),
            call if call.starts_with("GET") => json!([]),
            _ => json!(true),
        };
        Json(answer).into_response()
    }
}

/// A body.
enum Frames {
    Sent(mpsc::UnboundedReceiver<Bytes>),
    Repeated(Bytes, usize),
}

impl Stream for Frames {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut *self {
            Self::Sent(frames) => frames.poll_recv(cx).map(|bytes| bytes.map(Ok)),
            Self::Repeated(_, 0) => Poll::Ready(None),
            Self::Repeated(piece, left) => {
                *left -= 1;
                Poll::Ready(Some(Ok(piece.clone())))
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
