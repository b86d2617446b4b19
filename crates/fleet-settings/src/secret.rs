//! Secrets: they stand in files of their own, are named by a setting, and never show in `Debug`.

use std::collections::BTreeMap;
use std::fmt;

use figment::Figment;
use figment::providers::{Format, Toml};

use crate::Reader;

/// A text that is shown to nobody: `Debug` hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that hands it to a peer.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

/// What a file of credentials holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `username`
    pub username: String,
    /// `password`
    pub password: Secret,
    /// `mechanism`, where the peer knows several.
    pub mechanism: Option<String>,
}

impl Credentials {
    /// Reads a TOML text with `username`, `password` and, where `mechanisms` are given, one of those as
    /// `mechanism`, the first when it is left out. What is wrong is said without repeating a value.
    ///
    /// # Errors
    /// Says which key is missing, unknown or no text.
    pub fn from_toml(text: &str, mechanisms: &[&str]) -> Result<Self, String> {
        let mut table: BTreeMap<String, String> =
            Figment::from(Toml::string(text)).extract().map_err(|_| {
                "must hold TOML lines such as username = \"fleet\" and password = \"…\", each value a text"
                    .to_owned()
            })?;
        let mut take = |key: &str| {
            table
                .remove(key)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("has no {key}: add a line {key} = \"…\""))
        };
        let username = take("username")?;
        let password = Secret::new(take("password")?);
        let given = (!mechanisms.is_empty())
            .then(|| table.remove("mechanism"))
            .flatten();
        let mechanism = match given {
            Some(given) if mechanisms.contains(&given.as_str()) => Some(given),
            Some(_) => return Err(format!("has another mechanism than {}", mechanisms.join(", "))),
            None => mechanisms.first().map(|first| (*first).to_owned()),
        };
        if let Some(unknown) = table.into_keys().next() {
            return Err(format!("has the key {unknown}, which nothing reads"));
        }
        Ok(Self {
            username,
            password,
            mechanism,
        })
    }
}

impl Reader<'_> {
    /// Reads the file of credentials that a key names, if it is set. `mechanisms`: see [`Credentials::from_toml`].
    pub fn credentials(&mut self, key: &str, mechanisms: &[&str]) -> Option<Credentials> {
        let path = self.optional(key)?;
        let read = std::fs::read_to_string(&path)
            .map_err(|error| format!("this file can't be read: {error}"))
            .and_then(|text| {
                Credentials::from_toml(&text, mechanisms).map_err(|what| format!("this file {what}"))
            });
        match read {
            Ok(credentials) => Some(credentials),
            Err(why) => {
                self.fault(key, why);
                None
            }
        }
    }
}

/// The text with the password of any URL in it hidden, so that a fault can show it.
pub(crate) fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let shown = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    // A password with an unescaped slash ends the authority early: what follows may be a part of it.
    let path = if path.contains('@') { "/***" } else { path };
    let path = if path.to_ascii_lowercase().contains("password") {
        "?***"
    } else {
        path
    };
    format!("{scheme}://{shown}{path}")
}
