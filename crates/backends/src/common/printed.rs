//! What an agent prints on standard output that is no message.

use acp_proto::{Fault, Malformed};

/// How much of it is kept, in bytes.
const KEPT: usize = 8 * 1024;

/// The beginning of what was printed, and how much there was.
#[derive(Debug, Default)]
pub(crate) struct StrayOutput {
    text: String,
    lines: u64,
}

impl StrayOutput {
    /// Takes what was no message.
    pub(crate) fn add(&mut self, malformed: &Malformed) {
        self.add_text(&malformed.excerpt, matches!(malformed.why, Fault::TooLong { .. }));
    }

    /// Takes a line, or the beginning of one that is too long.
    pub(crate) fn add_text(&mut self, text: &str, is_cut: bool) {
        self.lines += 1;
        let text = text.trim_end();
        if self.text.len() + text.len() < KEPT {
            self.text.push_str(text);
            if is_cut {
                self.text.push('…');
            }
            self.text.push('\n');
        }
    }

    /// How many lines there were.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// What is kept.
    pub(crate) fn text(&self) -> &str {
        self.text.trim_end()
    }
}
