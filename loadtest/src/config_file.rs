//! TOML files in which every key is known.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a file can't be used: which file, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("{path} can't be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML, or a key is unknown, missing or of another type.
    #[error("{path}, line {line}, column {column}{key}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
        /// `, key NAME` where the text there is one.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A value can't be used.
    #[error("{path}, key {key}: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl ConfigError {
    /// A value that can't be used.
    pub fn value(path: &Path, key: &str, problem: String) -> Self {
        Self::Value {
            path: path.to_owned(),
            key: key.to_owned(),
            problem,
        }
    }
}

/// Reads a file.
///
/// # Errors
/// When it can't be read or is not of this shape.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, &text)
}

/// Reads a file's text; `path` is for the message.
///
/// # Errors
/// When it is not of this shape.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let line_begin = before.rfind('\n').map_or(0, |end| end + 1);
        let line_text = text
            .get(line_begin..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let key = line_text.split('=').next().unwrap_or_default().trim();
        ConfigError::Malformed {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_begin..).unwrap_or_default().chars().count() + 1,
            key: if key.is_empty() || key.starts_with('[') {
                String::new()
            } else {
                format!(", key {key}")
            },
            problem: error.message().replace('\n', ", "),
        }
    })
}
