//! What a load test does, as a TOML file or built in.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config_file::{self, ConfigError};
use crate::schedule::{Curve, Stretch};

/// The built-in ones: name and text.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("shift", include_str!("../scenarios/shift.toml")),
    ("peak", include_str!("../scenarios/peak.toml")),
    (
        "reconnect-storm",
        include_str!("../scenarios/reconnect-storm.toml"),
    ),
    ("broker-outage", include_str!("../scenarios/broker-outage.toml")),
    ("kafka-outage", include_str!("../scenarios/kafka-outage.toml")),
];

/// Most benches in one process: ports and files of one machine.
const MOST_BENCHES: usize = 50_000;
/// Most events per second that a schedule may want.
const MOST_RATE: f64 = 1_000_000.0;

/// What scaling may add to a time.
const ROUNDING: Duration = Duration::from_millis(1);

/// A scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in the report.
    pub name: String,
    /// What it shows, for people.
    pub about: String,
    /// Simulated benches.
    pub benches: usize,
    /// Benches that are started and connect in a second.
    #[serde(default = "default_starts")]
    pub starts_per_second: f64,
    /// Vehicles that the events speak of.
    #[serde(default = "default_vins")]
    pub vins: u64,
    /// Content and schedule.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Times are divided by this; rates stay.
    #[serde(default = "default_compress")]
    pub compress: f64,
    /// One after the other.
    pub phase: Vec<Phase>,
    /// What happens meanwhile.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// When it has passed, beside the books.
    #[serde(default)]
    pub passes: Passes,
    /// When its figures say something about the plant, and not about the load test.
    #[serde(default)]
    pub valid: Valid,
}

/// A time with one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name in the report.
    pub name: String,
    /// How long.
    #[serde(with = "humantime_serde")]
    pub lasts: Duration,
    /// Events per second of all benches.
    pub rate: f64,
    /// Whether its latencies count; not for a time of warming up.
    #[serde(default = "default_true")]
    pub measured: bool,
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its name; the commands of `--on NAME.begin` and `--on NAME.end` are run.
    pub name: String,
    /// What.
    pub kind: FaultKind,
    /// When, since the schedule's begin.
    #[serde(with = "humantime_serde")]
    pub begins: Duration,
    /// How long.
    #[serde(default, with = "humantime_serde")]
    pub lasts: Duration,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The benches' broker can't be reached; connections are reset. By a proxy in the load test.
    BrokerAway,
    /// Every bench drops its connection at once and makes a new one.
    Reconnect,
    /// Only the commands given: they do what the load test can't reach.
    Command,
}

/// Criteria beside the books. Each is left out when it is not given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passes {
    /// Publishes for each event, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent_ratio: Option<f64>,
    /// 99 % of the measured events have their receipt so soon.
    #[serde(default, with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub receipt_p99: Option<Duration>,
    /// 99 % of the measured events are in Kafka so soon.
    #[serde(default, with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub kafka_p99: Option<Duration>,
    /// After a fault all benches are connected again so soon.
    #[serde(default, with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub back_within: Option<Duration>,
    /// After the schedule every event has its receipt, and is in Kafka where that is asked for, so soon.
    #[serde(default = "default_drained", with = "humantime_serde")]
    pub drained_within: Duration,
}

impl Default for Passes {
    fn default() -> Self {
        Self {
            resent_ratio: None,
            receipt_p99: None,
            kafka_p99: None,
            back_within: None,
            drained_within: default_drained(),
        }
    }
}

/// Bounds of the load test itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Valid {
    /// 99 % of the events are told so soon after their time.
    #[serde(default = "default_lag_p99", with = "humantime_serde")]
    pub lag_p99: Duration,
    /// Not more than one in a thousand is later than this, or counts later than this.
    #[serde(default = "default_late", with = "humantime_serde")]
    pub late: Duration,
}

impl Default for Valid {
    fn default() -> Self {
        Self {
            lag_p99: default_lag_p99(),
            late: default_late(),
        }
    }
}

fn default_starts() -> f64 {
    500.0
}

fn default_vins() -> u64 {
    2000
}

fn default_seed() -> u64 {
    1
}

fn default_compress() -> f64 {
    1.0
}

fn default_true() -> bool {
    true
}

fn default_drained() -> Duration {
    Duration::from_mins(5)
}

fn default_lag_p99() -> Duration {
    Duration::from_millis(50)
}

fn default_late() -> Duration {
    Duration::from_secs(1)
}

/// What the command line changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Number of benches.
    pub benches: Option<usize>,
    /// Time of the measured phases together; all times are scaled alike.
    pub seconds: Option<f64>,
    /// Rate of the phase with the highest; the others are scaled alike.
    pub rate: Option<f64>,
    /// Content and schedule.
    pub seed: Option<u64>,
    /// Divides all times.
    pub compress: Option<f64>,
}

