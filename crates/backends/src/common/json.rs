//! A line of JSON as a value, at a bounded cost.

pub(crate) use acp_proto::is_modest;
use acp_proto::{RawJson, overhead};
use serde::de::DeserializeOwned;
use serde_json::Value;

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

/// What a value takes in memory, about, in bytes.
pub(crate) fn weight(value: &Value) -> usize {
    let text = value.to_string();
    text.len() + overhead(text.as_bytes())
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
