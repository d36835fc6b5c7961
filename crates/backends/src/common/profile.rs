//! Profiles with another grace period.

use std::time::Duration;

use dispatch_core::profile::BackendProfile;

/// How long an agent that has not obeyed within its grace is given to go by SIGTERM. Short: a Stop is to be over half a
/// second after the grace, whatever the agent does, and nothing that it did in its turn is lost by SIGKILL.
pub(crate) const LAST_CHANCE: Duration = Duration::from_millis(100);

/// The profile with another patience on its first rung. Profiles live as long as the program: one that is not the
/// default is allocated and never freed, once per backend.
pub(crate) fn with_grace(profile: &'static BackendProfile, grace: Duration) -> &'static BackendProfile {
    match profile.stop.split_first() {
        Some((&(rung, patience), rest)) if patience != grace => {
            let ladder = std::iter::once((rung, grace)).chain(rest.iter().copied());
            let stop = Vec::leak(ladder.collect());
            Box::leak(Box::new(BackendProfile { stop, ..*profile }))
        }
        _ => profile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acp::ACP_ONCE;
    use dispatch_core::profile::Stop;

    #[test]
    fn another_grace_changes_the_first_rung_only() {
        let grace = ACP_ONCE.stop[0].1;
        assert!(std::ptr::eq(with_grace(&ACP_ONCE, grace), &raw const ACP_ONCE));
        let patient = with_grace(&ACP_ONCE, Duration::from_secs(60));
        assert_eq!(patient.stop[0], (Stop::Ask, Duration::from_secs(60)));
        assert_eq!(patient.stop[1..], ACP_ONCE.stop[1..]);
        assert_eq!((patient.name, patient.route), (ACP_ONCE.name, ACP_ONCE.route));
    }
}
