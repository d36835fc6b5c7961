//! Lists of which what cannot be read is left out: one odd row does not cost the others.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::common::json;

/// A list.
#[derive(Debug)]
pub(super) struct Rows<T> {
    pub(super) rows: Vec<T>,
    /// How many could not be read.
    pub(super) illegible: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), illegible: 0 }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Vec::<Box<RawValue>>::deserialize(deserializer)?;
        let count = raw.len();
        let rows: Vec<T> =
            raw.into_iter().filter_map(|row| json::decode(Box::<str>::from(row)).ok()).collect();
        Ok(Self { illegible: count - rows.len(), rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opencode_server::wire::Message;

    #[test]
    fn of_an_odd_list_what_can_be_read_is() {
        let list = r#"[7, {"info": {"id": "a", "role": "assistant"}, "parts": [
            {"id": "p", "messageID": "a", "type": "text", "text": "half \ud83d"}, {"id": 7}]}]"#;
        let Rows { rows, illegible } = json::decode::<Rows<Message>>(list).unwrap();
        let [Message { parts, .. }] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((illegible, parts.illegible), (1, 1));
        assert_eq!(parts.rows[0].text.as_deref(), Some("half \u{fffd}"));
        assert!(json::decode::<Rows<Message>>("{}").is_err());
    }
}
