//! Values to columns and back.

use std::borrow::Cow;
use std::str::FromStr;

use fleet_store::StoreError;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row, Type};
use uuid::Uuid;

use crate::error::{TooLarge, Unreadable, from_sqlx};

const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;

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

/// The day of a time, UTC, counted from 1970.
pub(crate) fn day(value: Timestamp) -> i32 {
    i32::try_from(value.as_microsecond().div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX)
}

/// The first microsecond of a day.
pub(crate) fn day_begins(day: i32) -> i64 {
    i64::from(day).saturating_mul(MICROS_PER_DAY)
}

/// Text from outside for a column. PostgreSQL's text can't hold the character NUL, which JSON and MQTT can: its
/// picture (U+2400) stands for it. What came is kept byte by byte in `bytes`.
pub(crate) fn text(value: &str) -> Cow<'_, str> {
    if value.contains('\0') {
        Cow::Owned(value.replace('\0', "\u{2400}"))
    } else {
        Cow::Borrowed(value)
    }
}

/// As [`text`], where there may be none.
pub(crate) fn opt_text(value: Option<&str>) -> Option<Cow<'_, str>> {
    value.map(text)
}

/// Our own values always have a JSON form. In it, NUL is written as an escape.
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Typed access to a row. Every failure names the column.
pub(crate) trait Columns {
    fn raw<'r, T: Decode<'r, Postgres> + Type<Postgres>>(&'r self, column: &str) -> Result<T, StoreError>;

    fn text(&self, column: &str) -> Result<String, StoreError> {
        self.raw(column)
    }
    fn opt_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.raw(column)
    }
    fn flag(&self, column: &str) -> Result<bool, StoreError> {
        self.raw(column)
    }
    fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.raw(column)
    }
    fn opt_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.raw(column)
    }
    fn u64(&self, column: &str) -> Result<u64, StoreError> {
        narrow(column, self.int(column)?)
    }
    fn u32(&self, column: &str) -> Result<u32, StoreError> {
        narrow(column, self.int(column)?)
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
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let value = self.text(column)?;
        serde_json::from_str(&value).map_err(|_| unreadable(column, value))
    }
    fn blob(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        self.raw(column)
    }
}

impl Columns for PgRow {
    fn raw<'r, T: Decode<'r, Postgres> + Type<Postgres>>(&'r self, column: &str) -> Result<T, StoreError> {
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

pub(crate) fn narrow<T: TryFrom<i64>>(column: &str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| unreadable(column, value))
}

pub(crate) fn to_time(column: &str, value: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(value).map_err(|_| unreadable(column, value))
}

pub(crate) fn parse<T: FromStr>(column: &str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_| unreadable(column, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970_and_begin_at_midnight() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T23:59:59.999999Z", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("2026-11-25T02:00:00Z", 20782),
        ] {
            assert_eq!(day(at(text)), expected, "{text}");
            assert!(day_begins(expected) <= time(at(text)));
            assert!(time(at(text)) < day_begins(expected + 1));
        }
    }

    #[test]
    fn nul_is_shown_by_its_picture() {
        assert_eq!(text("a\0b"), "a\u{2400}b");
        assert!(matches!(text("plain"), Cow::Borrowed("plain")));
    }
}
