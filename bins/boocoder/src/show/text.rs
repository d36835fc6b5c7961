//! Text from agents, made safe for a terminal.

use std::borrow::Cow;

/// Text with everything that a terminal obeys taken out: control characters but newline and tab, and what
/// reorders text (SAFETY A24, A25). As it works on single characters, a sequence that is split over several
/// pieces cannot pass either.
pub fn safe(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_safe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_safe(c) { c } else { char::REPLACEMENT_CHARACTER }).collect())
}

/// The same on one line.
pub fn safe_line(text: &str) -> String {
    safe(text).chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect()
}

/// Whether a terminal shows a character, or breaks the line at it, and does nothing else.
pub(super) fn is_safe(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => false,
        other => !other.is_control(),
    }
}

/// How a terminal shows things; plain text elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// Coloured on a terminal unless `NO_COLOR` is set.
    pub fn for_terminal(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { coloured: is_terminal && !refused }
    }

    /// Whether there are colours.
    pub const fn is_coloured(self) -> bool {
        self.coloured
    }

    fn code(self, code: &'static str) -> &'static str {
        if self.coloured { code } else { "" }
    }

    /// Begins dimmed text.
    pub fn dim(self) -> &'static str {
        self.code("\x1b[2m")
    }

    /// Begins bold text.
    pub fn bold(self) -> &'static str {
        self.code("\x1b[1m")
    }

    /// Begins text of something added.
    pub fn green(self) -> &'static str {
        self.code("\x1b[32m")
    }

    /// Begins text of something removed or wrong.
    pub fn red(self) -> &'static str {
        self.code("\x1b[31m")
    }

    /// Ends what was begun.
    pub fn plain(self) -> &'static str {
        self.code("\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_does_not_pass() {
        assert_eq!(safe("a\x1b]52;c;x\x07b\r\u{9b}2J"), "a\u{fffd}]52;c;x\u{fffd}b\u{fffd}\u{fffd}2J");
        assert_eq!(safe("tab\tand\nline ö 漢"), "tab\tand\nline ö 漢");
        assert_eq!(safe("\u{202e}evil"), "\u{fffd}evil");
    }
}
