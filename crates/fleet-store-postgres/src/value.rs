//! From the columns of a record to the domain's values. Every failure names the column.

use std::str::FromStr;

use fleet_store::StoreError;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::column::{narrow, parse, to_time, unreadable};

/// A number, or nothing.
pub(crate) fn opt_narrow<T: TryFrom<i64>>(column: &str, value: Option<i64>) -> Result<Option<T>, StoreError> {
    value.map(|value| narrow(column, value)).transpose()
}

/// A time, or nothing.
pub(crate) fn opt_time(column: &str, value: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    value.map(|value| to_time(column, value)).transpose()
}

/// A name or id in its text form, or nothing.
pub(crate) fn opt_parse<T: FromStr>(column: &str, value: Option<&str>) -> Result<Option<T>, StoreError> {
    value.map(|value| parse(column, value)).transpose()
}

/// One of the domain's words.
pub(crate) fn word<T>(column: &str, value: &str, of: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
    of(value).ok_or_else(|| unreadable(column, value))
}

/// One of the domain's words, or nothing.
pub(crate) fn opt_word<T>(
    column: &str,
    value: Option<&str>,
    of: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    value.map(|value| word(column, value, of)).transpose()
}

/// A value kept as JSON.
pub(crate) fn from_json<T: DeserializeOwned>(column: &str, value: &str) -> Result<T, StoreError> {
    serde_json::from_str(value).map_err(|_| unreadable(column, value))
}
