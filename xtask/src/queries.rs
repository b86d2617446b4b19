//! What the storage's statements were found to be (`.sqlx`), one file for each: with them the statements are checked
//! when the crate is built, without a database.
//!
//! sqlx writes such files when a crate is compiled with the address of a database; its own command line program is
//! not needed for that.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use fleet_testkit::services::{Postgres, PostgresOptions};

use crate::generate::Generated;
use crate::workspace::{cargo, root, shown};

const CRATE: &str = "fleet-store-postgres";
const SCHEMA: &str = "migrations/postgres";
const DATABASE: &str = "queries";

/// Where the files lie, below the root.
pub(crate) fn folder() -> PathBuf {
    Path::new("crates").join(CRATE).join(".sqlx")
}

/// The files of the crate as it is, from a real server with the schema as it is.
pub(crate) fn files() -> anyhow::Result<Vec<Generated>> {
    let place = tempfile::tempdir().context("cannot make a folder for PostgreSQL")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let server = runtime.block_on(server(place.path()))?;
    let found = place.path().join("sqlx");
    std::fs::create_dir(&found).with_context(|| format!("cannot make {}", found.display()))?;
    compile(&server.superuser_url_of(DATABASE), &found)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&found).context("cannot read what was found")? {
        let entry = entry.context("cannot read what was found")?;
        let bytes = std::fs::read(entry.path()).context("cannot read what was found")?;
        files.push((folder().join(entry.file_name()), bytes));
    }
    if files.is_empty() {
        bail!("{CRATE} was compiled and no statement was looked at");
    }
    files.sort();
    Ok(files)
}

async fn server(place: &Path) -> anyhow::Result<Postgres> {
    let options = PostgresOptions {
        fsync: false,
        ..PostgresOptions::default()
    };
    let server = Postgres::start(&place.join("postgres"), options).await?;
    server.create_database(DATABASE).await?;
    let folder = root().join(SCHEMA);
    let mut steps = std::fs::read_dir(&folder)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("cannot read {}", folder.display()))?;
    steps.sort();
    for step in steps {
        let sql =
            std::fs::read_to_string(&step).with_context(|| format!("cannot read {}", step.display()))?;
        server
            .execute_in(DATABASE, &sql)
            .await
            .with_context(|| format!("{} can't be applied", step.display()))?;
    }
    Ok(server)
}

/// Compiles the crate, also when nothing changed since the last time.
fn compile(url: &str, found: &Path) -> anyhow::Result<()> {
    let source = root().join("crates").join(CRATE).join("src/lib.rs");
    let _touched = Touched::new(&source)?;
    let mut check = cargo();
    check
        .args(["check", "--quiet", "-p", CRATE, "--lib"])
        .env("DATABASE_URL", url)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", found);
    let what = shown(&check);
    let output = check.output().with_context(|| format!("cannot start `{what}`"))?;
    if !output.status.success() {
        bail!(
            "`{what}` failed: a statement does not fit the schema\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// A file that looks as if it was just changed, until this is dropped: other builds find it as they left it.
struct Touched {
    file: File,
    before: SystemTime,
}

impl Touched {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let file = File::options()
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let before = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .context("a file has a time")?;
        let now = u64::try_from(fleet_clock::wall_now().as_microsecond()).unwrap_or_default();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_micros(now))
            .with_context(|| format!("cannot touch {}", path.display()))?;
        Ok(Self { file, before })
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        // Where it fails the crate is compiled once more.
        let _ = self.file.set_modified(self.before);
    }
}
