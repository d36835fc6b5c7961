//! A line of JSON as a value, at a bounded cost.

use acp_proto::RawJson;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a line's value may take in memory besides its text, in bytes. Legitimate lines stay far below: what is long in
/// them is text.
const MOST: usize = 16 * 1024 * 1024;
/// What an object costs: a node of the map that holds its members.
const OBJECT: usize = 700;
/// What a member or an element costs.
const PART: usize = 64;

/// Reads a line. Halves of surrogate pairs and bytes that are no UTF-8 read as U+FFFD. `None` when it is no JSON object,
/// or would take far more memory than its own length.
pub(crate) fn object(line: &[u8]) -> Option<Value> {
    let line = line.trim_ascii();
    if line.first() != Some(&b'{') || !is_modest(line) {
        return None;
    }
    decode(String::from_utf8_lossy(line)).ok().filter(Value::is_object)
}

/// Reads JSON that [is modest](is_modest). Halves of surrogate pairs read as U+FFFD; of members of one name the last
/// counts.
///
/// # Errors
/// It is no JSON, or of another shape.
pub(crate) fn decode<T: DeserializeOwned>(json: impl Into<String>) -> Result<T, serde_json::Error> {
    RawJson::parse(json)?.decode()
}

/// Whether the value of this JSON takes little more memory than its text.
pub(crate) fn is_modest(json: &[u8]) -> bool {
    overhead(json) <= MOST
}

/// What a value takes in memory, about, in bytes.
pub(crate) fn weight(value: &Value) -> usize {
    let text = value.to_string();
    text.len() + overhead(text.as_bytes())
}

/// What a value costs besides its text, from what stands outside of its strings.
fn overhead(json: &[u8]) -> usize {
    let (mut cost, mut in_string, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => cost += OBJECT,
            b',' | b'[' if !in_string => cost += PART,
            _ => {}
        }
    }
    cost
}

/// Takes a text out of a value; `None` where there is none.
pub(crate) fn take_text(value: &mut Value, key: &str) -> Option<String> {
    match value.get_mut(key).map(Value::take) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Takes a value out of another; `None` where there is none, or null.
pub(crate) fn take(value: &mut Value, key: &str) -> Option<Value> {
    value.get_mut(key).map(Value::take).filter(|value| !value.is_null())
}

/// Takes a list out of a value; empty where there is none.
pub(crate) fn take_list(value: &mut Value, key: &str) -> Vec<Value> {
    match value.get_mut(key).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// The text at a key; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_read_as_far_as_they_make_sense() {
        assert_eq!(object(b" {\"a\":\"\\ud83d \xff\"}\r"), Some(json!({"a": "\u{fffd} \u{fffd}"})));
        for line in [&b""[..], b"[]", b"1", b"{", b"{}}", b"plain text"] {
            assert_eq!(object(line), None, "{line:?}");
        }
    }

    #[test]
    fn what_would_grow_in_memory_is_not_read_and_long_text_is() {
        let empty_objects = format!("{{\"a\":[{}{{}}]}}", "{},".repeat(100_000));
        assert_eq!(object(empty_objects.as_bytes()), None);
        let code = "fn f() { [1, 2]; \\\"{\\\" }".repeat(100_000);
        assert!(object(format!("{{\"a\":\"{code}\"}}").as_bytes()).is_some());
    }
}
