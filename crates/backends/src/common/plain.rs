//! Text for people, without what only a terminal understands.
//!
//! Control sequences (ECMA-48: ESC and CSI sequences, and the strings OSC, DCS, SOS, PM and APC) are left out, however
//! they are cut, and so are all control characters but tab and line feed. What a program prints over (a carriage return
//! without a line feed) becomes a line of its own, since what was shown cannot be taken back. Nothing is held back but
//! the beginning of a character, so that memory stays the same whatever comes.

/// The longest string (ECMA-48 5.6) that is passed over, in bytes; what never ends is text from there on.
const LONGEST_STRING: usize = 1024 * 1024;

/// Makes text of bytes that come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    state: State,
    /// The beginning of a character.
    partial: Vec<u8>,
    /// The last was a carriage return, which is a line's end unless a line feed follows.
    is_returned: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte.
    EscapeMore,
    /// In a CSI sequence.
    Control,
    /// In a string of so many bytes.
    String(usize),
    /// After ESC in a string.
    StringEscape(usize),
}

impl Plain {
    /// Takes the next bytes; returns their text.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        let mut text = std::mem::take(&mut self.partial);
        text.reserve(bytes.len());
        for &byte in bytes {
            self.take(byte, &mut text);
        }
        self.partial = split_partial(&mut text);
        let text = String::from_utf8_lossy(&text);
        // Those of C1 come as two bytes, so they are seen only here.
        text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
    }

    /// What is left: the beginning of a character that never came.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned()
    }

    fn take(&mut self, byte: u8, text: &mut Vec<u8>) {
        const CANCEL: u8 = 0x18;
        const SUBSTITUTE: u8 = 0x1a;
        const ESCAPE: u8 = 0x1b;
        const BELL: u8 = 0x07;
        self.state = match (self.state, byte) {
            (_, CANCEL | SUBSTITUTE) => State::Text,
            (State::String(length), ESCAPE) => State::StringEscape(length),
            (_, ESCAPE) => State::Escape,
            (State::Text, byte) => {
                self.text(byte, text);
                State::Text
            }
            (State::Escape, b'[') => State::Control,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String(0),
            (State::Escape | State::EscapeMore, 0x20..=0x2f) => State::EscapeMore,
            (State::Escape | State::EscapeMore, 0x30..=0x7e) => State::Text,
            (State::Control, 0x20..=0x3f) => State::Control,
            (State::Control, 0x40..=0x7e) => State::Text,
            (State::String(_), BELL) | (State::StringEscape(_), b'\\') => State::Text,
            (State::String(length) | State::StringEscape(length), _) if length < LONGEST_STRING => {
                State::String(length + 1)
            }
            // Line ends and the like within a sequence are carried out; anything else ends what is no sequence.
            (state @ (State::Escape | State::EscapeMore | State::Control), 0x00..=0x1f) => {
                self.text(byte, text);
                state
            }
            (_, byte) => {
                self.text(byte, text);
                State::Text
            }
        };
    }

    fn text(&mut self, byte: u8, text: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_returned, byte == b'\r') && byte != b'\n' && byte != b'\r' {
            text.push(b'\n');
        }
        if byte >= 0x20 && byte != 0x7f || matches!(byte, b'\n' | b'\t') {
            text.push(byte);
        }
    }
}

/// A whole text without what only a terminal understands.
pub(crate) fn plain_text(text: &str) -> String {
    let mut plain = Plain::default();
    plain.push(text.as_bytes()) + &plain.finish()
}

/// Splits off the beginning of a character at the end.
fn split_partial(text: &mut Vec<u8>) -> Vec<u8> {
    let from = text.len().saturating_sub(3);
    let begins = |at: &usize| text[*at] >= 0xc0;
    match (from..text.len()).rev().find(begins) {
        Some(at) if std::str::from_utf8(&text[at..]).is_err_and(|error| error.error_len().is_none()) => {
            text.split_off(at)
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &[(&[u8], &str)] = &[
        (b"plain\ttext\n", "plain\ttext\n"),
        (b"\x1b[1;31mred\x1b[0m \x1b[?25l\x1b[2K.", "red ."),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
        (b"\x1bPq#0\x1b[A\x1b\\b\x1b_x\x1b\\c", "bc"),
        (b"\x1b(B\x1b7\x1b=a", "a"),
        (b"10%\r20%\r\n30%\r", "10%\n20%\n30%"),
        (b"a\x08\x07\x00\x7fb", "ab"),
        ("ä\u{9b}31mö".as_bytes(), "ä31mö"),
        (b"\x1b[31\nm\x18x\x1b[3\x1am", "\nxm"),
        (b"\xff\xc3", "\u{fffd}\u{fffd}"),
        ("€😀".as_bytes(), "€😀"),
    ];

    fn plain<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut plain = Plain::default();
        let mut text: String = pieces.into_iter().map(|piece| plain.push(piece)).collect();
        text += &plain.finish();
        text
    }

    #[test]
    fn sequences_go_however_they_are_cut() {
        for (bytes, text) in CASES {
            assert_eq!(plain([*bytes]), *text, "{bytes:?}");
            assert_eq!(plain(bytes.chunks(1)), *text, "{bytes:?}");
            for cut in 0..bytes.len() {
                let (first, second) = bytes.split_at(cut);
                assert_eq!(plain([first, second]), *text, "{bytes:?} at {cut}");
            }
        }
    }

    #[test]
    fn nothing_is_kept_and_what_never_ends_is_text_again() {
        let mut plain = Plain::default();
        assert_eq!(plain.push(b"\x1b]"), "");
        let piece = vec![b'x'; 64 * 1024];
        let shown: usize = (0..32).map(|_| plain.push(&piece).len()).sum();
        assert!(shown >= piece.len() && shown < 32 * piece.len(), "{shown}");
        assert!(plain.partial.capacity() < 1024);
    }
}
