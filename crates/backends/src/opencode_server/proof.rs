//! Proof that what answers at an address is the server that we started (SAFETY A31, A32).

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::http::{Bounds, Http, HttpError, Password};

/// How long one look may take. A request that comes while opencode starts may never be answered, and the next one is
/// answered at once: each try has a connection of its own.
const LOOK: Duration = Duration::from_secs(2);
/// How long it is waited between looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a server may take from saying that it listens to answering.
const PATIENCE: Duration = Duration::from_secs(30);
/// Looks at a server that was fine before. The pool waits 5 s for them.
const LOOKS: usize = 2;

/// Why an address is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unproven {
    /// It answers whoever asks.
    #[error("it answers without the password (status {0})")]
    Open(StatusCode),
    /// It takes another password.
    #[error("it takes a wrong password (status {0})")]
    Credulous(StatusCode),
    /// It does not take ours.
    #[error("it does not take the password that it was given; something else may listen at its address")]
    Stranger,
    /// It does not answer in time, or not as opencode does.
    #[error("it did not get ready: {0}")]
    Unready(HttpError),
}

/// Looks until the server refuses whoever has no password or another one, and is healthy for us. Returns the way to
/// it.
pub(super) async fn prove(base: &Url, password: &Password) -> Result<Http, Unproven> {
    let until = Instant::now() + PATIENCE;
    let wrong =
        Password::random().map_err(|error| Unproven::Unready(HttpError::Unreachable(error.to_string())))?;
    let unready = Unproven::Unready;
    let nobody = Http::new(base.clone(), None, 0).map_err(unready)?;
    let other = Http::new(base.clone(), Some(wrong), 0).map_err(unready)?;
    let ours = Http::new(base.clone(), Some(password.clone()), 0).map_err(unready)?;
    match persistently(until, || nobody.status(health(&nobody), LOOK)).await.map_err(unready)? {
        StatusCode::UNAUTHORIZED => {}
        status => return Err(Unproven::Open(status)),
    }
    match persistently(until, || other.status(health(&other), LOOK)).await.map_err(unready)? {
        StatusCode::UNAUTHORIZED => {}
        status => return Err(Unproven::Credulous(status)),
    }
    match persistently(until, || look(&ours)).await {
        Ok(()) => Http::new(base.clone(), Some(password.clone()), 8).map_err(unready),
        Err(HttpError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => Err(Unproven::Stranger),
        Err(error) => Err(unready(error)),
    }
}

/// Whether a server that was proven answers still.
pub(super) async fn is_healthy(http: &Http) -> bool {
    for _ in 0..LOOKS {
        match look(http).await {
            Ok(()) => return true,
            Err(error) => tracing::debug!(%error, "opencode's server is not well"),
        }
        sleep(PAUSE).await;
    }
    false
}

fn health(http: &Http) -> Url {
    http.url(&["global", "health"], &[])
}

async fn look(http: &Http) -> Result<(), HttpError> {
    #[derive(Deserialize)]
    struct Health {
        healthy: bool,
    }
    let url = health(http);
    let path = url.path().to_owned();
    let Health { healthy } = http.get(url, Bounds { time: LOOK, bytes: 64 << 10 }).await?;
    let sick = || HttpError::Garbled { path, text: "it is not healthy".to_owned() };
    if healthy { Ok(()) } else { Err(sick()) }
}

/// Tries again while nobody answers.
async fn persistently<T, F: Future<Output = Result<T, HttpError>>>(
    until: Instant,
    attempt: impl Fn() -> F,
) -> Result<T, HttpError> {
    loop {
        match attempt().await {
            Err(HttpError::Unreachable(_) | HttpError::TimedOut { .. }) if Instant::now() < until => {
                sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}
