//! How one-shot ACP differs from other routes.

use std::time::Duration;

use dispatch_core::profile::{BackendProfile, Life, Stop};
use dispatch_core::routing::Route;

/// How long an agent may take to obey `session/cancel` (SPEC S4).
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// One-shot ACP with the default grace period.
pub static ACP_ONCE: BackendProfile = BackendProfile {
    name: "acp-once",
    route: Route::OneShotAcp,
    life: Life::PerTurn,
    stop: &[
        (Stop::Ask, GRACE),
        (Stop::Terminate, Duration::from_secs(5)),
        (Stop::Kill, Duration::from_secs(2)),
    ],
};

/// The profile with another grace period. Profiles live as long as the program: one that is not the default is
/// allocated and never freed, once per backend.
pub(super) fn with_grace(grace: Duration) -> &'static BackendProfile {
    if grace == GRACE {
        return &ACP_ONCE;
    }
    let ladder = ACP_ONCE.stop.iter().map(|&(rung, patience)| match rung {
        Stop::Ask => (rung, grace),
        Stop::Terminate | Stop::Kill => (rung, patience),
    });
    let stop = Vec::leak(ladder.collect());
    Box::leak(Box::new(BackendProfile { stop, ..ACP_ONCE }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_grace_changes_the_first_rung_only() {
        assert!(std::ptr::eq(with_grace(GRACE), &raw const ACP_ONCE));
        let patient = with_grace(Duration::from_secs(60));
        assert_eq!(patient.stop[0], (Stop::Ask, Duration::from_secs(60)));
        assert_eq!(patient.stop[1..], ACP_ONCE.stop[1..]);
        assert_eq!((patient.name, patient.route), (ACP_ONCE.name, ACP_ONCE.route));
    }
}
