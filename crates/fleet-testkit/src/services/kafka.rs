//! An Apache Kafka broker of one's own (one node, broker and controller in one process).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;

use super::Credentials;
use super::daemon::{Daemon, LastWill};
use super::jars::{self, Jars};
use super::lifecycle::lifecycle;
use super::port::Port;
use super::programs::ServiceProgram;
use crate::Program;

const READY: &str = "Kafka Server started";
/// Two cores that compile beside it: usually 2 s.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Any 16 bytes in base64: each broker here is a cluster of its own.
const CLUSTER: &str = "dmRzLWZsZWV0LXRlc3Rraw";
/// Between brokers when clients need a password; there is only one broker.
const INNER: &str = "broker";
/// For a quick start and little memory.
const JVM: [&str; 6] = [
    "-Xms64m",
    "-Xmx256m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxDirectMemorySize=128m",
];
/// For a benchmark: all of the compiler, and room.
const BENCHMARK_JVM: [&str; 4] = [
    "-Xms256m",
    "-Xmx1g",
    "-XX:+UseSerialGC",
    "-XX:MaxDirectMemorySize=256m",
];
const LOGGING: &str = "\
rootLogger.level = WARN
rootLogger.appenderRefs = out
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
";

/// How a broker is started.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// The one user that may connect, by SASL/PLAIN without TLS. None: everybody may.
    pub user: Option<Credentials>,
    /// A second listener for clients, with TLS and SCRAM; its users are made by [`Kafka::add_scram_user`].
    pub secure: Option<ServerCertificate>,
    /// The address that the broker tells its clients instead of its own, for example of a
    /// [`FaultProxy`](crate::FaultProxy): without it they leave the proxy after the first answer.
    pub advertised: Option<SocketAddr>,
    /// Java with all of its compiler and 1 GB, so that a benchmark does not measure a broker that was held back.
    pub for_benchmark: bool,
    /// More settings of `server.properties`; they replace those of the same key.
    pub settings: Vec<(String, String)>,
}

/// What a broker proves itself with, as PEM.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The certificate, and those that lead to its authority.
    pub chain: String,
    /// Its private key, PKCS #8, not encrypted.
    pub key: String,
}

/// A running (or stopped) Kafka broker. Dropping it kills it.
#[derive(Debug)]
pub struct Kafka {
    /// How it is started; a change holds from the next [`Kafka::restart`].
    pub options: KafkaOptions,
    folder: PathBuf,
    jars: PathBuf,
    clients: Port,
    controller: Port,
    secure: Port,
    daemon: Option<Daemon>,
}

lifecycle!(Kafka, "Kafka", ends_by Signal::SIGTERM, taken "Address already in use");

impl Kafka {
    /// Starts a broker on `{folder}/data`, which it formats when there is none. Loads its jars when they are
    /// missing (Maven, 55 MB).
    ///
    /// # Errors
    /// When Java or the jars are missing, or it does not get ready; with the end of its log.
    pub async fn start(folder: &Path, options: KafkaOptions) -> anyhow::Result<Self> {
        let jars = tokio::task::spawn_blocking(|| Jars::Kafka.provide())
            .await
            .context("loading the jars was cut off")??;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut this = Self {
            options,
            folder: folder.canonicalize().context("the folder was just made")?,
            jars,
            clients: Port::choose()?,
            controller: Port::choose()?,
            secure: Port::choose()?,
            daemon: None,
        };
        this.run_on_free_ports().await?;
        Ok(this)
    }

