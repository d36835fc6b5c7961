//! Opening the database: connections, settings and migrations.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::folder::Folder;

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The schema that this build reads and writes: the number of its last migration, which each migration
/// writes into `user_version`.
pub const SCHEMA: i64 = 1;

/// How long a write waits for another process's. A writer holds the lock for milliseconds; what takes
/// longer than this is stuck.
const BUSY: Duration = Duration::from_secs(5);

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

/// Opens the writing connection, with the schema as this build wants it.
pub(super) fn open_writer(folder: &Folder) -> Result<Connection, OpenError> {
    let path = &folder.database;
    let failed = |source| OpenError::Database { path: path.clone(), source };
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    if schema(&connection, path)? < SCHEMA {
        // Several processes may find the same old schema: the first brings it up to date.
        let _alone = folder.lock_for_migration()?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        if schema(&connection, path)? < SCHEMA {
            migrate(&mut connection, path)?;
        }
    }
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Not opened read-only: SQLite would then refuse a log that a killed process left behind.
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

fn schema(connection: &Connection, path: &Path) -> Result<i64, OpenError> {
    let found = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
    if found > SCHEMA {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA });
    }
    Ok(found)
}

pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed =
        |source: refinery::Error| OpenError::Migration { path: path.to_owned(), source: Box::new(source) };
    embedded::migrations::runner().run(connection).map_err(failed)?;
    Ok(())
}
