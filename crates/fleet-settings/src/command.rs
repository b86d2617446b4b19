//! What the programs' command lines have in common.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use crate::{ConfigError, Settings, load};

/// Exit code: what has none of its own.
pub const EXIT_OTHER: u8 = 1;

/// Exit code: the settings or the command line can't be used.
pub const EXIT_SETTINGS: u8 = 2;

/// Exit code: another process holds the data folder or a port.
pub const EXIT_HELD: u8 = 3;

/// The subcommand `config`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings as they are used.
    Print {
        /// Print every key with its default and meaning instead.
        #[arg(long)]
        defaults: bool,
    },
    /// Say whether the settings can be used, and everything that is wrong with them.
    Check,
}

impl ConfigCommand {
    /// Carries the subcommand out. `file` is the one of `--config`; the defaults are printed without reading it.
    pub fn run<S: Settings>(self, file: Option<&Path>) -> ExitCode {
        match self.text::<S>(file) {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(error) => S::PROGRAM.fails(&error, EXIT_SETTINGS),
        }
    }

    fn text<S: Settings>(self, file: Option<&Path>) -> Result<String, ConfigError> {
        Ok(match self {
            Self::Print { defaults: true } => S::PROGRAM.defaults_toml(),
            Self::Print { defaults: false } => load::<S>(file)?.printed(),
            Self::Check => {
                load::<S>(file)?;
                "the settings can be used\n".to_owned()
            }
        })
    }
}

/// Writes to standard output.
pub fn print(text: &str) {
    use std::io::Write as _;
    // A reader that has closed its end (`| head`) needs nothing more.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
