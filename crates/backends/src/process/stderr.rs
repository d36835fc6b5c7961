//! Standard error: always drained, of which only the end is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// What [`StderrTail::text`] returns at most, in bytes (SAFETY F28).
const TEXT_LIMIT: usize = 8 * 1024;

/// The last bytes of a stream.
#[derive(Debug, Clone)]
pub(super) struct StderrTail {
    kept: Arc<Mutex<Kept>>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<u8>,
    total: u64,
}

impl StderrTail {
    pub(super) fn new(capacity: usize) -> Self {
        Self { kept: Arc::default(), capacity }
    }

    /// Reads until the last writer is gone. However fast they write, memory stays at the tail's size.
    pub(super) async fn drain(self, mut from: Receiver) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            self.push(&buffer[..length]);
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        kept.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let surplus = (kept.last.len() + bytes.len()).saturating_sub(self.capacity);
        kept.last.drain(..surplus);
        kept.last.extend(bytes);
    }

    pub(super) fn total(&self) -> u64 {
        self.lock().total
    }

    /// The end of what is kept, at most 8 KiB, invalid bytes replaced by U+FFFD.
    pub(super) fn text(&self) -> String {
        let kept = self.lock();
        let from = kept.last.len().saturating_sub(TEXT_LIMIT);
        let bytes: Vec<u8> = kept.last.range(from..).copied().collect();
        let is_cut = kept.total > bytes.len() as u64;
        drop(kept);
        // The rest of a character whose beginning was cut off is no invalid byte.
        let continuation = |byte: &&u8| **byte & 0xC0 == 0x80;
        let start = if is_cut { bytes.iter().take(3).take_while(continuation).count() } else { 0 };
        let text = String::from_utf8_lossy(&bytes[start..]);
        // Replacement makes three bytes of one.
        let from = text.ceil_char_boundary(text.len().saturating_sub(TEXT_LIMIT));
        text[from..].to_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_bytes_are_kept() {
        let tail = StderrTail::new(4);
        tail.push(b"ab");
        assert_eq!(tail.text(), "ab");
        tail.push(b"cde");
        assert_eq!(tail.text(), "bcde");
        tail.push(b"0123456789");
        assert_eq!(tail.text(), "6789");
        assert_eq!(tail.total(), 15);
    }

    #[test]
    fn the_text_is_bounded_and_whole_characters() {
        let tail = StderrTail::new(64 * 1024);
        tail.push("ä".repeat(10_000).as_bytes());
        tail.push(b"!");
        let text = tail.text();
        assert!(text.len() <= TEXT_LIMIT && text.len() > TEXT_LIMIT - 4, "{}", text.len());
        assert!(text.chars().all(|c| c == 'ä' || c == '!'), "{text}");

        tail.push(&[0xff; 9_000]);
        let text = tail.text();
        assert!(text.len() <= TEXT_LIMIT && text.chars().all(|c| c == '\u{fffd}'));
    }
}
