//! Where the programs of the services are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Not always in the search path of a user who is not root.
const SYSTEM_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin"];
/// Debian keeps the server's programs of each major version in a folder of its own.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";

/// A program that a service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceProgram {
    /// The PostgreSQL server; its other programs lie beside it.
    Postgres,
    /// The Mosquitto broker.
    Mosquitto,
    /// Mosquitto's maker of password files.
    MosquittoPasswd,
    /// A Java runtime.
    Java,
    /// The Java compiler.
    Javac,
    /// The Prometheus server.
    Prometheus,
    /// Prometheus' tool that checks rules.
    Promtool,
    /// Maven, which loads the jars of Kafka and HiveMQ.
    Maven,
}

impl ServiceProgram {
    fn file(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mosquitto => "mosquitto",
            Self::MosquittoPasswd => "mosquitto_passwd",
            Self::Java => "java",
            Self::Javac => "javac",
            Self::Prometheus => "prometheus",
            Self::Promtool => "promtool",
            Self::Maven => "mvn",
        }
    }

    /// Where it is.
    pub fn find(self) -> Option<PathBuf> {
        if self == Self::Postgres {
            return postgres_folder().map(|folder| folder.join(self.file()));
        }
        search(self.file())
    }

    /// Where it is.
    ///
    /// # Errors
    /// When this machine lacks it; the message names the command that installs it.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        self.find().with_context(|| {
            format!(
                "{} is not installed here; next: `cargo xtask doctor --install`",
                self.file()
            )
        })
    }
}

fn search(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(file))
        .find(|candidate| candidate.is_file())
}

/// The folder with `postgres`, `initdb`, `pg_dump` and the others, of the newest version that is here.
fn postgres_folder() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN_POSTGRES).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| is_whole(folder))
        .max();
    // Elsewhere the server's programs are in the search path; a link to one of them leads to the others.
    newest.map(|(_, folder)| folder).or_else(|| {
        let found = std::fs::canonicalize(search("postgres")?).ok()?;
        found
            .parent()
            .map(Path::to_owned)
            .filter(|folder| is_whole(folder))
    })
}

fn is_whole(folder: &Path) -> bool {
    ["postgres", "initdb", "psql", "pg_dump", "pg_restore"]
        .iter()
        .all(|program| folder.join(program).is_file())
}
