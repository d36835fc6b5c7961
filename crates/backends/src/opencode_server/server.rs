//! One running server: started, proven, shared by turns, and ended.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dispatch_core::agent::Failure;
use dispatch_core::ids::SessionId;
use dispatch_core::task::TerminalReason;
use reqwest::Url;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::feed::Feed;
use super::http::{Http, Password, USER};
use super::proof;
use super::settings::OpencodeSettings;
use crate::common::origin::Origin;
use crate::common::profile::LAST_CHANCE;
use crate::common::{open, words};
use crate::pool::{Ending, Warm};
use crate::process::{Child, Control, RunTag, Rung, Stdout};
use crate::registry::AgentEntry;

/// What opencode prints when it can be asked.
const LISTENING: &str = "listening on ";
/// How much of what it prints before is read, in bytes.
const BANNER: usize = 64 << 10;
/// How long a server is given to end by SIGTERM: it has nothing to clear up, and goes in less than 0.1 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server that closed its output may take to end.
const EXIT: Duration = Duration::from_secs(2);
/// A server that was heard within this time is alive, however busy it is.
const HEARD: Duration = Duration::from_secs(15);

/// A server. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) http: Http,
    pub(super) feed: Arc<Feed>,
    pid: u32,
    process: Control,
    origin: Origin,
    /// Lines of work of which a turn was cut off here and may go on.
    cut_off: Mutex<HashSet<SessionId>>,
    gone: watch::Receiver<Option<Gone>>,
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    /// In words that follow the agent's name, such as `ended with exit code 1`.
    pub(super) how: String,
    /// The end of what it printed on standard error.
    pub(super) stderr: String,
}

impl Server {
    /// Starts a server and returns once it is proven to be ours. Dropping the future kills it.
    pub(super) async fn start(
        entry: &AgentEntry,
        command: &[OsString],
        settings: &OpencodeSettings,
        run_tag: &str,
    ) -> Result<Self, Failure> {
        let internal = |text: String| Failure::new(TerminalReason::Internal, text);
        let password = Password::random().map_err(|error| internal(error.to_string()))?;
        let tag = RunTag::new(format!("{run_tag}/warm")).map_err(|error| internal(error.to_string()))?;
        // Before the start: a file that is replaced in between is another one.
        let origin = Origin::of(command, &settings.folder);
        let mut child = spawn(entry, command, settings, &password, tag).await?;
        let starting = settings.launcher.unless_ready(child.control());
        let mut stdout =
            child.take_stdout().ok_or_else(|| internal("the server has no output".to_owned()))?;
        let http = match ready(entry, settings, &mut child, &mut stdout, &password).await {
            Ok(http) => http,
            Err(failure) => {
                end(&child.control(), child.id(), PATIENCE).await;
                return Err(failure);
            }
        };
        let (sender, gone) = watch::channel(None);
        let feed = Feed::new();
        let server = Self {
            http: http.clone(),
            feed: Arc::clone(&feed),
            pid: child.id(),
            process: child.control(),
            origin,
            cut_off: Mutex::default(),
            gone,
        };
        starting.over();
        tokio::spawn(look_after(entry.name.to_string(), child, stdout, http, feed, sender));
        Ok(server)
    }

    /// How it is to be ended, if it is not what would be started now by this command.
    pub(super) fn unfit(&self, command: &[OsString], settings: &OpencodeSettings) -> Option<Ending> {
        (self.origin != Origin::of(command, &settings.folder)).then_some(Ending::LetGo)
    }

    /// A turn of this line of work did not obey, and may go on here.
    pub(super) fn cut_off(&self, session: SessionId) {
        self.cut_offs().insert(session);
    }

    /// The turn of this line of work that did not obey has ended all the same.
    pub(super) fn not_cut_off(&self, session: SessionId) {
        self.cut_offs().remove(&session);
    }

    /// Whether a turn of this line of work was cut off here and may go on.
    pub(super) fn has_cut_off(&self, session: SessionId) -> bool {
        self.cut_offs().contains(&session)
    }

    /// Waits until it is gone; says how.
    pub(super) async fn gone(&self) -> Gone {
        let mut gone = self.gone.clone();
        let how = gone.wait_for(Option::is_some).await.ok().and_then(|how| how.clone());
        how.unwrap_or_else(|| Gone { how: "is no longer looked after".to_owned(), stderr: String::new() })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.borrow().is_some()
    }

    fn cut_offs(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill();
    }
}

#[async_trait]
impl Warm for Server {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn idle(&self) -> String {
        self.gone().await.how
    }

    async fn is_well(&self) -> bool {
        // Much work can keep a server from answering, of which it tells meanwhile.
        proof::is_healthy(&self.http).await || self.feed.silence().is_some_and(|silence| silence < HEARD)
    }

