//! Names for owners, worktrees, commits, trees, checkpoints and applied changes.

use std::fmt;
use std::str::FromStr;

use gix::ObjectId;
use serde::{Deserialize, Serialize};

/// A text that is not the id it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {text:?}")]
pub struct InvalidId {
    /// What was expected, in field words.
    pub what: &'static str,
    /// What was given, cut to 200 characters.
    pub text: String,
}

fn invalid(what: &'static str, text: &str) -> InvalidId {
    InvalidId { what, text: text.chars().take(200).collect() }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(invalid($what, text)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Who a worktree belongs to: a session or a task, in the caller's own words. 1 to 200 bytes without
    /// control characters. The same owner in the same project always gets the same worktree.
    OwnerId,
    "owner",
    |text| (1..=200).contains(&text.len()) && !text.chars().any(char::is_control)
);

text_id!(
    /// A worktree: 32 hexadecimal digits, derived from state directory, project and owner. It names the
    /// checkout's folder, git's administrative folder and the refs below `refs/boocoder/`.
    WorktreeId,
    "worktree id",
    is_short_hex
);

text_id!(
    /// One application of a change to the user's checkout: 32 hexadecimal digits.
    AppliedId,
    "applied id",
    is_short_hex
);

fn is_short_hex(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl WorktreeId {
    /// The id for the given parts; separated by a byte that none of them holds.
    pub(crate) fn derive(parts: [&str; 3]) -> Self {
        Self(short_hash(parts.join("\n").as_bytes()))
    }
}

impl AppliedId {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        random_hex().map(Self)
    }
}

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn random_hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// The first 128 bits of the SHA-256 of `bytes` as 32 hexadecimal digits.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha256);
    hasher.update(bytes);
    let digest = hasher.try_finalize().expect("because SHA-256 has no collision detection that could refuse");
    hex(&digest.as_bytes()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub(crate) ObjectId);

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                ObjectId::from_hex(text.as_bytes()).map(Self).map_err(|_| invalid($what, text))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

object_id!(
    /// A commit: its full hexadecimal object id as text.
    CommitId,
    "commit id"
);
object_id!(
    /// A tree, that is the content of a whole checkout: its full hexadecimal object id as text.
    TreeId,
    "tree id"
);
object_id!(
    /// The content of one file or the target of a symbolic link: its full hexadecimal object id as text.
    BlobId,
    "blob id"
);

/// A checkpoint: the commit that holds it, and the ref that keeps the commit alive. Enough to find it again
/// in another process after the worktree is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CheckpointId {
    /// The commit whose tree is the worktree at that moment.
    pub commit: CommitId,
    /// `refs/boocoder/<worktree id>/cp/<sequence number>`.
    pub reference: String,
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.commit, self.reference)
    }
}

impl FromStr for CheckpointId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (commit, reference) = text.split_once(' ').ok_or_else(|| invalid("checkpoint id", text))?;
        Ok(Self { commit: commit.parse()?, reference: reference.to_owned() })
    }
}
