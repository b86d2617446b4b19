//! The report of a run: for people as text, for programs as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::books::{Disagreement, LedgerSums};
use crate::figures::{Counts, Summary, Totals};
use crate::shared_log::Flushes;

/// Faults of one kind that the text shows; the JSON has up to [`MOST_NAMED`].
const SHOWN: usize = 8;
/// Most disagreements that are named.
pub const MOST_NAMED: usize = 1000;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The books agree and every criterion is met.
    Passed,
    /// The books don't agree, or a criterion is missed.
    Failed,
    /// The load test could not keep its schedule: its figures say nothing about the plant.
    Invalid,
}

impl Outcome {
    /// The exit code of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Invalid => 3,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Invalid => "INVALID",
        })
    }
}

/// A phase of the schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// Whether it counts for the latencies of the whole.
    pub measured: bool,
    /// How long, seconds.
    pub seconds: f64,
    /// Events per second that the schedule wanted.
    pub rate: f64,
    /// From an event's time to its append: what the load test itself adds.
    pub lag: Summary,
    /// From an event's time until it counts.
    pub durable: Summary,
    /// From an event's time until its bench has the receipt.
    pub receipt: Summary,
    /// From an event's time until it is in Kafka; all zero where that is not measured.
    pub kafka: Summary,
}

/// A fault of the scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultReport {
    /// Its name.
    pub name: String,
    /// Begin, seconds since the schedule's begin.
    pub began_s: f64,
    /// End, seconds since the schedule's begin.
    pub ended_s: f64,
    /// From its end until all benches were connected again, seconds; none where it cut no connection.
    pub back_s: Option<f64>,
}

/// What Kafka has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KafkaBooks {
    /// Records of the load.
    pub records: u64,
    /// Events that are not there.
    pub lost: u64,
    /// Events that are there again.
    pub duplicates: u64,
    /// Events after a later one of their bench under the same key.
    pub reordered: u64,
    /// Records of events that nobody made, or with other bytes or ids.
    pub phantoms: u64,
    /// Which, up to [`MOST_NAMED`].
    pub named: Vec<String>,
}

impl KafkaBooks {
    fn agree(&self) -> bool {
        self.lost + self.duplicates + self.reordered + self.phantoms == 0
    }
}

/// The books.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Books {
    /// Distinct events on the benches' disks.
    pub made: u64,
    /// Of these, the server has to refuse so many.
    pub refused: u64,
    /// Events with a receipt, as the benches know.
    pub receipted: u64,
    /// Events without, as the benches know.
    pub outstanding: u64,
    /// The server's ledger, summed over the benches of the load.
    pub server: LedgerSums,
    /// Kafka, where it was read.
    pub kafka: Option<KafkaBooks>,
    /// Where benches and ledger don't agree, up to [`MOST_NAMED`].
    pub disagreements: Vec<Disagreement>,
}

impl Books {
    /// Whether all agree.
    pub fn agree(&self) -> bool {
        self.disagreements.is_empty()
            && self.outstanding == 0
            && self.kafka.as_ref().is_none_or(KafkaBooks::agree)
    }
}

/// What the load test itself took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolReport {
    /// CPU from the schedule's begin until everything was drained, seconds.
    pub cpu_s: f64,
    /// The same per million events.
    pub cpu_s_per_million: f64,
    /// Memory of a connected bench before the load, bytes.
    pub bytes_per_bench: u64,
    /// Largest memory of the process, bytes.
    pub most_bytes: u64,
}

/// The benches' disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskReport {
    /// `shared-log` or `folders`.
    pub kind: String,
    /// `fdatasync` calls of the shared log.
    pub flushes: u64,
    /// Mean time of write and `fdatasync`, milliseconds.
    pub flush_mean_ms: f64,
    /// The longest, milliseconds.
    pub flush_longest_ms: f64,
    /// Bytes written.
    pub bytes: u64,
}

impl DiskReport {
    /// Of a shared log.
    pub fn shared_log(flushes: Flushes) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let mean = flushes.busy.as_secs_f64() * 1000.0 / flushes.count.max(1) as f64;
        Self {
            kind: "shared-log".to_owned(),
            flushes: flushes.count,
            flush_mean_ms: mean,
            flush_longest_ms: flushes.longest.as_secs_f64() * 1000.0,
            bytes: flushes.bytes,
        }
    }

    /// Of folders.
    pub fn folders() -> Self {
        Self {
            kind: "folders".to_owned(),
            flushes: 0,
            flush_mean_ms: 0.0,
            flush_longest_ms: 0.0,
            bytes: 0,
        }
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// When it began, RFC 3339.
    pub began_at: String,
    /// The plant.
    pub plant: String,
    /// The benches are NAME-00000 and so on.
    pub name: String,
    /// How many.
    pub benches: u64,
    /// Content and schedule.
    pub seed: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it is not passed; empty when it is.
    pub reasons: Vec<String>,
    /// The phases.
    pub phases: Vec<PhaseReport>,
    /// Latencies of the measured phases together, in a phase's shape.
    pub measured: PhaseReport,
    /// Events per second with receipt in the measured phases.
    pub receipts_per_second: f64,
    /// The faults.
    pub faults: Vec<FaultReport>,
    /// Counts since the schedule's begin.
    pub counts: Counts,
    /// Publishes for each distinct event.
    pub resent_ratio: f64,
    /// From the schedule's end until every event had its receipt, seconds; none when some never had.
    pub drained_s: Option<f64>,
    /// From the schedule's end until the relay had taken every event, seconds; none where that is not asked for.
    pub relayed_s: Option<f64>,
    /// Where the latencies to Kafka end: `arrival`, `record` (the producer's time) or `off`.
    pub kafka_latency: String,
    /// The benches at the end.
    pub totals: Totals,
    /// The books.
    pub books: Books,
    /// Their disk.
    pub disk: DiskReport,
    /// The load test itself.
    pub tool: ToolReport,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at plant {}: {}", self.scenario, self.plant, self.outcome)?;
        for reason in &self.reasons {
            writeln!(f, "  {reason}")?;
        }
        writeln!(
            f,
            "\n{} benches {}-00000 ..., seed {}, began {}",
            self.benches, self.name, self.seed, self.began_at
        )?;
        self.latencies(f)?;
        self.closed_books(f)?;
        self.sent(f)?;
        self.load(f)
    }
}

