//! Opening the database: connections, settings and migrations.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{folder::Folder, open_error::OpenError};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The schema that this build reads and writes: the number of its last migration, which each migration
/// writes into `user_version`.
pub const SCHEMA: i64 = 1;

/// How long a write waits for another process's. A writer holds the lock for milliseconds; what takes
/// longer than this is stuck.
const BUSY: Duration = Duration::from_secs(5);

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
