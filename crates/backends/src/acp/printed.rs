//! What an agent prints on standard output that is no message.

use acp_proto::{Fault, Malformed};

/// How much of it is kept, in bytes.
const KEPT: usize = 8 * 1024;

/// The beginning of what was printed, and how much there was.
#[derive(Debug, Default)]
pub(super) struct StrayOutput {
    text: String,
    lines: u64,
}

impl StrayOutput {
    /// Takes what was no message.
    pub(super) fn add(&mut self, malformed: &Malformed) {
        self.lines += 1;
        let excerpt = malformed.excerpt.trim_end();
        if self.text.len() + excerpt.len() < KEPT {
            self.text.push_str(excerpt);
            if matches!(malformed.why, Fault::TooLong { .. }) {
                self.text.push('…');
            }
            self.text.push('\n');
        }
    }

    /// How many lines there were.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// What is kept.
    pub(super) fn text(&self) -> &str {
        self.text.trim_end()
    }
}
