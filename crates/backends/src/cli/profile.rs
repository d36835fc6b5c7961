//! How one prompt for one process differs from other routes.

use std::time::Duration;

use dispatch_core::profile::{BackendProfile, Conversation, Life, Stop};
use dispatch_core::routing::Route;

/// How long a program may take to obey SIGTERM.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// One prompt for one process, with the default grace period. None of these programs can be asked to end a turn: the
/// ladder begins with SIGTERM.
pub static CLI_ONCE: BackendProfile = BackendProfile {
    name: "cli-once",
    route: Route::OneShotPty,
    life: Life::PerTurn,
    conversation: Conversation::OfTask,
    stop: &[(Stop::Terminate, GRACE), (Stop::Kill, Duration::from_secs(2))],
};
