//! What the programs of a fleet have in common before they do anything: settings, data folder, exit codes.
//!
//! A program states a table of [`Key`]s and reads its settings from a [`Reader`]. Sources, later ones win: the
//! table's defaults, a TOML file, environment variables `PREFIX__SECTION__KEY`. All faults are found before any is
//! reported, each with key, value and source. No secret is a setting: a key may name a file that holds one.

mod command;
mod key;
mod load;
mod lock;
mod reader;
mod secret;
mod url;

use fleet_domain::error_chain;

pub use command::{ConfigCommand, EXIT_HELD, EXIT_OTHER, EXIT_SETTINGS, print};
pub use key::{Key, Kind, TELEMETRY_LOG, TELEMETRY_LOG_FORMAT, TELEMETRY_OTLP_ENDPOINT, key, unset};
pub use load::{ConfigError, Fault, Faults, defaults, load, parse};
pub use lock::{FolderLock, LockError};
pub use reader::Reader;
pub use secret::{Credentials, Secret};
pub use url::{HostPort, PeerUrl, peer_url};

/// A program as an operator knows it.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name on the command line.
    pub name: &'static str,
    /// Prefix of its environment variables, with the two underscores at its end.
    pub environment: &'static str,
    /// Every key, top-level ones first, then by section.
    pub keys: &'static [Key],
    /// Name of the lock file in its data folder.
    pub lock_file: &'static str,
    /// Permissions of a data folder that it makes; the process's umask takes away from them.
    pub folder_mode: u32,
}

/// The settings of one program.
pub trait Settings: Sized {
    /// Whose settings they are.
    const PROGRAM: Program;

    /// Reads every key before giving up on any, so that all faults are known. `None` when one is wrong.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;

    /// The settings as they are used, for `config print`.
    fn printed(&self) -> String;
}

impl Program {
    /// The defaults as a commented TOML file.
    pub fn defaults_toml(&self) -> String {
        key::defaults_toml(self.keys)
    }

    /// Says on standard error what is wrong.
    pub fn complain(&self, text: &str) {
        use std::io::Write as _;
        // Nobody is left to be told when that can't be written.
        let _ = writeln!(std::io::stderr(), "{}: {text}", self.name);
    }

    /// Says on standard error what is wrong, with its causes, and gives the exit code.
    pub fn fails(&self, error: &dyn std::error::Error, code: u8) -> std::process::ExitCode {
        self.complain(&error_chain(error));
        std::process::ExitCode::from(code)
    }
}
