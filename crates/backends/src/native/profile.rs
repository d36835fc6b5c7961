//! How native inference differs from other routes.

use std::time::Duration;

use dispatch_core::profile::{BackendProfile, Conversation, Life, Stop};
use dispatch_core::routing::Route;

/// How long a turn may take to obey a Stop.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Native inference with the default grace period.
pub static NATIVE: BackendProfile = BackendProfile {
    name: "native",
    route: Route::Native,
    life: Life::PerTurn,
    conversation: Conversation::Told,
    stop: &[(Stop::Ask, GRACE), (Stop::Kill, Duration::from_secs(2))],
};
