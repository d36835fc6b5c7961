//! JSON kept as it came.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::wire_str::WireStr;

/// A JSON value as text: valid JSON without a line break, decoded only when somebody asks.
///
/// Equality is equality of the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(WireStr);

impl RawJson {
    /// The part of `line` that `value` was borrowed from.
    pub(crate) fn share(line: &WireStr, value: &RawValue) -> Self {
        Self(line.share(value.get()))
    }

    /// Checks that `text` is one JSON value. Line breaks between its tokens become spaces.
    ///
    /// # Errors
    /// What serde_json says of text that is not one JSON value.
    pub fn parse(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        let mut text = text.into();
        serde_json::from_str::<&RawValue>(&text)?;
        if text.contains(['\n', '\r']) {
            // Valid JSON has them only between tokens: inside strings they must be escaped.
            text = text.replace(['\n', '\r'], " ");
        }
        Ok(Self(WireStr::from(text)))
    }

    /// Encodes any value.
    ///
    /// # Errors
    /// A map whose keys are not strings, or a path that is not UTF-8.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(WireStr::from(text)))
    }

    /// The `{}` that many answers consist of.
    pub fn empty_object() -> Self {
        Self(WireStr::from("{}"))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The JSON text as a string that shares the line's buffer.
    pub(crate) fn text(&self) -> &WireStr {
        &self.0
    }

    /// The same value in a buffer of its own, which keeps no line alive.
    pub(crate) fn detached(&self) -> Self {
        Self(self.0.detached())
    }

    /// Decodes the value.
    ///
    /// What strict parsers refuse and agents send all the same is repaired first: of duplicate keys the last
    /// counts, a lone surrogate (half an emoji, cut by a JavaScript agent between two deltas) reads as U+FFFD.
    ///
    /// # Errors
    /// The value has another shape than `T`, or is nested deeper than 128 levels.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str()).or_else(|strict| match self.normalised() {
            Some(normal) => serde_json::from_str(normal.as_str()),
            None => Err(strict),
        })
    }

    /// Decodes without copying strings that hold no escapes, and without the repairs of [`decode`](Self::decode).
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_borrowed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// The same value without duplicate keys and lone surrogates; `None` if it is nested too deeply to tell.
    pub(crate) fn normalised(&self) -> Option<Self> {
        let repaired = replace_lone_surrogates(self.as_str());
        let value: Value = serde_json::from_str(&repaired).ok()?;
        Self::encode(&value).ok()
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Rewrites each `\uXXXX` escape that is half of no pair to `\ufffd`.
fn replace_lone_surrogates(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match (surrogate(rest), rest.get(6..).and_then(surrogate)) {
            (Some(Half::High), Some(Half::Low)) => 12,
            (Some(_), _) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            // An escape is ASCII: a backslash and the character after it.
            (None, _) => rest.len().min(2),
        };
        let (escape, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        out.push_str(escape);
        rest = after;
    }
    out.push_str(rest);
    out
}

enum Half {
    High,
    Low,
}

/// Which half of a surrogate pair the escape at the start of `text` stands for.
fn surrogate(text: &str) -> Option<Half> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::High),
        0xdc00..=0xdfff => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_surrogate_reads_as_the_replacement_character() {
        for (json, text) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""a\uDE00b""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\ud83d\n\"""#, "\u{fffd}\n\""),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
        ] {
            let raw = RawJson::parse(json).unwrap();
            assert_eq!(raw.decode::<String>().unwrap(), text, "{json}");
        }
    }

    #[test]
    fn the_last_of_duplicate_keys_counts() {
        #[derive(serde::Deserialize)]
        struct Point {
            x: u8,
        }
        assert_eq!(RawJson::parse(r#"{"x":1,"x":2}"#).unwrap().decode::<Point>().unwrap().x, 2);
    }

    #[test]
    fn line_breaks_between_tokens_never_reach_the_wire() {
        let raw = RawJson::parse("{\r\n \"a\":\n\"b\\nc\"}").unwrap();
        assert!(!raw.as_str().contains(['\n', '\r']));
        assert_eq!(raw.decode::<Value>().unwrap(), serde_json::json!({"a": "b\nc"}));
    }

    #[test]
    fn nesting_without_end_is_an_error_and_no_stack_overflow() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let raw = RawJson::parse(deep).unwrap();
        assert!(raw.decode::<Value>().is_err());
    }
}