    async fn end(&self, _how: Ending) {
        // A turn that was cut off goes on until then.
        let patience = if self.cut_offs().is_empty() { PATIENCE } else { LAST_CHANCE };
        end(&self.process, self.pid, patience).await;
    }
}

async fn end(process: &Control, pid: u32, patience: Duration) {
    process.stop_ladder(&[(Rung::Terminate, patience)]).await;
    process.kill_until_gone("opencode", pid).await;
}

/// Reads what a server says until it is gone, and tells everybody then.
async fn look_after(
    agent: String,
    mut child: Child,
    mut stdout: Stdout,
    http: Http,
    feed: Arc<Feed>,
    gone: watch::Sender<Option<Gone>>,
) {
    let aside = async {
        // One that is not read is held up.
        let mut nowhere = tokio::io::sink();
        tokio::join!(feed.run(http), tokio::io::copy(&mut stdout, &mut nowhere)).0
    };
    let exit = tokio::select! {
        exit = child.wait() => exit,
        never = aside => match never {},
    };
    let words = words::gone(&agent, Some(exit));
    tracing::debug!(pid = child.id(), "{words}");
    let how = words.strip_prefix(&format!("agent {agent} ")).unwrap_or(&words).to_owned();
    feed.end();
    gone.send_replace(Some(Gone { how, stderr: child.stderr_tail() }));
}

async fn spawn(
    entry: &AgentEntry,
    command: &[OsString],
    settings: &OpencodeSettings,
    password: &Password,
    tag: RunTag,
) -> Result<Child, Failure> {
    let launcher = &settings.launcher;
    // By environment: other users can read a program's arguments.
    let secrets = [("OPENCODE_SERVER_USERNAME", USER), ("OPENCODE_SERVER_PASSWORD", password.reveal())];
    let secrets = secrets.map(|(name, value)| (name.into(), value.into()));
    let ceiling = settings.ceiling.iter().map(|path| ("GIT_CEILING_DIRECTORIES".into(), path.into()));
    let env = launcher.environment(entry, secrets.into_iter().chain(ceiling)).map_err(|error| {
        Failure::new(TerminalReason::CouldNotStart, format!("agent {}: {error}", entry.name))
    })?;
    let spawned = launcher.spawn(command, settings.folder.clone(), env, tag).await;
    spawned.map_err(|error| open::could_not_start(entry, &error))
}

/// Waits until a server listens, and is proven to be ours.
async fn ready(
    entry: &AgentEntry,
    settings: &OpencodeSettings,
    child: &mut Child,
    stdout: &mut Stdout,
    password: &Password,
) -> Result<Http, Failure> {
    let agent = &entry.name;
    let could_not = |text: String, printed: &str, child: &Child| {
        let text = words::with_output(text, printed, &child.stderr_tail());
        Failure::new(TerminalReason::CouldNotStart, text)
    };
    let unready = |why: &dyn Display, child: &Child| {
        could_not(format!("agent {agent}: its server cannot be used: {why}"), "", child)
    };
    let base = match timeout(settings.start, address(stdout)).await {
        Ok(Ok(base)) => base,
        Ok(Err(Unheard::Closed(printed))) => {
            let exit = timeout(EXIT, child.wait()).await.ok();
            let gone = words::gone(agent.as_str(), exit);
            return Err(could_not(format!("{gone} before its server listened"), &printed, child));
        }
        Ok(Err(Unheard::Elsewhere(address))) => {
            let why = format!("it listens at {address:?}, which is not this machine alone");
            return Err(unready(&why, child));
        }
        Err(_) => {
            let limit = words::time(settings.start);
            return Err(unready(&format!("it did not listen within {limit}"), child));
        }
    };
    proof::prove(&base, password).await.map_err(|why| unready(&why, child))
}

/// Why no address is known.
enum Unheard {
    /// It closed its output, after it had printed this.
    Closed(String),
    /// It is an address that others can reach.
    Elsewhere(String),
}

/// Reads the address that the server prints: the port is of its own choosing.
async fn address(stdout: &mut Stdout) -> Result<Url, Unheard> {
    let mut printed = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stdout.read(&mut piece).await.unwrap_or(0);
        printed.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&printed);
        let lines = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some((_, rest)) = lines.split_once(LISTENING) {
            let word = rest.split_whitespace().next().unwrap_or_default();
            let url = Url::parse(word).ok().filter(is_loopback);
            return url.ok_or_else(|| Unheard::Elsewhere(word.chars().take(200).collect()));
        }
        if length == 0 || printed.len() > BANNER {
            return Err(Unheard::Closed(text.chars().take(8 << 10).collect()));
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    url.scheme() == "http" && address.is_some_and(|address| address.is_loopback()) && url.port().is_some()
}
