//! Fresh ids and the time: what the core does not have.

#[cfg(feature = "sqlite")]
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "sqlite")]
use dispatch_core::ids::Timestamp;

use crate::fault::Fault;

/// Sixteen random bytes for an id.
pub(crate) fn random() -> Result<[u8; 16], Fault> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The store's clock. An embedded store's is the machine's.
#[cfg(feature = "sqlite")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
