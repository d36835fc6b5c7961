//! An agent that says much and means nothing.

use dispatch_core::agent::Failure;
use dispatch_core::task::TerminalReason;

/// What may be said without one update, in bytes. Far more than any agent says, whose longest lines hold a whole file or
/// two.
const MOST: usize = 128 * 1024 * 1024;

/// How much was said since the last update.
#[derive(Debug, Default)]
pub(crate) struct Drivel(usize);

impl Drivel {
    /// So many bytes were said.
    pub(crate) fn add(&mut self, length: usize) {
        self.0 = self.0.saturating_add(length);
    }

    /// There was an update.
    pub(crate) fn end(&mut self) {
        self.0 = 0;
    }

    /// Whether nothing made sense for too long.
    pub(crate) fn is_too_much(&self) -> bool {
        self.0 > MOST
    }

    /// The failure of a turn of which nothing more is heard, as it [`is_too_much`](Self::is_too_much).
    pub(crate) fn failure(&self, agent: &str) -> Option<Failure> {
        self.is_too_much().then(|| too_much(agent))
    }
}

/// The failure of a turn whose agent said too much that means nothing.
pub(crate) fn too_much(agent: &str) -> Failure {
    let text = format!("agent {agent} said more than {} MiB that are no part of an answer", MOST >> 20);
    Failure::new(TerminalReason::OutputLimit, text)
}
