//! Values to columns and back.

use std::str::FromStr;

use fleet_store::StoreError;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

use crate::error::{TooLarge, Unreadable, from_sqlx};

/// A number for a column; positions and counters stay far below the limit, but a bench may send anything.
pub(crate) fn int(what: &'static str, value: u64) -> Result<i64, TooLarge> {
    i64::try_from(value).map_err(|_| TooLarge { what, value })
}

/// Numbers that a bench states may be absurd; they only have to stay comparable.
pub(crate) fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A time for a column: microseconds since 1970.
pub(crate) fn time(value: Timestamp) -> i64 {
    value.as_microsecond()
}

/// Our own values always have a JSON form.
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Typed access to a row. Every failure names the column.
pub(crate) trait Columns {
    fn raw<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(&'r self, column: &str) -> Result<T, StoreError>;

    fn text(&self, column: &str) -> Result<String, StoreError> {
        self.raw(column)
    }
    fn opt_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.raw(column)
    }
    fn flag(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.raw::<i64>(column)? != 0)
    }
    fn opt_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.raw(column)
    }
    fn u64(&self, column: &str) -> Result<u64, StoreError> {
        narrow(column, self.raw::<i64>(column)?)
    }
    fn u32(&self, column: &str) -> Result<u32, StoreError> {
        narrow(column, self.raw::<i64>(column)?)
    }
    fn opt_u32(&self, column: &str) -> Result<Option<u32>, StoreError> {
        self.opt_int(column)?
            .map(|value| narrow(column, value))
            .transpose()
    }
    fn opt_u64(&self, column: &str) -> Result<Option<u64>, StoreError> {
        self.opt_int(column)?
            .map(|value| narrow(column, value))
            .transpose()
    }
    fn uuid(&self, column: &str) -> Result<Uuid, StoreError> {
        self.raw(column)
    }
    fn opt_uuid(&self, column: &str) -> Result<Option<Uuid>, StoreError> {
        self.raw(column)
    }
    fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        to_time(column, self.raw(column)?)
    }
    fn opt_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        self.opt_int(column)?
            .map(|value| to_time(column, value))
            .transpose()
    }
    fn parsed<T: FromStr>(&self, column: &str) -> Result<T, StoreError> {
        parse(column, &self.text(column)?)
    }
    fn opt_parsed<T: FromStr>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.opt_text(column)?
            .map(|value| parse(column, &value))
            .transpose()
    }
    fn word<T>(&self, column: &str, of: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let value = self.text(column)?;
        of(&value).ok_or_else(|| unreadable(column, value))
    }
    fn opt_word<T>(&self, column: &str, of: impl Fn(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        let value = self.opt_text(column)?;
        value
            .map(|value| of(&value).ok_or_else(|| unreadable(column, value)))
            .transpose()
    }
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let value = self.text(column)?;
        serde_json::from_str(&value).map_err(|_| unreadable(column, value))
    }
    fn blob(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        self.raw(column)
    }
}

impl Columns for SqliteRow {
    fn raw<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(&'r self, column: &str) -> Result<T, StoreError> {
        self.try_get(column).map_err(from_sqlx)
    }
}

pub(crate) fn unreadable(column: &str, value: impl std::fmt::Debug) -> StoreError {
    let value: String = format!("{value:?}").chars().take(80).collect();
    StoreError::Corrupt(
        Unreadable {
            column: column.to_owned(),
            value,
        }
        .into(),
    )
}

fn narrow<T: TryFrom<i64>>(column: &str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| unreadable(column, value))
}

fn to_time(column: &str, value: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(value).map_err(|_| unreadable(column, value))
}

fn parse<T: FromStr>(column: &str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_| unreadable(column, value))
}
