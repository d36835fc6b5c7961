//! Text that shares the buffer of the line it came in.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A string cut out of a received line without copying it.
///
/// Cloning counts a reference. It keeps the read buffer that its line arrived in alive (64 KiB, or the line's
/// own length if that is more), so copy what is to be kept for long.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireStr(Bytes);

impl WireStr {
    /// Takes a line over if it is UTF-8, else hands it back.
    pub(crate) fn from_utf8(bytes: Bytes) -> Result<Self, Bytes> {
        if std::str::from_utf8(&bytes).is_ok() { Ok(Self(bytes)) } else { Err(bytes) }
    }

    /// The part of this string that `part` points at; a copy if `part` lies elsewhere.
    pub(crate) fn share(&self, part: &str) -> Self {
        let whole = self.0.as_ptr_range();
        let cut = part.as_bytes().as_ptr_range();
        if whole.start <= cut.start && cut.end <= whole.end {
            Self(self.0.slice_ref(part.as_bytes()))
        } else {
            Self::from(part)
        }
    }

    /// As [`share`](Self::share) where the text was borrowed from this string.
    pub(crate) fn share_cow(&self, part: Cow<'_, str>) -> Self {
        match part {
            Cow::Borrowed(part) => self.share(part),
            Cow::Owned(part) => Self::from(part),
        }
    }

    /// The same text in a buffer of its own, which keeps no line alive.
    pub(crate) fn detached(&self) -> Self {
        Self::from(self.as_str())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor takes a `&str`, a `String`, or bytes checked to be UTF-8, and bytes never
        // change once they are in a `Bytes`.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }
}

impl Deref for WireStr {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for WireStr {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for WireStr {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<WireStr> for String {
    fn from(text: WireStr) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for WireStr {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for WireStr {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for WireStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for WireStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

/// A JSON string that borrows from its input unless it holds escapes.
///
/// serde's own `Cow<str>` is never borrowed inside an `Option` or as a map's key.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}
