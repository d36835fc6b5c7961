//! Bytes to messages, without I/O: push bytes, take messages.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::frame::{EXCERPT, Line, LineCutter};
use crate::message::{Fault, Malformed, Message};
use crate::parse;
use crate::weight::is_modest;
use crate::wire_str::WireStr;

/// The longest line that is read as a message, unless configured: 16 MiB.
///
/// Agents send a delta of 2 MiB as one line of 2.1 MB, and a prompt with an image may be larger.
pub const DEFAULT_MAX_LINE: usize = 16 * 1024 * 1024;

/// How many messages of one batch are taken. No agent is known to send batches at all; without a limit a line
/// of `[0,0,0…` would become hundreds of times its size.
const MAX_BATCH: usize = 1024;

/// Reads JSON-RPC messages from a stream, one a line.
///
/// Never fails: what is no message becomes [`Message::Malformed`] and the stream goes on at the next line.
/// Empty lines, CRLF and byte order marks are skipped; bytes that are not UTF-8 read as U+FFFD.
///
/// ```
/// use acp_proto::{Decoder, Message};
///
/// let mut decoder = Decoder::new();
/// decoder.push(b"starting up...\n{\"jsonrpc\":\"2.0\",\"method\":\"session/up");
/// assert!(matches!(decoder.next_message(), Some(Message::Malformed(_))));
/// assert!(decoder.next_message().is_none());
/// decoder.push(b"date\",\"params\":{}}\n");
/// let Some(Message::Notification(update)) = decoder.next_message() else { panic!() };
/// assert_eq!(update.method.as_str(), "session/update");
/// ```
#[derive(Debug)]
pub struct Decoder {
    lines: LineCutter,
    limit: usize,
    /// The rest of a batch.
    batch: VecDeque<Message>,
    repaired: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder with [`DEFAULT_MAX_LINE`].
    pub fn new() -> Self {
        Self::with_max_line(DEFAULT_MAX_LINE)
    }

    /// A decoder that reads lines of up to `limit` bytes; longer ones are skipped and reported.
    pub fn with_max_line(limit: usize) -> Self {
        Self { lines: LineCutter::new(limit), limit, batch: VecDeque::new(), repaired: 0 }
    }

    /// Takes bytes in, cut anywhere. Take the messages out before pushing more: complete lines are kept.
    pub fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// The buffer to read into, which saves the copy of [`push`](Self::push). Only append to it.
    pub fn space(&mut self) -> &mut BytesMut {
        self.lines.space()
    }

    /// The next message, or `None` if the next line is not complete.
    pub fn next_message(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.batch.pop_front() {
                return Some(message);
            }
            let line = self.lines.next_line()?;
            if let Some(message) = self.read(line) {
                return Some(message);
            }
        }
    }

    /// Says that the stream has ended: the last line counts as a message if it is one without its `\n`, else
    /// it is reported as cut off. Call it until it returns `None`.
    pub fn finish(&mut self) -> Option<Message> {
        if let Some(message) = self.next_message() {
            return Some(message);
        }
        let line = self.lines.finish()?;
        let message = self.read(line)?;
        Some(match message {
            Message::Malformed(Malformed { why: Fault::NotJson(detail), excerpt }) => {
                Message::Malformed(Malformed { why: Fault::CutOff(detail), excerpt })
            }
            other => other,
        })
    }

    /// How many lines held bytes that are not UTF-8.
    pub fn repaired_lines(&self) -> u64 {
        self.repaired
    }

    fn read(&mut self, line: Line) -> Option<Message> {
        let bytes = match line {
            Line::Whole(bytes) => trim(bytes),
            Line::TooLong { length, prefix } => {
                return Some(malformed(Fault::TooLong { length, limit: self.limit }, &prefix));
            }
        };
        let first = *bytes.first()?;
        let text = self.text(bytes);
        if first != b'[' {
            return Some(message(text));
        }
        match parse::batch(&text, MAX_BATCH) {
            Ok(batch) => {
                self.batch.extend(batch.elements.into_iter().map(message));
                if batch.cut {
                    let why = Fault::BatchTooLong { limit: MAX_BATCH };
                    self.batch.push_back(malformed(why, text.as_bytes()));
                }
                self.batch.pop_front()
            }
            Err(why) => Some(malformed(why, text.as_bytes())),
        }
    }

    fn text(&mut self, bytes: Bytes) -> WireStr {
        WireStr::from_utf8(bytes).unwrap_or_else(|bytes| {
            self.repaired += 1;
            WireStr::from(String::from_utf8_lossy(&bytes).into_owned())
        })
    }
}

fn message(text: WireStr) -> Message {
    if !is_modest(text.as_bytes()) {
        return malformed(Fault::TooManyValues { length: text.len() }, text.as_bytes());
    }
    parse::message(&text).unwrap_or_else(|why| malformed(why, text.as_bytes()))
}

fn malformed(why: Fault, bytes: &[u8]) -> Message {
    let excerpt = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT)]).into_owned();
    Message::Malformed(Malformed { why, excerpt })
}

/// Without what may surround a JSON value on a line: white space, the `\r` of CRLF, a byte order mark.
fn trim(bytes: Bytes) -> Bytes {
    let inner = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).trim_ascii();
    if inner.len() == bytes.len() { bytes } else { bytes.slice_ref(inner) }
}
