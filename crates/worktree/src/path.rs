//! Paths inside a repository: bytes with `/` between components, never assumed to be text.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::bstr::{BStr, BString, ByteSlice};
use serde::{Deserialize, Serialize};

use crate::change::quote;

/// A path relative to the root of a checkout, as git stores it. Displayed and serialised as text where it is
/// text, and quoted as `git` quotes it (`"\303\050"`) where it is not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct RelPath(pub(crate) BString);

impl RelPath {
    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for use with the file system, relative to the checkout.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

impl From<&BStr> for RelPath {
    fn from(path: &BStr) -> Self {
        Self(path.to_owned())
    }
}

impl From<&[u8]> for RelPath {
    fn from(path: &[u8]) -> Self {
        Self(path.into())
    }
}

impl From<&str> for RelPath {
    /// The path with these bytes; unlike deserialising, nothing is unquoted.
    fn from(path: &str) -> Self {
        Self(path.into())
    }
}

impl From<String> for RelPath {
    fn from(text: String) -> Self {
        if text.starts_with('"')
            && let Ok((path, _)) = gix::quote::ansi_c::undo(text.as_bytes().as_bstr())
        {
            return Self(path.into_owned());
        }
        Self(text.into())
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> String {
        path.to_string()
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_str() {
            Ok(text) if !text.starts_with('"') && !text.chars().any(char::is_control) => f.write_str(text),
            _ => f.write_str(&quote::always(&self.0)),
        }
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}
