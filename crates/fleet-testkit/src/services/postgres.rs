//! A PostgreSQL server of one's own.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User};
use tokio::sync::OnceCell;

use super::daemon::{Daemon, LastWill};
use super::jars;
use super::lifecycle::lifecycle;
use super::port::Port;
use super::programs::ServiceProgram;
use super::psql;
use super::small_disk::SmallDisk;
use crate::Program;

/// The server refuses to run as root; Debian's package brings this account.
const ACCOUNT: &str = "postgres";
const SUPERUSER: &str = "postgres";
/// The role and the first database of the product.
const ROLE: &str = "fleet";
const READY: &str = "database system is ready to accept connections";
/// Recovery after SIGKILL included.
const READY_WITHIN: Duration = Duration::from_mins(1);
const TABLESPACE: &str = "small_disk";

/// How a server is started. The default is as safe as the product needs it.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `false` for suites that test logic alone: faster, and a kill of the machine would lose data (a kill of the
    /// server does not).
    pub fsync: bool,
    /// Puts all databases on a file system of this many bytes, for tests of a full disk (see
    /// [`Postgres::fill_disk`]). Needs root; the write-ahead log stays elsewhere, so a full disk refuses statements
    /// (SQLSTATE 53100) and does not end the server.
    pub small_disk: Option<u64>,
    /// The password that the role of the product needs. None: it needs none.
    pub password: Option<String>,
    /// More settings of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            fsync: true,
            small_disk: None,
            password: None,
            settings: Vec::new(),
        }
    }
}

/// A running (or stopped) PostgreSQL server. Dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    /// How it is started; a change holds from the next [`Postgres::restart`].
    pub options: PostgresOptions,
    programs: PathBuf,
    folder: PathBuf,
    account: Option<Account>,
    port: Port,
    // Before the disk, so that it is dropped before it.
    daemon: Option<Daemon>,
    disk: Option<SmallDisk>,
    remove_folder: bool,
}

lifecycle!(Postgres, "PostgreSQL", ends_by Signal::SIGINT, taken "could not bind IPv4 address");

impl Postgres {
    /// Starts a server on `{folder}/data`, making it with the role and the database `fleet` when there is none.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not get ready within a minute; with the end of its log.
    pub async fn start(folder: &Path, options: PostgresOptions) -> anyhow::Result<Self> {
        Self::start_on(folder, options, false).await
    }

