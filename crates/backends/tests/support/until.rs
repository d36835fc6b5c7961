//! Waiting for what tells nobody that it has happened.

use std::time::Duration;

use crate::support::waiting::within;

/// Looks every other millisecond until it holds.
pub async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