impl Report {
    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nLatency from the time in the schedule, milliseconds")?;
        writeln!(
            f,
            "  {:<16} {:>9} {:>9}  {:<8} {:>9} {:>9} {:>9} {:>9}",
            "phase", "events/s", "events", "until", "p50", "p99", "p99.9", "longest"
        )?;
        for phase in &self.phases {
            let rows = [
                ("append", &phase.lag),
                ("durable", &phase.durable),
                ("receipt", &phase.receipt),
                ("Kafka", &phase.kafka),
            ];
            for (index, (until, of)) in rows.into_iter().filter(|(_, of)| of.count > 0).enumerate() {
                let (name, rate) = if index == 0 {
                    (phase.name.as_str(), format!("{:.0}", phase.rate))
                } else {
                    ("", String::new())
                };
                writeln!(
                    f,
                    "  {name:<16} {rate:>9} {:>9}  {until:<8} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                    of.count, of.p50_ms, of.p99_ms, of.p999_ms, of.max_ms
                )?;
            }
        }
        Ok(())
    }

    fn closed_books(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = &self.books;
        let agree = if books.agree() {
            "they agree"
        } else {
            "they do NOT agree"
        };
        writeln!(f, "\nBooks: {agree}")?;
        writeln!(f, "  on the benches' disks   {:>10}", books.made)?;
        writeln!(f, "  with receipt            {:>10}", books.receipted)?;
        writeln!(f, "  without receipt         {:>10}", books.outstanding)?;
        writeln!(f, "  stored by the server    {:>10}", books.server.stored)?;
        writeln!(
            f,
            "  rejected by the server  {:>10}  ({} had to be)",
            books.server.rejected, books.refused
        )?;
        writeln!(
            f,
            "  left out by the server  {:>10}  ({} came again, {} too early)",
            books.server.duplicates + books.server.gaps,
            books.server.duplicates,
            books.server.gaps
        )?;
        match &books.kafka {
            None => writeln!(
                f,
                "  in Kafka, by the server {:>10}  ({} wait; Kafka was not read)",
                books.server.in_kafka, books.server.in_outbox
            )?,
            Some(kafka) => writeln!(
                f,
                "  read from Kafka         {:>10}  (lost {}, duplicates {}, reordered {}, phantoms {})",
                kafka.records, kafka.lost, kafka.duplicates, kafka.reordered, kafka.phantoms
            )?,
        }
        let named = books.kafka.iter().flat_map(|kafka| kafka.named.iter().cloned());
        let named: Vec<_> = books
            .disagreements
            .iter()
            .map(ToString::to_string)
            .chain(named)
            .collect();
        for line in named.iter().take(SHOWN) {
            writeln!(f, "    {line}")?;
        }
        if named.len() > SHOWN {
            writeln!(f, "    and {} more, see the JSON report", named.len() - SHOWN)?;
        }
        Ok(())
    }

    fn sent(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nSent: {} publishes for {} events, ratio {:.4}; {} connects, {} disconnects",
            self.counts.publishes,
            self.counts.published,
            self.resent_ratio,
            self.counts.connects,
            self.counts.disconnects
        )?;
        for fault in &self.faults {
            write!(
                f,
                "  {} from {:.1} s to {:.1} s",
                fault.name, fault.began_s, fault.ended_s
            )?;
            match fault.back_s {
                Some(back) => writeln!(f, ", all benches back after {back:.1} s")?,
                None => writeln!(f)?,
            }
        }
        match self.drained_s {
            Some(drained) => write!(f, "  every receipt {drained:.1} s after the schedule's end")?,
            None => write!(f, "  some events never had their receipt")?,
        }
        match self.relayed_s {
            Some(relayed) => writeln!(f, ", all relayed after {relayed:.1} s"),
            None => writeln!(f),
        }
    }

    fn load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
        writeln!(
            f,
            "\nLoad test: {:.1} CPU s ({:.1} per million events), {:.0} KiB per bench, at most {:.0} MiB",
            self.tool.cpu_s,
            self.tool.cpu_s_per_million,
            mib(self.tool.bytes_per_bench) * 1024.0,
            mib(self.tool.most_bytes)
        )?;
        if self.disk.flushes > 0 {
            writeln!(
                f,
                "  disk: {} fdatasync, {:.2} ms on average, {:.1} ms at most, {:.0} MiB",
                self.disk.flushes,
                self.disk.flush_mean_ms,
                self.disk.flush_longest_ms,
                mib(self.disk.bytes)
            )?;
        }
        Ok(())
    }
}
