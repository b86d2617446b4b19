//! Lays the sources over each other and has them judged, all of them, before saying anything.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use figment::value::Dict;

use crate::{Program, Reader, Settings};

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key.
    pub key: String,
    /// The value as given, cut to 80 characters.
    pub value: String,
    /// Where it came from.
    pub source: String,
    /// What is wrong and what to do.
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = {} (from {}): {}",
            self.key, self.value, self.source, self.why
        )
    }
}

/// Everything that is wrong with the settings of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// Name of the program.
    pub program: &'static str,
    /// At least one.
    pub list: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} setting(s) are wrong:", self.list.len())?;
        for fault in &self.list {
            writeln!(f, "  {fault}")?;
        }
        write!(f, "`{} config print --defaults` lists every key.", self.program)
    }
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("configuration file {path} can't be read; name another with --config")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("configuration file {path} is not TOML")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what, as the reader said.
        #[source]
        source: Box<figment::Error>,
    },
    /// One or more settings are wrong.
    #[error("{0}")]
    Faults(Faults),
}

/// Reads the settings of a process: defaults, then `file`, then the environment.
///
/// # Errors
/// When the file can't be read, or every fault at once, each with key, value and source.
pub fn load<S: Settings>(file: Option<&Path>) -> Result<S, ConfigError> {
    let mut sources = of_defaults(&S::PROGRAM);
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Figment::from(Toml::string(&text))
            .extract::<Dict>()
            .map_err(|source| ConfigError::Syntax {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
        sources = sources.merge(Toml::file_exact(path));
    }
    judge(&sources.merge(Env::prefixed(S::PROGRAM.environment).split("__")))
}

/// The defaults, without file and environment.
///
/// # Errors
/// Every fault at once: of a key that must be set and has no default, too.
pub fn defaults<S: Settings>() -> Result<S, ConfigError> {
    judge(&of_defaults(&S::PROGRAM))
}

/// The defaults with a TOML text over them, without file and environment.
///
/// # Errors
/// Every fault at once, each with key, value and source.
pub fn parse<S: Settings>(toml: &str) -> Result<S, ConfigError> {
    judge(&of_defaults(&S::PROGRAM).merge(Toml::string(toml)))
}

fn of_defaults(program: &Program) -> Figment {
    Figment::from(Toml::string(&program.defaults_toml()))
}

fn judge<S: Settings>(sources: &Figment) -> Result<S, ConfigError> {
    let mut reader = Reader::new(S::PROGRAM, sources);
    reader.refuse_unknown_keys();
    let settings = S::read(&mut reader);
    let list = reader.into_faults();
    match settings {
        Some(settings) if list.is_empty() => Ok(settings),
        _ => Err(ConfigError::Faults(Faults {
            program: S::PROGRAM.name,
            list,
        })),
    }
}
