//! A program's standard output as lines, bounded.

use acp_proto::{Line, LineCutter};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is kept, in bytes. Agents send a delta of 2 MiB as one line of 2.1 MB.
pub(crate) const LONGEST_LINE: usize = 8 * 1024 * 1024;
/// How much is read at once, in bytes: what a Linux pipe holds.
const READ: usize = 64 * 1024;

/// Reads lines; nothing is read ahead of what [`read`](Self::read) waits for.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    from: R,
    buffer: Box<[u8]>,
    cutter: LineCutter,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, buffer: vec![0; READ].into(), cutter: LineCutter::new(LONGEST_LINE) }
    }

    /// Waits until more has come, and returns how many bytes that is: none at the end. Take all lines before it is
    /// called again. Cancel-safe.
    pub(crate) async fn read(&mut self) -> usize {
        // A stream that cannot be read has nothing more to say.
        let length = self.from.read(&mut self.buffer).await.unwrap_or(0);
        self.cutter.push(&self.buffer[..length]);
        length
    }

    /// Waits for bytes, where lines do not matter; none at the end. Cancel-safe.
    pub(crate) async fn read_bytes(&mut self) -> &[u8] {
        let length = self.from.read(&mut self.buffer).await.unwrap_or(0);
        &self.buffer[..length]
    }

    /// The next line, if it is complete.
    pub(crate) fn next_line(&mut self) -> Option<Line> {
        self.cutter.next_line()
    }

    /// The last line, when the stream ended without ending it.
    pub(crate) fn last_line(&mut self) -> Option<Line> {
        self.cutter.finish()
    }
}
