//! The server itself: HTTP in, scripts looked up, answers out.

use super::{
    chat_completions::CHAT_COMPLETIONS,
    gemini::GEMINI,
    log::{Log, Moment},
    messages::MESSAGES,
    request::ModelRequest,
    responses::RESPONSES,
    script::{Answer, Ending, ModelError, Reply, Script},
    side,
    wire::{Resolved, WireFormat},
};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::DefaultBodyLimit,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_core::Stream;
use serde_json::Value;
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    thread::JoinHandle,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

/// The formats that are spoken, all at once.
const FORMATS: [WireFormat; 4] = [CHAT_COMPLETIONS, RESPONSES, MESSAGES, GEMINI];

/// Where the formats have the agent's key.
const CREDENTIALS: [&str; 3] = ["authorization", "x-api-key", "x-goog-api-key"];

/// The name of a model that is not there: whatever it is asked is answered by 404.
pub const NO_SUCH_MODEL: &str = "no-such-model";

/// A running server; it ends when dropped.
///
/// It has a thread and a runtime of its own, so that synchronous and asynchronous tests use it alike.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    release: watch::Sender<u64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Scripts by the words that a prompt must hold.
    scripts: Mutex<Vec<(String, Script)>>,
    log: Log,
    released: watch::Receiver<u64>,
}

