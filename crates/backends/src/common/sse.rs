//! Server-sent events, as far as services send them: each event is one line with its data. No I/O.

use acp_proto::{Line, LineCutter};
use bytes::Bytes;

/// The longest line that is kept, in bytes. A model's whole answer comes as one line; opencode's longest recorded event
/// has 0.2 MB, in which there are the outputs of tools and the patches of a turn.
pub(crate) const LONGEST: usize = 4 << 20;

/// Cuts bytes into lines and takes the data out of them.
#[derive(Debug)]
pub(crate) struct Events(LineCutter);

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An event's data.
    Data(Bytes),
    /// An event that was longer than [`LONGEST`]; it is lost.
    TooLong,
}

impl Default for Events {
    fn default() -> Self {
        Self(LineCutter::new(LONGEST))
    }
}

impl Events {
    /// Takes the next bytes. Take all events out before it is called again.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// The next event whose line is complete.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        while let Some(line) = self.0.next_line() {
            if let Some(event) = event(line) {
                return Some(event);
            }
        }
        None
    }

    /// The last event, where the stream ended without ending its line.
    pub(crate) fn last_event(&mut self) -> Option<Event> {
        self.0.finish().and_then(event)
    }

    /// Whether the line under way is longer than [`LONGEST`] already, which is known once all events were taken.
    pub(crate) fn is_too_long(&self) -> bool {
        self.0.is_too_long()
    }
}

/// Comments, other fields and the empty lines between events have no data. llama.cpp used to send its errors in a
/// field of that name.
fn event(line: Line) -> Option<Event> {
    let Line::Whole(line) = line else { return Some(Event::TooLong) };
    let data = line.strip_prefix(b"data:").or_else(|| line.strip_prefix(b"error:"))?.trim_ascii();
    (!data.is_empty()).then(|| Event::Data(line.slice_ref(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut heard) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(piece);
            heard.extend(std::iter::from_fn(|| events.next_event()));
        }
        heard.extend(events.last_event());
        let text = |event| match event {
            Event::Data(data) => String::from_utf8(data.to_vec()).unwrap(),
            Event::TooLong => "too long".to_owned(),
        };
        heard.into_iter().map(text).collect()
    }

    #[test]
    fn however_the_bytes_are_cut_the_events_are_the_same() {
        let stream =
            "data: {\"a\":1}\n\n: ping\r\nevent: x\r\ndata:ä\u{2028}\r\ndata:\nerror: no\n\ndata: [DONE]";
        let expected = ["{\"a\":1}", "ä\u{2028}", "no", "[DONE]"];
        let stream = stream.as_bytes();
        for at in 0..=stream.len() {
            assert_eq!(heard(&[&stream[..at], &stream[at..]]), expected, "cut at {at}");
        }
        assert_eq!(heard(&stream.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_line_that_is_too_long_costs_its_own_event_only_and_is_known_before_its_end() {
        let piece = vec![b'x'; LONGEST / 2];
        assert_eq!(heard(&[b"data: ", &piece, &piece, &piece, b"\ndata: after\n"]), ["too long", "after"]);
        let mut events = Events::default();
        for (piece, is_too_long) in [(&b"data: "[..], false), (&piece, false), (&piece, true)] {
            events.push(piece);
            assert_eq!((events.next_event(), events.is_too_long()), (None, is_too_long));
        }
    }
}
