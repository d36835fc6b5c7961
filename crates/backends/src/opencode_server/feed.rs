//! The one stream of events of a server, and whom each event is for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::http::Http;
use super::inbox::{Ends, Heard, Inbox};
use super::wire::Kind;
use crate::common::drivel::Drivel;
use crate::common::json;
use crate::common::sse::{Event, Events};

/// How long the stream is silent before it is given up; opencode sends a heartbeat every 10 s.
const SILENCE: Duration = Duration::from_secs(30);
/// How long opening the stream may take.
const OPEN: Duration = Duration::from_secs(10);
/// How long it is waited between attempts, at first and at last.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// Conversations of tools that are followed at once, in one server.
const CHILDREN: usize = 1024;

/// Who listens, and whether there is something to listen to.
#[derive(Debug)]
pub(super) struct Feed {
    routes: Mutex<Routes>,
    /// Bytes that wait in all inboxes.
    waiting: Arc<AtomicUsize>,
    is_connected: watch::Sender<bool>,
    /// When the server was heard last.
    heard: Mutex<Instant>,
    /// One turn at a time asks for what it lost, as the answers may be long.
    pub(super) asking: Semaphore,
}

#[derive(Debug, Default)]
struct Routes {
    turns: HashMap<Arc<str>, Arc<Inbox>>,
    /// The turn's conversation, by those that its tools began.
    children: HashMap<String, Arc<str>>,
    /// What the server says that is for no turn.
    drivel: Drivel,
}

/// A turn's place in the feed, until it is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    feed: Arc<Feed>,
    session: Arc<str>,
    pub(super) inbox: Arc<Inbox>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut routes = self.feed.lock();
        routes.turns.remove(&self.session);
        routes.children.retain(|_, root| *root != self.session);
    }
}

impl Listening {
    /// Follows a conversation that the turn's tools began.
    pub(super) fn follow(&self, child: &str) {
        self.feed.lock().follow(child, &self.session);
    }

    /// Whether a conversation is the turn's, or one that its tools began.
    pub(super) fn is_about(&self, session: &str) -> bool {
        let routes = self.feed.lock();
        *session == *self.session || routes.children.get(session) == Some(&self.session)
    }
}

impl Routes {
    fn root(&self, session: &str) -> Option<&Arc<str>> {
        self.children.get(session).or_else(|| self.turns.get_key_value(session).map(|(root, _)| root))
    }

    fn follow(&mut self, child: &str, parent: &str) {
        let Some(root) = self.root(parent).cloned() else { return };
        if self.children.len() < CHILDREN && *child != *root {
            self.children.insert(child.to_owned(), root);
        }
    }
}

impl Feed {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            routes: Mutex::default(),
            waiting: Arc::default(),
            is_connected: watch::Sender::new(false),
            heard: Mutex::new(Instant::now()),
            asking: Semaphore::new(1),
        })
    }

    /// Listens for a conversation; `None` when somebody does already.
    pub(super) fn listen(self: &Arc<Self>, session: &str) -> Option<Listening> {
        let mut routes = self.lock();
        if routes.turns.contains_key(session) {
            return None;
        }
        let session: Arc<str> = session.into();
        let inbox = Arc::new(Inbox::new(Arc::clone(&self.waiting)));
        routes.turns.insert(Arc::clone(&session), Arc::clone(&inbox));
        routes.drivel.end();
        drop(routes);
        Some(Listening { feed: Arc::clone(self), session, inbox })
    }

    /// Waits until the stream is there.
    pub(super) async fn connected(&self) {
        let mut connected = self.is_connected.subscribe();
        // The sender lives as long as `self`.
        let _ = connected.wait_for(|connected| *connected).await;
    }

    /// How long the stream has been silent; none where there is no stream.
    pub(super) fn silence(&self) -> Option<Duration> {
        let silence = self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        self.is_connected.borrow().then_some(silence)
    }

    /// Tells every turn that the server is gone.
    pub(super) fn end(&self) {
        self.lock().turns.values().for_each(|inbox| inbox.end(Ends::Lost));
    }

    /// Reads the stream, and opens it again whenever it ends. To be dropped when the server is gone.
    pub(super) async fn run(&self, http: Http) -> Infallible {
        let mut pause = PAUSES[0];
        loop {
            match http.open(http.url(&["global", "event"], &[]), OPEN).await {
                Ok(response) => {
                    let why = self.read(response).await;
                    tracing::debug!(why, "opencode's stream of events ended");
                }
                Err(error) => tracing::debug!(%error, "opencode's stream of events was not opened"),
            }
            let was_connected = self.is_connected.send_replace(false);
            pause = if was_connected { PAUSES[0] } else { (2 * pause).min(PAUSES[1]) };
            sleep(pause).await;
        }
    }

    /// Reads until the stream ends; returns why it did.
    async fn read(&self, mut response: Response) -> &'static str {
        let mut events = Events::default();
        loop {
            let chunk = match timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return "it was closed",
                Ok(Err(_)) => return "the connection broke",
                Err(_) => return "it was silent",
            };
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            self.lock().drivel.add(chunk.len());
            events.push(&chunk);
            while let Some(event) = events.next_event() {
                // What was said while nobody listened is lost; from now on somebody does.
                if !self.is_connected.send_replace(true) {
                    self.lose();
                }
                match event {
                    Event::Data(data) => self.dispatch(&data),
                    Event::TooLong => self.lose(),
                }
            }
            self.judge();
        }
    }

    /// Ends all turns where none of them was told anything for too long, though much was said.
    fn judge(&self) {
        let routes = self.lock();
        if routes.drivel.is_too_much() {
            routes.turns.values().for_each(|inbox| inbox.end(Ends::Drivel));
        }
    }

    fn lose(&self) {
        self.lock().turns.values().for_each(|inbox| inbox.lose());
    }

    fn dispatch(&self, data: &[u8]) {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            payload: Payload<'a>,
        }
        #[derive(Deserialize)]
        struct Payload<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
            // Absent in `sync`, which tells stored events a second time.
            #[serde(borrow, default)]
            properties: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct About<'a> {
            #[serde(borrow, rename = "sessionID")]
            session: Cow<'a, str>,
        }
        let Ok(Envelope { payload: Payload { kind, properties: Some(properties) } }) =
            serde_json::from_slice(data)
        else {
            return;
        };
        let Some(kind) = Kind::of(&kind) else { return };
        let Ok(About { session }) = serde_json::from_str(properties.get()) else { return };
        let mut routes = self.lock();
        if kind == Kind::Created {
            return adopt(&mut routes, &session, properties.get());
        }
        let Some(root) = routes.root(&session) else { return };
        let Some(inbox) = routes.turns.get(root) else { return };
        if !json::is_modest(properties.get().as_bytes()) {
            return inbox.lose();
        }
        let session = if **root == *session { Arc::clone(root) } else { session.into() };
        inbox.push(Heard { kind, session, properties: properties.get().into() });
        routes.drivel.end();
    }

    fn lock(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows a conversation that began, where it belongs to a turn.
fn adopt(routes: &mut Routes, session: &str, properties: &str) {
    #[derive(Deserialize)]
    struct Created {
        info: Info,
    }
    #[derive(Deserialize)]
    struct Info {
        #[serde(default, rename = "parentID")]
        parent: Option<String>,
    }
    if let Ok(Created { info: Info { parent: Some(parent) } }) = serde_json::from_str(properties) {
        routes.follow(session, &parent);
    }
}
