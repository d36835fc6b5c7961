//! Reads a `session/update` in one pass, without a tree: the way of every streamed delta.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::wire_str::Text;

/// The parameters of a `session/update`, as far as the streamed kinds need them.
#[derive(Deserialize)]
pub(super) struct Params<'a> {
    #[serde(rename = "sessionId", borrow)]
    pub(super) session_id: Text<'a>,
    #[serde(borrow)]
    pub(super) update: Probe<'a>,
}

/// An update of any kind, seen as a chunk of text.
#[derive(Deserialize)]
pub(super) struct Probe<'a> {
    #[serde(rename = "sessionUpdate", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(default, borrow)]
    pub(super) content: Content<'a>,
    #[serde(rename = "messageId", default, borrow)]
    pub(super) message_id: Lenient<'a>,
    #[serde(rename = "_meta", default, borrow)]
    pub(super) meta: Option<&'a RawValue>,
}

/// A content block's text, if it is one.
#[derive(Default)]
pub(super) struct Content<'a> {
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) text: Option<Cow<'a, str>>,
}

/// A string, or nothing where something else stands.
#[derive(Default)]
pub(super) struct Lenient<'a>(pub(super) Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Lenient<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor).map(|content| Self(content.text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A bare string is not a content block.
        deserializer.deserialize_any(ContentVisitor).map(|content| match content.kind {
            Some(_) => content,
            None => Content::default(),
        })
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content block")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content<'de>, A::Error> {
        let mut content = Content::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key.0 {
                "type" => content.kind = map.next_value::<Lenient<'de>>()?.0,
                "text" => content.text = map.next_value::<Lenient<'de>>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(content)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Content::default())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Content<'de>, E> {
        Ok(Content { kind: None, text: Some(Cow::Borrowed(text)) })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content<'de>, E> {
        Ok(Content { kind: None, text: Some(Cow::Owned(text.to_owned())) })
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_unit<E: Error>(self) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }
}
