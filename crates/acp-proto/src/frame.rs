//! Bytes to lines.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// How much of a line that is no message is kept for a log line, in bytes.
pub(crate) const EXCERPT: usize = 256;

/// How much is read at once, in bytes: what a Linux pipe holds.
const READ: usize = 64 * 1024;

/// One line, without its `\n`.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line of at most the limit.
    Whole(Bytes),
    /// A longer line, of which only the first 256 bytes were kept.
    TooLong {
        /// Its length in bytes.
        length: u64,
        /// Its beginning.
        prefix: Bytes,
    },
}

/// Cuts a stream of bytes at `\n`, and only there: U+2028 and friends are sent raw inside JSON strings.
///
/// Each byte is looked at once. Between two calls of [`next_line`](Self::next_line) that returned `None` at
/// most one incomplete line is held, of at most `limit` bytes plus what was pushed last.
#[derive(Debug)]
pub struct LineCutter {
    buffer: BytesMut,
    /// No `\n` is before this offset of `buffer`.
    scanned: usize,
    limit: usize,
    /// The over-long line whose end we are looking for.
    skipping: Option<Skipped>,
}

#[derive(Debug)]
struct Skipped {
    prefix: Bytes,
    length: u64,
}

impl LineCutter {
    /// A cutter that keeps lines of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, limit, skipping: None }
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where to read to: has room for at least one byte, usually for 64 KiB.
    pub fn space(&mut self) -> &mut BytesMut {
        // A small remainder would mean a small read and one more system call.
        if self.buffer.capacity() - self.buffer.len() < READ / 4 {
            self.buffer.reserve(READ);
        }
        &mut self.buffer
    }

    /// The next complete line.
    pub fn next_line(&mut self) -> Option<Line> {
        let Some(end) = memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at) else {
            self.keep_partial();
            return None;
        };
        let mut line = self.buffer.split_to(end + 1);
        line.truncate(end);
        self.scanned = 0;
        Some(self.cut(line))
    }

    /// What is left when the stream has ended; `None` if it ended with a complete line.
    pub fn finish(&mut self) -> Option<Line> {
        let rest = self.buffer.split();
        self.scanned = 0;
        (self.skipping.is_some() || !rest.is_empty()).then(|| self.cut(rest))
    }

    /// Whether the line under way is longer than the limit already: it need not be waited for to be refused. Known
    /// once [`next_line`](Self::next_line) has returned `None`.
    pub fn is_too_long(&self) -> bool {
        self.skipping.is_some()
    }

    /// Turns the last bytes of a line into the line.
    fn cut(&mut self, line: BytesMut) -> Line {
        match self.skipping.take() {
            Some(skipped) => {
                Line::TooLong { length: skipped.length + line.len() as u64, prefix: skipped.prefix }
            }
            None if line.len() > self.limit => {
                Line::TooLong { length: line.len() as u64, prefix: excerpt(&line) }
            }
            None => Line::Whole(line.freeze()),
        }
    }

    /// Holds an incomplete line, or drops it once it is too long.
    fn keep_partial(&mut self) {
        if let Some(skipped) = &mut self.skipping {
            skipped.length += self.buffer.len() as u64;
        } else if self.buffer.len() > self.limit {
            self.skipping = Some(Skipped { prefix: excerpt(&self.buffer), length: self.buffer.len() as u64 });
        } else {
            self.scanned = self.buffer.len();
            return;
        }
        // The line grew the buffer to its limit; what follows it starts with a small one again.
        if self.buffer.capacity() > 4 * READ {
            self.buffer = BytesMut::new();
        }
        self.buffer.clear();
        self.scanned = 0;
    }
}

/// A copy, so that the whole line is not kept alive by its beginning.
fn excerpt(line: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&line[..line.len().min(EXCERPT)])
}
