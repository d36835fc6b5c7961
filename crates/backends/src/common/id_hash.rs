//! Ids that an agent chooses.

use std::hash::{DefaultHasher, Hash, Hasher};

/// What is remembered of an id: it may be as long as the agent likes, and this is eight bytes.
pub(crate) fn id_hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
