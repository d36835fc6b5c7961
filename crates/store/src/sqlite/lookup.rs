//! How rows are found and read, whatever they are of.

use rusqlite::{
    OptionalExtension, Row, Transaction,
    types::{FromSql, FromSqlResult, Value, ValueRef},
};

use crate::{fault::Fault, prefix::Prefix};

/// Text that need not be UTF-8 in a damaged file: one row must not fail the reading of others.
struct Lossy(String);

impl FromSql for Lossy {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(String::from_utf8_lossy(value.as_bytes()?).into_owned()))
    }
}

pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(row.get::<_, Lossy>(column)?.0)
}

pub(super) fn maybe_text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(row.get::<_, Option<Lossy>>(column)?.map(|text| text.0))
}

/// A limit as SQLite wants it: negative is none.
pub(super) fn limit(limit: usize) -> Value {
    match limit {
        0 => Value::Integer(-1),
        limit => Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)),
    }
}

/// The row of an id in the table that is called `what`.
pub(super) fn number(tx: &Transaction<'_>, what: &'static str, id: &str) -> Result<i64, Fault> {
    tx.prepare_cached(&format!("SELECT num FROM {what} WHERE id = ?1"))?
        .query_row([id], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Fault::NotFound { what, id: id.to_owned() })
}

/// The one id in the table that is called `what` that begins with `prefix`.
pub(super) fn id_by_prefix<T: std::str::FromStr>(
    tx: &Transaction<'_>,
    what: &'static str,
    prefix: &str,
) -> Result<T, Fault> {
    let prefix = Prefix::new(what, prefix)?;
    let sql = format!("SELECT id FROM {what} WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id LIMIT 2");
    let mut found = tx.prepare_cached(&sql)?;
    let ids = found.query_map([prefix.digits()], |row| text(row, 0))?.collect::<Result<Vec<_>, _>>()?;
    prefix.one_of(&ids)
}
