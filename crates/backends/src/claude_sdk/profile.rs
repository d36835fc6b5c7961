//! How Claude Code's control protocol differs from other routes.

use std::time::Duration;

use dispatch_core::profile::{BackendProfile, Conversation, Life, Stop};
use dispatch_core::routing::Route;

use crate::common::profile::LAST_CHANCE;

/// How long it may take to obey an interrupt (SPEC S4).
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The control protocol with the default grace period.
pub static CLAUDE_SDK: BackendProfile = BackendProfile {
    name: "claude-sdk",
    route: Route::ClaudeSdk,
    life: Life::Warm,
    conversation: Conversation::OfChat,
    stop: &[(Stop::Ask, GRACE), (Stop::Terminate, LAST_CHANCE), (Stop::Kill, Duration::from_secs(2))],
};
