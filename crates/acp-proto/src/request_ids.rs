//! The ids by which an answer finds its request.

use std::fmt;

use serde_json::value::RawValue;

use crate::raw::RawJson;
use crate::wire_str::WireStr;

/// A JSON-RPC id, echoed exactly as it came: agents count from 0, or use UUID strings.
///
/// Host and agent number their requests independently, so equal ids of both sides mean nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RequestId {
    /// A whole number.
    Number(i64),
    /// A string.
    Text(WireStr),
    /// `null`: an answer to something that could not be read.
    Null,
    /// Anything else (a fraction, a number beyond 64 bits, an object): kept to be echoed.
    Verbatim(RawJson),
}

impl RequestId {
    pub(crate) fn from_raw(line: &WireStr, raw: &RawValue) -> Self {
        let text = raw.get();
        if text == "null" {
            return Self::Null;
        }
        // Only what is written as we would write it: `-0` or `1E2` are echoed with their own digits.
        if let Some(number) = text.parse::<i64>().ok().filter(|number| number.to_string() == text) {
            return Self::Number(number);
        }
        match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(inner) if !inner.contains('\\') => Self::Text(line.share(inner)),
            _ => Self::Verbatim(RawJson::share(line, raw)),
        }
    }

    /// The same id in a buffer of its own, which keeps no line alive.
    pub(crate) fn detached(&self) -> Self {
        match self {
            Self::Text(text) => Self::Text(text.detached()),
            Self::Verbatim(raw) => Self::Verbatim(raw.detached()),
            Self::Number(_) | Self::Null => self.clone(),
        }
    }

    /// Its length on the wire at most, but for quotes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Verbatim(raw) => raw.as_str().len(),
            Self::Number(_) | Self::Null => size_of::<Self>(),
        }
    }

    /// Appends the id as JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Text(text) => write_string(text, out),
            Self::Null => out.extend_from_slice(b"null"),
            Self::Verbatim(raw) => out.extend_from_slice(raw.as_str().as_bytes()),
        }
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("because a string always encodes and a Vec takes every write");
}

impl From<i64> for RequestId {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for RequestId {
    fn from(text: &str) -> Self {
        Self::Text(WireStr::from(text))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Null => f.write_str("null"),
            Self::Verbatim(raw) => write!(f, "{raw}"),
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
