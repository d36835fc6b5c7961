//! How the opencode server differs from other routes.

use std::time::Duration;

use dispatch_core::profile::{BackendProfile, Conversation, Life, Stop};
use dispatch_core::routing::Route;

use crate::common::profile::LAST_CHANCE;

/// How long a turn may take to obey an abort (SPEC S4); opencode 1.18 takes 5 to 300 ms.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The opencode server with the default grace period. Above the first rung only the turn is cut off: the server is
/// ended once no other turn runs on it.
pub static OPENCODE_SERVER: BackendProfile = BackendProfile {
    name: "opencode-server",
    route: Route::OpencodeServer,
    life: Life::Warm,
    conversation: Conversation::OfChat,
    stop: &[(Stop::Ask, GRACE), (Stop::Terminate, LAST_CHANCE), (Stop::Kill, Duration::from_secs(2))],
};
