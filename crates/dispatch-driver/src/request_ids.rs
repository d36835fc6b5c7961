//! The ids of permission requests, in the record and to their agent.

use dispatch_core::ids::Epoch;

/// The id for the record: with the claim, as an agent of the next attempt may well use the same ids again, and must not
/// be given what was answered to this one.
pub(crate) fn recorded(epoch: Epoch, id: &str) -> String {
    format!("{}-{id}", epoch.0)
}

/// The backend's own id of a recorded one.
pub(crate) fn own(id: &str) -> &str {
    id.split_once('-').map_or(id, |(_, own)| own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_whatever_is_in_it() {
        for id in ["permission-1", "", "7", "per_0-1-2"] {
            assert_eq!(own(&recorded(Epoch(12), id)), id);
        }
        assert_ne!(recorded(Epoch(1), "1"), recorded(Epoch(2), "1"));
    }
}