impl ModelServer {
    /// Starts a server on a free port of 127.0.0.1. A prompt that no script is for gets three words.
    ///
    /// # Panics
    /// When no port or thread can be had.
    pub fn start() -> Self {
        let (release, released) = watch::channel(0);
        let shared = Arc::new(Shared { scripts: Mutex::default(), log: Log::default(), released });
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = std::sync::mpsc::channel();
        let app = router(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("because a runtime needs an epoll descriptor only").block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("because loopback has a free port");
                bound.send(listener.local_addr().expect("because it is bound")).expect("because start waits");
                tokio::select! {
                    served = axum::serve(listener, app).into_future() => served.expect("because it never ends"),
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().expect("because the thread binds first");
        Self { address, shared, release, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Prompts that hold these words get this script; of several that fit, the one set last.
    pub fn when(&self, words: &str, script: Script) {
        let mut scripts = self.shared.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.push((words.to_owned(), script));
    }

    /// Lets all that is stalled at this moment go on to its end.
    pub fn release(&self) {
        self.release.send_modify(|count| *count += 1);
    }

    /// All requests until now, side requests included.
    pub fn requests(&self) -> Vec<ModelRequest> {
        self.shared.log.requests()
    }

    /// Waits until a request that answers a prompt with these words has come so far, and returns it.
    ///
    /// # Panics
    /// After two minutes, with a list of what came instead.
    pub fn wait_for(&self, moment: Moment, words: &str) -> ModelRequest {
        self.shared.log.wait_for(moment, words, 1)
    }

    /// Waits for the `count`-th such request.
    ///
    /// # Panics
    /// After two minutes, with a list of what came instead.
    pub fn wait_for_nth(&self, count: usize, moment: Moment, words: &str) -> ModelRequest {
        self.shared.log.wait_for(moment, words, count)
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let mut router = side::router();
    for format in FORMATS {
        let shared = Arc::clone(shared);
        let handler = move |uri, headers, body| respond(Arc::clone(&shared), format, uri, headers, body);
        router = router.route(format.route, post(handler));
    }
    router.layer(DefaultBodyLimit::disable())
}

async fn respond(
    shared: Arc<Shared>,
    format: WireFormat,
    uri: Uri,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if uri.path().ends_with(":countTokens") {
        return Json(side::count(&body.to_string(), "totalTokens")).into_response();
    }
    let mut request = match (format.read)(uri.path(), body) {
        Ok(request) => request,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let credentials = CREDENTIALS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    request.credentials = credentials.map(str::to_owned);
    // Before the request is entered: a release that comes after it is known must count.
    let mut released = shared.released.clone();
    released.mark_unchanged();
    let number = shared.log.enter(request.clone());
    // With a provider's name before it, where an agent has such.
    if request.model.ends_with(NO_SUCH_MODEL) {
        return refuse(format, ModelError::NoSuchModel);
    }
    let reply = match shared.answer(&request) {
        Answer::Reply(reply) => reply,
        Answer::Error(error) => return refuse(format, error),
        Answer::Silence => {
            let waiting = shared.log.waiting(number);
            let _ = released.changed().await;
            waiting.kept();
            Reply::new()
        }
    };
    match Resolved::new(reply, &request, number) {
        Ok(answer) if request.stream => stream(&shared, format, &answer, released),
        Ok(answer) => whole(&shared, format, &answer, released).await,
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

impl Shared {
    fn answer(&self, request: &ModelRequest) -> Answer {
        if request.is_side_request() {
            return side::reply(request).into();
        }
        let scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = scripts.iter().enumerate().rfind(|(_, (words, _))| request.is_prompted_with(words));
        match found {
            Some((index, (_, script))) => {
                let step = request.answers();
                script.answer(step, self.log.attempt(index, step))
            }
            None => Reply::words(3).into(),
        }
    }
}

fn refuse(format: WireFormat, error: ModelError) -> Response {
    let (status, retry_after) = match error {
        ModelError::Unauthorised => (StatusCode::UNAUTHORIZED, None),
        ModelError::Overloaded { retry_after } => (StatusCode::TOO_MANY_REQUESTS, Some(retry_after)),
        ModelError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, None),
        ModelError::ContextTooLong => (StatusCode::BAD_REQUEST, None),
        ModelError::NoSuchModel => (StatusCode::NOT_FOUND, None),
    };
    let mut response = (status, Json((format.error)(error))).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

async fn whole(
    shared: &Shared,
    format: WireFormat,
    answer: &Resolved,
    mut released: watch::Receiver<u64>,
) -> Response {
    shared.log.mark(answer.number, Moment::Streamed);
    match answer.reply.ending {
        Ending::Stall => {
            let waiting = shared.log.waiting(answer.number);
            let _ = released.changed().await;
            waiting.kept();
        }
        Ending::Cut => {
            shared.log.mark(answer.number, Moment::Ended);
            let broken = Body::from_stream(Frames(broken_pipe()));
            return broken.into_response();
        }
        Ending::Normal | Ending::Length | Ending::Refusal => {}
    }
    shared.log.mark(answer.number, Moment::Ended);
    Json((format.whole)(answer)).into_response()
}

fn stream(
    shared: &Arc<Shared>,
    format: WireFormat,
    answer: &Resolved,
    released: watch::Receiver<u64>,
) -> Response {
    let (frames, receiver) = mpsc::channel(1);
    tokio::spawn(feed(Arc::clone(shared), format, answer.clone(), released, frames));
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(Frames(receiver))).into_response()
}

type Frame = Result<Bytes, io::Error>;

/// Sends the events of an answer until they end or nobody listens any more.
async fn feed(
    shared: Arc<Shared>,
    format: WireFormat,
    answer: Resolved,
    mut released: watch::Receiver<u64>,
    frames: mpsc::Sender<Frame>,
) {
    let events = (format.stream)(&answer);
    let hung_up = || shared.log.mark(answer.number, Moment::HungUp);
    for event in events.body {
        tokio::select! {
            () = sleep(answer.reply.pace) => {}
            () = frames.closed() => return hung_up(),
        }
        if frames.send(Ok(event.into())).await.is_err() {
            return hung_up();
        }
    }
    shared.log.mark(answer.number, Moment::Streamed);
    match answer.reply.ending {
        Ending::Stall => {
            tokio::select! {
                _ = released.changed() => {}
                () = frames.closed() => return hung_up(),
            }
        }
        Ending::Cut => {
            let _ = frames.send(Err(io::ErrorKind::ConnectionReset.into())).await;
            return shared.log.mark(answer.number, Moment::Ended);
        }
        Ending::Normal | Ending::Length | Ending::Refusal => {}
    }
    for event in events.tail {
        if frames.send(Ok(event.into())).await.is_err() {
            return hung_up();
        }
    }
    shared.log.mark(answer.number, Moment::Ended);
}

/// A body that breaks at once.
fn broken_pipe() -> mpsc::Receiver<Frame> {
    let (frames, receiver) = mpsc::channel(1);
    let _ = frames.try_send(Err(io::ErrorKind::ConnectionReset.into()));
    receiver
}

/// A channel as a response's body.
struct Frames(mpsc::Receiver<Frame>);

impl Stream for Frames {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.0.poll_recv(context)
    }
}
