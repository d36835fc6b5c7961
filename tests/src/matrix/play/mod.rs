//! The scenarios, played with the real program.
//!
//! What came of one is the turn's [verdict](super::Done::verdict); `, but …` follows when something else is not as it
//! should be.

pub(super) mod answers;
pub(super) mod chats;
pub(super) mod faults;
pub(super) mod leave;
pub(super) mod stops;
pub(super) mod tools;
