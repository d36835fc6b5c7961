//! Calls to the store, tried again while that may help.

use std::{future::Future, time::Duration};

use dispatch_core::ports::{Class, StoreError};

use crate::contained::contained;

/// How long a turn waits for a store that is away or busy before it gives up on it. Under a lease that has
/// an end, that end comes first: without a renewal its turns are told to stop after seven tenths of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a call until it succeeds, fails for good, or the patience ends. Waits 10 ms at first and twice
/// as long each time, up to a second. A panic is a failure for good.
pub(crate) async fn persistently<T, F>(mut call: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let begun = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        let result = contained(call()).await;
        match result.unwrap_or_else(|source| {
            Err(StoreError::Failed { doing: "calling the store", source: source.into() })
        }) {
            Err(error) if error.class() == Class::Retry && begun.elapsed() < PATIENCE => {
                tracing::warn!(%error, "the store did not answer; trying again in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            result => return result,
        }
    }
}
