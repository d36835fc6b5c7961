//! Values as they are read from a row.

use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::fault::BadRow;

/// Where a value was read, for the report when it cannot be understood.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub table: &'static str,
    pub row: i64,
}

impl At {
    pub fn bad(self, column: &'static str, why: impl ToString) -> BadRow {
        BadRow { table: self.table, row: self.row, column, why: why.to_string() }
    }

    pub fn word<T: FromStr<Err: ToString>>(self, column: &'static str, text: &str) -> Result<T, BadRow> {
        text.parse().map_err(|why: T::Err| self.bad(column, why))
    }

    pub fn maybe<T: FromStr<Err: ToString>>(
        self,
        column: &'static str,
        text: Option<&String>,
    ) -> Result<Option<T>, BadRow> {
        text.map(|text| self.word(column, text)).transpose()
    }

    pub fn json<T: DeserializeOwned>(self, column: &'static str, text: &str) -> Result<T, BadRow> {
        serde_json::from_str(text).map_err(|why| self.bad(column, why))
    }
}

/// The value, or `None` with a report in the log: a listing is not spoilt by one row (SAFETY A39).
pub(crate) fn or_left_out<T>(read: Result<T, BadRow>) -> Option<T> {
    read.inspect_err(|bad| tracing::warn!(table = bad.table, row = bad.row, "left out: {bad}")).ok()
}