    /// The one server of this test program, without fsync: give each test a database of its own. It ends, and its
    /// folder is removed, when the program ends.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        let start = || async {
            let name = format!("vds-fleet-postgres-{}", std::process::id());
            let options = PostgresOptions {
                fsync: false,
                ..PostgresOptions::default()
            };
            Self::start_on(&std::env::temp_dir().join(name), options, true).await
        };
        SHARED.get_or_try_init(start).await
    }

    async fn start_on(folder: &Path, options: PostgresOptions, remove_folder: bool) -> anyhow::Result<Self> {
        let server = ServiceProgram::Postgres.path()?;
        let programs = server.parent().map(Path::to_owned).unwrap_or_default();
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize().context("the folder was just made")?;
        let mut this = Self {
            account: Account::of_the_server(&folder)?,
            options,
            programs,
            folder,
            port: Port::choose()?,
            daemon: None,
            disk: None,
            remove_folder,
        };
        let new = !this.data().exists();
        if new {
            this.copy_template().await?;
        }
        if let Some(bytes) = this.options.small_disk {
            let owner = this.account.as_ref().map(|account| (account.uid, account.gid));
            this.disk = Some(SmallDisk::mount(&this.folder.join("disk"), bytes, owner)?);
        }
        this.run_on_free_ports().await?;
        if new {
            this.furnish().await?;
        }
        Ok(this)
    }

    /// The database `fleet`, as the product's role: `postgres://fleet@127.0.0.1:PORT/fleet`.
    pub fn url(&self) -> String {
        self.url_of(ROLE)
    }

    /// A database of this server, as the product's role.
    pub fn url_of(&self, database: &str) -> String {
        self.url_at(self.address(), database)
    }

    /// A database as it is reached through another address, for example a [`FaultProxy`](crate::FaultProxy).
    pub fn url_at(&self, address: SocketAddr, database: &str) -> String {
        format!("postgres://{ROLE}@{address}/{database}")
    }

    /// A database of this server as its superuser, who needs no password.
    pub fn superuser_url_of(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@{}/{database}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    /// Makes an empty database that belongs to the product's role; gives its URL.
    ///
    /// # Errors
    /// When there is one of this name, or the server refuses.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<String> {
        let name_quoted = psql::identifier(name);
        let tablespace = if self.disk.is_some() {
            format!(" TABLESPACE {TABLESPACE}")
        } else {
            String::new()
        };
        self.execute_in(
            SUPERUSER,
            &format!("CREATE DATABASE {name_quoted} OWNER {ROLE}{tablespace}"),
        )
        .await?;
        Ok(self.url_of(name))
    }

    /// Removes a database and throws out whoever uses it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        let name = psql::identifier(name);
        self.execute_in(SUPERUSER, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .await
            .map(drop)
    }

    /// Runs a statement as the superuser in the database `fleet`; gives the rows, one a line, columns by `|`.
    ///
    /// # Errors
    /// What the server says.
    pub async fn execute(&self, sql: &str) -> anyhow::Result<String> {
        self.execute_in(ROLE, sql).await
    }

    /// Runs a statement as the superuser in a database.
    ///
    /// # Errors
    /// What the server says.
    pub async fn execute_in(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let args = ["-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql];
        self.client("psql", &["-X", "-d", database], &args).await
    }

    /// Writes a backup of a database (`pg_dump`, custom format). The database stays in use.
    ///
    /// # Errors
    /// What `pg_dump` says.
    pub async fn dump(&self, database: &str, file: &Path) -> anyhow::Result<()> {
        let file = file.display().to_string();
        self.client("pg_dump", &["-d", database], &["-F", "c", "-f", &file])
            .await
            .map(drop)
    }

    /// Puts a backup in the place of a database. It is read beside the database, which is replaced by it in an
    /// instant: whoever used the database is thrown out and finds the older one.
    ///
    /// # Errors
    /// What `pg_restore` or the server says. Until the exchange the database is untouched.
    pub async fn restore(&self, database: &str, file: &Path) -> anyhow::Result<()> {
        let beside = format!("{database}_restored");
        self.drop_database(&beside).await?;
        self.create_database(&beside).await?;
        let file = file.display().to_string();
        self.client(
            "pg_restore",
            &["-d", &beside],
            &["--exit-on-error", "--single-transaction", &file],
        )
        .await?;
        self.drop_database(database).await?;
        let (old, new) = (psql::identifier(&beside), psql::identifier(database));
        self.execute_in(SUPERUSER, &format!("ALTER DATABASE {old} RENAME TO {new}"))
            .await
            .map(drop)
    }

    /// Makes every transaction read-only from its next statement on (SQLSTATE 25006), as a standby would, or ends
    /// that. A client that asks for a read-write transaction by name still gets it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn set_read_only(&self, read_only: bool) -> anyhow::Result<()> {
        let value = if read_only { "on" } else { "off" };
        self.execute_in(
            SUPERUSER,
            &format!("ALTER SYSTEM SET default_transaction_read_only = {value}"),
        )
        .await?;
        self.execute_in(SUPERUSER, "SELECT pg_reload_conf()")
            .await
            .map(drop)
    }

    /// Leaves no free byte on the small disk of the options.
    ///
    /// # Errors
    /// When there is no small disk, or the kernel refuses.
    pub fn fill_disk(&mut self) -> anyhow::Result<()> {
        self.disk.as_mut().context("started without a small disk")?.fill()
    }

    /// Gives the small disk its free bytes back.
    ///
    /// # Errors
    /// When there is no small disk, or the kernel refuses.
    pub fn free_disk(&mut self) -> anyhow::Result<()> {
        self.disk.as_mut().context("started without a small disk")?.free()
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn choose_ports(&mut self) -> anyhow::Result<()> {
        self.port = Port::choose()?;
        Ok(())
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let access = self.folder.join("pg_hba.conf");
        let method = if self.options.password.is_some() {
            "scram-sha-256"
        } else {
            "trust"
        };
        let lines = format!("host all {SUPERUSER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 {method}\n");
        std::fs::write(&access, lines).with_context(|| format!("cannot write {}", access.display()))?;
        if let Some(account) = &self.account {
            chown(&access, Some(account.uid), Some(account.gid)).context("cannot give a file away")?;
        }
        let (program, mut args) = as_account(self.account.as_ref(), &self.programs.join("postgres"));
        args.extend(["-D".to_owned(), self.data().display().to_string()]);
        for (key, value) in self.settings(&access) {
            args.extend(["-c".to_owned(), format!("{key}={value}")]);
        }
        let log = self.log();
        let program = Program::new("postgres", &program, &log)
            .args(args)
            .envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC")]);
        let will = LastWill {
            signal: Signal::SIGQUIT,
            mounted: self.disk.as_ref().map(SmallDisk::folder),
            remove: self.remove_folder.then_some(self.folder.as_path()),
        };
        let daemon = self.daemon.insert(Daemon::start(program, &log, will)?);
        daemon.until_logged(READY, READY_WITHIN).await?;
        self.set_password().await
    }

    fn settings(&self, access: &Path) -> Vec<(String, String)> {
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.number().to_string()),
            // Its path would have to be short.
            ("unix_socket_directories", String::new()),
            ("hba_file", access.display().to_string()),
            ("shared_buffers", "32MB".to_owned()),
            ("max_connections", "200".to_owned()),
            ("log_line_prefix", "%m [%p] %u@%d ".to_owned()),
            ("logging_collector", "off".to_owned()),
        ];
        if !self.options.fsync {
            for key in ["fsync", "full_page_writes", "synchronous_commit"] {
                settings.push((key, "off".to_owned()));
            }
        }
        let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value));
        settings.chain(self.options.settings.iter().cloned()).collect()
    }

    /// The first database, on the small disk when there is one.
    async fn furnish(&self) -> anyhow::Result<()> {
        if let Some(disk) = &self.disk {
            let location = psql::literal(&disk.folder().join("tablespace").display().to_string());
            self.execute_in(
                SUPERUSER,
                &format!("CREATE TABLESPACE {TABLESPACE} OWNER {ROLE} LOCATION {location}"),
            )
            .await?;
        }
        self.create_database(ROLE).await.map(drop)
    }

    async fn set_password(&self) -> anyhow::Result<()> {
        let Some(password) = &self.options.password else {
            return Ok(());
        };
        let password = psql::literal(password);
        self.execute_in(SUPERUSER, &format!("ALTER ROLE {ROLE} PASSWORD {password}"))
            .await
            .map(drop)
    }

    async fn client(&self, program: &str, target: &[&str], args: &[&str]) -> anyhow::Result<String> {
        let mut client = psql::client(&self.programs.join(program), self.address(), SUPERUSER);
        client.args(target).args(args);
        psql::output(client).await
    }

    /// `initdb` takes seconds; its result is made once per target folder and copied.
    async fn copy_template(&self) -> anyhow::Result<()> {
        let (programs, account, data) = (self.programs.clone(), self.account.clone(), self.data());
        tokio::task::spawn_blocking(move || {
            let template = template(&programs, account.as_ref())?;
            succeed(
                Command::new("cp")
                    .args(["-a", "--reflink=auto"])
                    .arg(template)
                    .arg(data),
            )
        })
        .await
        .context("the copy was cut off")?
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, but its shared memory is given back.
        if let Some(mut daemon) = self.daemon.take() {
            daemon.end_now(Signal::SIGQUIT);
        }
    }
}

