//! The body of an answer, as it comes. No I/O.

use super::fault::Fault;
use crate::common::sse::{Event, Events, LONGEST};

/// A stream of events, or one object although a stream was asked for. Its type is not believed: services send either
/// under any.
#[derive(Default)]
pub(super) enum Incoming {
    /// Nothing has come but white space.
    #[default]
    New,
    Stream(Events),
    Whole(Vec<u8>),
}

impl Incoming {
    /// Takes more of it, and hands what is complete to `hear`. A line that has no end is not waited for.
    pub(super) fn push(&mut self, chunk: &[u8], mut hear: impl FnMut(&[u8])) -> Result<(), Fault> {
        if matches!(self, Self::New) {
            *self = match chunk.trim_ascii_start().first() {
                None => return Ok(()),
                Some(b'{') => Self::Whole(Vec::new()),
                Some(_) => Self::Stream(Events::default()),
            };
        }
        let is_too_long = match self {
            Self::New => false,
            Self::Whole(whole) => {
                let is_too_long = whole.len() + chunk.len() > LONGEST;
                if !is_too_long {
                    whole.extend_from_slice(chunk);
                }
                is_too_long
            }
            Self::Stream(events) => {
                events.push(chunk);
                let mut is_lost = false;
                while let Some(event) = events.next_event() {
                    match event {
                        Event::Data(data) => hear(&data),
                        Event::TooLong => is_lost = true,
                    }
                }
                is_lost || events.is_too_long()
            }
        };
        let too_long =
            || Fault::too_much(format!("the model's service sent more than {LONGEST} bytes at once"));
        if is_too_long { Err(too_long()) } else { Ok(()) }
    }

    /// No more comes: what is there is complete, or never will be.
    pub(super) fn end(&mut self, mut hear: impl FnMut(&[u8])) {
        match self {
            Self::New => {}
            Self::Whole(whole) => hear(whole),
            Self::Stream(events) => {
                if let Some(Event::Data(data)) = events.last_event() {
                    hear(&data);
                }
            }
        }
    }
}