    /// Its address as the product's `kafka.url` takes it: `kafka://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("kafka://{}", self.address())
    }

    /// Its address as Kafka's clients take it: `127.0.0.1:PORT`.
    pub fn bootstrap(&self) -> String {
        self.address().to_string()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.clients.address()
    }

    /// The address of the listener with TLS and SCRAM: `127.0.0.1:PORT`.
    pub fn secure_bootstrap(&self) -> String {
        self.secure.address().to_string()
    }

    /// Makes a user for SCRAM-SHA-512, with Kafka's own tool.
    ///
    /// # Errors
    /// When the tool fails; with the end of its log.
    pub async fn add_scram_user(&self, user: &Credentials) -> anyhow::Result<()> {
        let change = format!("SCRAM-SHA-512=[password={}]", user.password);
        let (broker, log) = (self.bootstrap(), self.folder.join("scram.log"));
        let args = [
            "--bootstrap-server",
            &broker,
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            &user.username,
            "--add-config",
            &change,
        ];
        let mut tool = self
            .java_logging_to(&log, "kafka.admin.ConfigCommand", &args)?
            .start()?;
        let status = tool.wait(READY_WITHIN).await?;
        ensure!(
            status.success(),
            "Kafka's tool ended with {status}: {}",
            tool.log_tail()
        );
        Ok(())
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("kafka.log")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn choose_ports(&mut self) -> anyhow::Result<()> {
        (self.clients, self.controller, self.secure) = (Port::choose()?, Port::choose()?, Port::choose()?);
        Ok(())
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        for (name, text) in [
            ("server.properties", self.properties()),
            ("log4j2.properties", LOGGING.to_owned()),
        ] {
            let file = self.folder.join(name);
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if let Some(certificate) = &self.options.secure {
            let file = self.key_store();
            let text = format!("{}{}", certificate.key, certificate.chain);
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if !self.data().join("meta.properties").exists() {
            self.format().await?;
        }
        let properties = self.folder.join("server.properties").display().to_string();
        let program = self.java("kafka.Kafka", &[&properties])?;
        let will = LastWill {
            signal: Signal::SIGKILL,
            mounted: None,
            remove: None,
        };
        let log = self.log();
        let daemon = self.daemon.insert(Daemon::start(program, &log, will)?);
        daemon.until_logged(READY, READY_WITHIN).await
    }

    /// Formatting starts a Java machine of its own; its result holds no port and no path, so it is made once per
    /// target folder and copied.
    async fn format(&self) -> anyhow::Result<()> {
        let name = format!(
            "{}-formatted",
            self.jars.file_name().unwrap_or_default().display()
        );
        let (formatted, new) = (jars::folder()?.join(&name), self.folder.join("data"));
        let lock = tokio::task::spawn_blocking(move || jars::locked(&name));
        let _lock = lock.await.context("the wait was cut off")??;
        if !formatted.exists() {
            let properties = self.folder.join("server.properties").display().to_string();
            let args = ["format", "-t", CLUSTER, "-c", &properties];
            let mut process = self.java("kafka.tools.StorageTool", &args)?.start()?;
            let status = process.wait(READY_WITHIN).await?;
            ensure!(
                status.success(),
                "Kafka's format ended with {status}. Its log {} ends with:\n{}",
                process.log().display(),
                process.log_tail()
            );
            let made = formatted.with_extension("new");
            std::fs::create_dir_all(&made).with_context(|| format!("cannot make {}", made.display()))?;
            copy_files(&new, &made)?;
            return std::fs::rename(&made, &formatted)
                .with_context(|| format!("cannot rename {}", made.display()));
        }
        std::fs::create_dir_all(&new).with_context(|| format!("cannot make {}", new.display()))?;
        copy_files(&formatted, &new)
    }

    fn key_store(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    fn java(&self, class: &str, args: &[&str]) -> anyhow::Result<Program> {
        self.java_logging_to(&self.log(), class, args)
    }

    fn java_logging_to(&self, log: &Path, class: &str, args: &[&str]) -> anyhow::Result<Program> {
        let logging = format!(
            "-Dlog4j2.configurationFile={}/log4j2.properties",
            self.folder.display()
        );
        Ok(Program::new("kafka", &ServiceProgram::Java.path()?, log)
            .args(if self.options.for_benchmark {
                &BENCHMARK_JVM[..]
            } else {
                &JVM[..]
            })
            .args([&logging, "-cp", &format!("{}/*", self.jars.display()), class])
            .args(args))
    }

    fn properties(&self) -> String {
        let (clients, controller) = (self.clients.address(), self.controller.address());
        let advertised = self.options.advertised.unwrap_or(clients);
        let mut properties: Vec<(String, String)> = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            (
                "listeners",
                format!("CLIENTS://{clients},CONTROLLER://{controller}"),
            ),
            ("advertised.listeners", format!("CLIENTS://{advertised}")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.voters", format!("1@{controller}")),
            ("inter.broker.listener.name", "CLIENTS".to_owned()),
            ("log.dirs", self.data().display().to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        for (key, value) in SMALL {
            properties.push((key.to_owned(), value.to_owned()));
        }
        match &self.options.user {
            None => properties.push((
                "listener.security.protocol.map".to_owned(),
                "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            )),
            Some(user) => properties.extend(sasl(user)),
        }
        if self.options.secure.is_some() {
            self.secure_listener(&mut properties);
        }
        for (key, value) in &self.options.settings {
            properties.retain(|(known, _)| known != key);
            properties.push((key.clone(), value.clone()));
        }
        let lines = properties.iter().map(|(key, value)| format!("{key}={value}\n"));
        lines.collect::<Vec<_>>().concat()
    }
}

impl Kafka {
    fn secure_listener(&self, properties: &mut Vec<(String, String)>) {
        let listener = format!(",SECURE://{}", self.secure.address());
        for (key, value) in properties.iter_mut() {
            match key.as_str() {
                "listeners" | "advertised.listeners" => value.push_str(&listener),
                "listener.security.protocol.map" => value.push_str(",SECURE:SASL_SSL"),
                "sasl.enabled.mechanisms" => value.push_str(",SCRAM-SHA-512"),
                _ => {}
            }
        }
        let key_store = self.key_store().display().to_string();
        let jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let settings = [
            ("listener.name.secure.ssl.keystore.type", "PEM"),
            ("listener.name.secure.ssl.keystore.location", &key_store),
            ("listener.name.secure.sasl.enabled.mechanisms", "SCRAM-SHA-512"),
            ("listener.name.secure.scram-sha-512.sasl.jaas.config", jaas),
        ];
        properties.extend(settings.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}

/// Copies the files of a folder that holds no folders.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("cannot copy {}", entry.path().display()))?;
    }
    Ok(())
}

/// One node, few partitions, and a restart after SIGKILL in some 3 s instead of 11 s (the session of the killed broker
/// must end first).
const SMALL: [(&str, &str); 16] = [
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "4"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.num.partitions", "4"),
    ("default.replication.factor", "1"),
    ("auto.create.topics.enable", "false"),
    ("group.initial.rebalance.delay.ms", "0"),
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "1000",
    ),
    ("log.cleaner.dedupe.buffer.size", "8388608"),
    ("log.segment.bytes", "67108864"),
    ("broker.session.timeout.ms", "2000"),
    ("broker.heartbeat.interval.ms", "250"),
];

fn sasl(user: &Credentials) -> Vec<(String, String)> {
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let (name, password) = (&user.username, &user.password);
    let jaas = format!(
        "{module} required username=\"{INNER}\" password=\"{INNER}\" user_{INNER}=\"{INNER}\" user_{name}=\"{password}\";"
    );
    [
        (
            "listener.security.protocol.map",
            "CLIENTS:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("sasl.mechanism.inter.broker.protocol", "PLAIN"),
        ("listener.name.clients.plain.sasl.jaas.config", &jaas),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}
