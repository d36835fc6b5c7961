//! What can go wrong inside an adapter, and how the ports are told.

use dispatch_core::{
    ids::NodeId,
    ports::{RecordsError, StoreError},
    task::UnknownWord,
};

/// A stored row that cannot be understood: written by a newer build, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("row {row} of {table} cannot be read: {column}: {why}")]
pub(crate) struct BadRow {
    pub table: &'static str,
    pub row: i64,
    pub column: &'static str,
    pub why: String,
}

/// Why a job did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[cfg(feature = "postgres")]
    #[error("{}", crate::postgres::said(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[cfg(feature = "postgres")]
    #[error("the database did not answer within {} s", .0.as_secs())]
    TimedOut(std::time::Duration),
    #[error(transparent)]
    Bad(#[from] BadRow),
    #[error("a value cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Word(#[from] UnknownWord),
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("lock file {}: {source}", path.display())]
    Lock { path: std::path::PathBuf, source: std::io::Error },
    #[error("the store is closed")]
    Closed,
    #[error("{0}")]
    Misuse(&'static str),
    #[error("node {0} is already running")]
    NodeTaken(NodeId),
    #[error("no {what} {id}")]
    NotFound { what: &'static str, id: String },
    #[error("{what} {id} is ambiguous")]
    Ambiguous { what: &'static str, id: String },
    #[error("{0}")]
    Refused(String),
}

impl Fault {
    /// The fault in the words of the `Store` port.
    pub fn into_store(self, doing: &'static str) -> StoreError {
        match self {
            Self::NodeTaken(node) => StoreError::NodeTaken { node },
            fault if fault.may_pass() => StoreError::Unavailable { doing, source: Box::new(fault) },
            fault => StoreError::Failed { doing, source: Box::new(fault) },
        }
    }

    /// The fault in the words of the `Records` port.
    pub fn into_records(self, doing: &'static str) -> RecordsError {
        match self {
            Self::NotFound { what, id } => RecordsError::NotFound { what, id },
            Self::Ambiguous { what, id } => RecordsError::Ambiguous { what, id },
            Self::Refused(why) => RecordsError::Refused(why),
            fault => RecordsError::Store(fault.into_store(doing)),
        }
    }

    /// Whether the same call may succeed later: another process writes for longer than we waited, or the
    /// disk is full (SAFETY F22, F23).
    pub fn may_pass(&self) -> bool {
        #[cfg(feature = "sqlite")]
        if let Self::Sql(rusqlite::Error::SqliteFailure(error, _)) = self {
            use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
            return matches!(error.code, DatabaseBusy | DatabaseLocked | DiskFull);
        }
        #[cfg(feature = "postgres")]
        match self {
            Self::Postgres(error) => return crate::postgres::may_pass(error),
            Self::TimedOut(_) => return true,
            _ => {}
        }
        false
    }
}