impl Scenario {
    /// A built-in one, or else the file of this name.
    ///
    /// # Errors
    /// When there is no such file, or it is no scenario; with file, place or key, and what would be right.
    pub fn load(name: &str) -> Result<Self, ConfigError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(Path::new(name), text);
        }
        let path = Path::new(name);
        let scenario: Self = config_file::read(path)?;
        scenario.check(path)?;
        Ok(scenario)
    }

    /// Reads a scenario's text; `path` is for messages.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let scenario: Self = config_file::parse(path, text)?;
        scenario.check(path)?;
        Ok(scenario)
    }

    /// Whether the values can be used together.
    ///
    /// # Errors
    /// For the first that can't; with its key.
    pub fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |key: &str, problem: String| Err(ConfigError::value(path, key, problem));
        if self.benches == 0 || self.benches > MOST_BENCHES {
            return wrong("benches", format!("1 to {MOST_BENCHES}, not {}", self.benches));
        }
        if self.name.is_empty() || self.name.contains(char::is_whitespace) {
            return wrong("name", "one word".to_owned());
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !(0.1..=100_000.0).contains(&self.starts_per_second) {
            return wrong("starts_per_second", "0.1 to 100000".to_owned());
        }
        if !positive(self.compress) {
            return wrong(
                "compress",
                "a number above 0; 1 keeps the times as they are".to_owned(),
            );
        }
        if self.vins == 0 || self.vins > 999_999 {
            return wrong("vins", "1 to 999999".to_owned());
        }
        if self.phase.is_empty() {
            return wrong(
                "phase",
                "at least one [[phase]] with name, lasts and rate".to_owned(),
            );
        }
        for phase in &self.phase {
            let key = |name: &str| format!("phase {:?}: {name}", phase.name);
            if !phase.rate.is_finite() || !(0.0..=MOST_RATE).contains(&phase.rate) {
                return wrong(&key("rate"), format!("0 to {MOST_RATE} events per second"));
            }
            if phase.lasts.is_zero() || phase.lasts > Duration::from_hours(31 * 24) {
                return wrong(
                    &key("lasts"),
                    "a time such as \"60s\" or \"8h\", up to 31 days".to_owned(),
                );
            }
        }
        if !self.phase.iter().any(|phase| phase.measured && phase.rate > 0.0) {
            return wrong(
                "phase",
                "at least one measured phase with a rate above 0".to_owned(),
            );
        }
        self.check_faults(path)
    }

    fn check_faults(&self, path: &Path) -> Result<(), ConfigError> {
        let whole: Duration = self.phase.iter().map(|phase| phase.lasts).sum();
        for (index, fault) in self.fault.iter().enumerate() {
            let key = |name: &str| format!("fault {:?}: {name}", fault.name);
            let wrong =
                |name: &str, problem: &str| Err(ConfigError::value(path, &key(name), problem.to_owned()));
            if fault.name.is_empty() || fault.name.contains(['.', '=']) {
                return wrong("name", "a name without '.' and '='");
            }
            if self
                .fault
                .iter()
                .take(index)
                .any(|other| other.name == fault.name)
            {
                return wrong("name", "each fault has a name of its own");
            }
            if fault.begins >= whole {
                return wrong("begins", "before the end of the last phase");
            }
            if fault.begins.saturating_add(fault.lasts) > whole + ROUNDING {
                return wrong(
                    "lasts",
                    "not longer than the phases: what comes after the fault is measured too",
                );
            }
            match fault.kind {
                FaultKind::BrokerAway if fault.lasts.is_zero() => {
                    return wrong("lasts", "how long the broker is away, such as \"60s\"");
                }
                FaultKind::Reconnect if !fault.lasts.is_zero() => {
                    return wrong("lasts", "nothing: the benches reconnect at once");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The scenario with what the command line says.
    ///
    /// # Errors
    /// When the values can't be used together.
    pub fn with(mut self, overrides: &Overrides) -> Result<Self, ConfigError> {
        let path = Path::new("the command line");
        if let Some(benches) = overrides.benches {
            self.benches = benches;
        }
        self.seed = overrides.seed.unwrap_or(self.seed);
        self.compress = overrides.compress.unwrap_or(self.compress);
        if let Some(rate) = overrides.rate {
            let highest = self.phase.iter().map(|phase| phase.rate).fold(0.0, f64::max);
            for phase in &mut self.phase {
                phase.rate *= rate / highest;
            }
        }
        self.check(path)?;
        let mut divide = self.compress;
        if let Some(seconds) = overrides.seconds {
            if !seconds.is_finite() || seconds <= 0.0 {
                return Err(ConfigError::value(path, "seconds", "a number above 0".to_owned()));
            }
            let measured = self.phase.iter().filter(|phase| phase.measured);
            divide = measured.map(|phase| phase.lasts.as_secs_f64()).sum::<f64>() / seconds;
        }
        self.compress = 1.0;
        let scaled = |time: Duration| {
            let scaled = Duration::try_from_secs_f64(time.as_secs_f64() / divide);
            scaled.map_err(|_| ConfigError::value(path, "compress", "the times get too long".to_owned()))
        };
        for phase in &mut self.phase {
            phase.lasts = scaled(phase.lasts)?;
        }
        for fault in &mut self.fault {
            fault.begins = scaled(fault.begins)?;
            fault.lasts = scaled(fault.lasts)?;
        }
        self.check(path)?;
        Ok(self)
    }

    /// The rates over time.
    pub fn curve(&self) -> Curve {
        let stretch = |phase: &Phase| Stretch {
            lasts: phase.lasts,
            rate: phase.rate,
        };
        Curve(self.phase.iter().map(stretch).collect())
    }

    /// The ends of the phases since the schedule's begin.
    pub fn phase_ends(&self) -> Vec<Duration> {
        let mut end = Duration::ZERO;
        let ends = self.phase.iter().map(|phase| {
            end += phase.lasts;
            end
        });
        ends.collect()
    }
}