/// The account that the server runs as, where we are root.
#[derive(Debug, Clone)]
struct Account {
    uid: u32,
    gid: u32,
    /// A folder above the data cannot be passed by this account, for example because it is in `/root`.
    walled_in: bool,
}

impl Account {
    fn of_the_server(folder: &Path) -> anyhow::Result<Option<Self>> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        let user = User::from_name(ACCOUNT).context("cannot read the accounts of this machine")?;
        let user = user.with_context(|| {
            format!("PostgreSQL refuses to run as root and there is no account `{ACCOUNT}`; next: `cargo xtask doctor --install`")
        })?;
        let services = jars::folder()?;
        let walled_in = folder.ancestors().chain(services.ancestors()).any(|above| {
            let mode = std::fs::metadata(above).map_or(0, |folder| folder.permissions().mode());
            mode & 0o001 == 0
        });
        Ok(Some(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            walled_in,
        }))
    }
}

/// The program and its first arguments that run `program` as the account. What only root may pass is passed with
/// one capability; the server itself still is not root.
fn as_account(account: Option<&Account>, program: &Path) -> (PathBuf, Vec<String>) {
    let Some(account) = account else {
        return (program.to_owned(), Vec::new());
    };
    let mut args = vec![
        format!("--reuid={}", account.uid),
        format!("--regid={}", account.gid),
        "--clear-groups".to_owned(),
    ];
    if account.walled_in {
        args.push("--inh-caps=+dac_override".to_owned());
        args.push("--ambient-caps=+dac_override".to_owned());
    }
    args.push(program.display().to_string());
    (PathBuf::from("/usr/bin/setpriv"), args)
}

/// The folder that `initdb` has made, with the product's role.
fn template(programs: &Path, account: Option<&Account>) -> anyhow::Result<PathBuf> {
    let major = programs.parent().and_then(Path::file_name).unwrap_or_default();
    let name = format!("postgres-{}-{}", major.display(), Uid::effective());
    let template = jars::folder()?.join(&name);
    let _lock = jars::locked(&name)?;
    if template.exists() {
        return Ok(template);
    }
    let new = template.with_extension("new");
    if new.exists() {
        std::fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    std::fs::create_dir(&new).with_context(|| format!("cannot make {}", new.display()))?;
    let (uid, gid) = account.map_or(
        (Uid::effective().as_raw(), Gid::effective().as_raw()),
        |account| (account.uid, account.gid),
    );
    chown(&new, Some(uid), Some(gid)).context("cannot give a folder away")?;
    let run = |program: &str, args: &[&str]| {
        let (program, first) = as_account(account, &programs.join(program));
        let mut command = Command::new(program);
        command.args(first).args(args).current_dir("/");
        command
    };
    let folder = new.display().to_string();
    let mut initdb = run(
        "initdb",
        &[
            "-D",
            &folder,
            "-U",
            SUPERUSER,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--auth=trust",
            "--no-sync",
        ],
    );
    succeed(&mut initdb)?;
    let mut single = run("postgres", &["--single", "-D", &folder, "postgres"]);
    psql::feed(&mut single, &format!("CREATE ROLE {ROLE} LOGIN\n"))?;
    std::fs::rename(&new, &template).context("cannot rename a folder")?;
    Ok(template)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}
