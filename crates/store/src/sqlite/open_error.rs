//! Why the record cannot be opened.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why the store could not be opened: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be made, read or written.
    #[error(
        "cannot use {} for the record: {source}; make it readable and writable for this user, or choose another data folder",
        path.display()
    )]
    Unwritable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder or a file in it belongs to somebody else.
    #[error(
        "{} belongs to user {owner}, not to {us}: the record is kept only where nobody else can change it; choose another data folder",
        path.display()
    )]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// This process's user.
        us: u32,
    },
    /// A newer build has written it.
    #[error(
        "{} has schema {found}, and this build knows schemas up to {known}: use a newer boocoder, or another data folder",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
    /// SQLite refuses the file.
    #[error("cannot open the record {}: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the record {} up to date: {source}", path.display())]
    Migration {
        /// The database.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The writing thread could not be started.
    #[error("cannot start the record's writer: {0}")]
    Thread(io::Error),
}

impl OpenError {
    pub(super) fn unwritable(path: &Path, source: io::Error) -> Self {
        Self::Unwritable { path: path.to_owned(), source }
    }
}
