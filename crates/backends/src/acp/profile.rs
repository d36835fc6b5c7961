//! How one-shot and warm ACP differ from other routes, and from each other.

use std::time::Duration;

use dispatch_core::profile::{BackendProfile, Conversation, Life, Stop};
use dispatch_core::routing::Route;

use crate::common::profile::LAST_CHANCE;

/// How long an agent may take to obey `session/cancel` (SPEC S4).
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// One-shot ACP with the default grace period.
pub static ACP_ONCE: BackendProfile = BackendProfile {
    name: "acp-once",
    route: Route::OneShotAcp,
    life: Life::PerTurn,
    conversation: Conversation::OfTask,
    stop: LADDER,
};

/// Warm ACP with the default grace period. A process that does not obey is replaced (SPEC S4).
pub static ACP_WARM: BackendProfile = BackendProfile {
    name: "acp-warm",
    route: Route::WarmAcp,
    life: Life::Warm,
    conversation: Conversation::OfChat,
    stop: LADDER,
};

const LADDER: &[(Stop, Duration)] =
    &[(Stop::Ask, GRACE), (Stop::Terminate, LAST_CHANCE), (Stop::Kill, Duration::from_secs(2))];
