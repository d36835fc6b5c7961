//! Server-sent events as opencode sends them: each event is one `data:` line. No I/O.

use memchr::memchr;

/// The longest line that is kept, in bytes. The longest recorded event has 0.2 MB; the outputs of tools and the
/// patches of a turn are in there.
pub(super) const LONGEST: usize = 4 << 20;

/// Cuts bytes into lines and takes the data out of them.
#[derive(Debug, Default)]
pub(super) struct DataLines {
    line: Vec<u8>,
    is_too_long: bool,
}

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// An event's data.
    Data(&'a [u8]),
    /// An event that was longer than [`LONGEST`]; it is lost.
    TooLong,
}

impl DataLines {
    /// Takes the next bytes and hands each line that is complete to `hear`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut hear: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr(b'\n', bytes) {
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if std::mem::take(&mut self.is_too_long) {
                hear(Line::TooLong);
            } else if let Some(data) = data(&self.line) {
                hear(Line::Data(data));
            }
            // One long line must not hold its memory for the rest of the stream.
            if self.line.capacity() > LONGEST / 8 {
                self.line = Vec::new();
            }
            self.line.clear();
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > LONGEST {
            self.is_too_long = true;
            self.line = Vec::new();
        }
        if !self.is_too_long {
            self.line.extend_from_slice(bytes);
        }
    }
}

/// Comments, other fields and the empty lines between events have no data.
fn data(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let data = line.strip_prefix(b"data:")?;
    Some(data.strip_prefix(b" ").unwrap_or(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let (mut lines, mut heard) = (DataLines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| {
                heard.push(match line {
                    Line::Data(data) => Some(data.to_vec()),
                    Line::TooLong => None,
                });
            });
        }
        heard
    }

    #[test]
    fn however_the_bytes_are_cut_the_lines_are_the_same() {
        let stream =
            "data: {\"a\":1}\n\n: comment\r\ndata:{\"b\":\"ä\u{2028}\"}\r\n\ndata: unfinished".as_bytes();
        let expected = [Some(b"{\"a\":1}".to_vec()), Some("{\"b\":\"ä\u{2028}\"}".into())];
        for at in 0..=stream.len() {
            assert_eq!(heard(&[&stream[..at], &stream[at..]]), expected, "cut at {at}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(heard(&single), expected);
    }

    #[test]
    fn a_line_without_end_costs_its_own_event_only() {
        let piece = vec![b'x'; LONGEST / 2];
        let pieces: [&[u8]; 5] = [b"data: ", &piece, &piece, &piece, b"\ndata: after\n"];
        assert_eq!(heard(&pieces), [None, Some(b"after".to_vec())]);
        let mut lines = DataLines::default();
        pieces[..4].iter().for_each(|piece| lines.push(piece, |_| panic!("it has no end")));
        assert_eq!(lines.line.capacity(), 0, "nothing of it is kept");
    }
}
