//! The end of a command's output.

use std::collections::VecDeque;

/// Keeps the last bytes of a stream.
#[derive(Clone, Debug)]
pub struct OutputTail {
    bytes: VecDeque<u8>,
    limit: usize,
    dropped: bool,
}

impl OutputTail {
    /// Keeps at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), limit, dropped: false }
    }

    /// Appends, and drops from the start what is too much.
    pub fn push(&mut self, bytes: &[u8]) {
        let fits = &bytes[bytes.len().saturating_sub(self.limit)..];
        let excess = (self.bytes.len() + fits.len()).saturating_sub(self.limit);
        self.dropped |= excess > 0 || fits.len() < bytes.len();
        self.bytes.drain(..excess);
        self.bytes.extend(fits);
    }

    /// The text, from the first whole character on, at most `limit` bytes of it, and whether anything is
    /// missing at its start. Bytes that are not UTF-8 read as U+FFFD, which may be longer than they are: then
    /// more is cut.
    pub fn text(&self) -> (String, bool) {
        let (head, tail) = self.bytes.as_slices();
        let mut bytes = Vec::with_capacity(self.bytes.len());
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(tail);
        // A character that lost its beginning: at most three continuation bytes.
        let start = if self.dropped {
            bytes.iter().take(3).take_while(|byte| is_continuation(**byte)).count()
        } else {
            0
        };
        let mut text = String::from_utf8_lossy(&bytes[start..]).into_owned();
        let mut cut = text.len().saturating_sub(self.limit);
        let truncated = self.dropped || cut > 0;
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        text.drain(..cut);
        (text, truncated)
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_from_a_character_boundary_on() {
        let mut tail = OutputTail::new(5);
        tail.push("aé".as_bytes());
        assert_eq!(tail.text(), ("aé".to_owned(), false));
        tail.push("bé€".as_bytes());
        // "é€" are five bytes.
        assert_eq!(tail.text(), ("é€".to_owned(), true));
        tail.push(b"x");
        assert_eq!(tail.text(), ("€x".to_owned(), true));
        tail.push("0123456789é".as_bytes());
        assert_eq!(tail.text(), ("789é".to_owned(), true));
    }

    #[test]
    fn nothing_is_kept_with_a_limit_of_nothing() {
        let mut tail = OutputTail::new(0);
        assert_eq!(tail.text(), (String::new(), false));
        tail.push(b"x");
        assert_eq!(tail.text(), (String::new(), true));
    }

    #[test]
    fn bytes_that_are_not_text_never_make_it_longer_than_the_limit() {
        let mut tail = OutputTail::new(10);
        tail.push(&[0xff; 10]);
        let (text, truncated) = tail.text();
        assert!(text.len() <= 10 && truncated, "{text:?}");
    }

    #[test]
    fn a_split_character_is_whole_once_its_rest_has_come() {
        let mut tail = OutputTail::new(100);
        for byte in "😀".bytes() {
            tail.push(&[byte]);
        }
        assert_eq!(tail.text(), ("😀".to_owned(), false));
    }
}
