//! Server-sent events as OpenAI-compatible services send them: each event is one line. No I/O.

use acp_proto::{Line, LineCutter};

/// The longest line that is read, in bytes: a model's whole answer, where it comes in one piece.
pub(super) const LONGEST: usize = 4 << 20;

/// Cuts bytes into lines and takes the data out of them.
#[derive(Debug)]
pub(super) struct Events {
    cutter: LineCutter,
    /// Bytes of the line that has not ended yet.
    open: usize,
    has_begun: bool,
}

/// A line has more than [`LONGEST`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Default for Events {
    fn default() -> Self {
        Self { cutter: LineCutter::new(LONGEST), open: 0, has_begun: false }
    }
}

impl Events {
    /// Whether nothing has come but white space.
    pub(super) const fn is_new(&self) -> bool {
        !self.has_begun
    }

    /// Takes the next bytes and hands the data of each complete line to `hear`. A line that has no end is not waited
    /// for: it is refused at its limit.
    pub(super) fn push(&mut self, bytes: &[u8], mut hear: impl FnMut(&[u8])) -> Result<(), TooLong> {
        self.has_begun |= !bytes.trim_ascii().is_empty();
        self.open = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => bytes.len() - end - 1,
            None => self.open + bytes.len(),
        };
        self.cutter.push(bytes);
        while let Some(line) = self.cutter.next_line() {
            let Line::Whole(line) = line else { return Err(TooLong) };
            data(&line).into_iter().for_each(&mut hear);
        }
        if self.open > LONGEST { Err(TooLong) } else { Ok(()) }
    }

    /// The last line, where the stream ended without closing it.
    pub(super) fn end(&mut self, hear: impl FnMut(&[u8])) {
        if let Some(Line::Whole(line)) = self.cutter.finish() {
            data(&line).into_iter().for_each(hear);
        }
    }
}

/// Comments, other fields and the empty lines between events have no data. llama.cpp used to send its errors in a
/// field of that name.
fn data(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let data = line.strip_prefix(b"data:").or_else(|| line.strip_prefix(b"error:"))?.trim_ascii();
    (!data.is_empty()).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut heard) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(piece, |data| heard.push(String::from_utf8_lossy(data).into_owned())).unwrap();
        }
        events.end(|data| heard.push(String::from_utf8_lossy(data).into_owned()));
        heard
    }

    #[test]
    fn however_the_bytes_are_cut_the_events_are_the_same() {
        let stream =
            "data: {\"a\":1}\n\n: ping\nevent: x\r\ndata:ä\u{2028}\r\ndata:\nerror: no\n\ndata: [DONE]"
                .as_bytes();
        let expected = ["{\"a\":1}", "ä\u{2028}", "no", "[DONE]"];
        for at in 0..=stream.len() {
            assert_eq!(heard(&[&stream[..at], &stream[at..]]), expected, "cut at {at}");
        }
        assert_eq!(heard(&stream.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; LONGEST / 2 + 1];
        events.push(&piece, |_| panic!("it has no end")).unwrap();
        assert_eq!(events.push(&piece, |_| panic!("it has no end")), Err(TooLong));
        let whole = [b"data: ", &piece[..], &piece, b"\n"].concat();
        assert_eq!(Events::default().push(&whole, |_| panic!("it is too long")), Err(TooLong));
    }
}
