//! From what a run brought to its report.

use std::time::{Duration, Instant};

use fleet_domain::{DeviceId, PlantId};
use fleet_testkit::Api;

use super::{Drain, RunError, RunOptions, judging};
use crate::books;
use crate::figures::{Counts, Figures, Latencies, Latency};
use crate::history::Made;
use crate::population::EndedPopulation;
use crate::report::{Books, DiskReport, FaultReport, MOST_NAMED, Outcome, PhaseReport, Report, ToolReport};
use crate::scenario::Scenario;

/// All that a report is made of.
pub(super) struct Facts<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) options: &'a RunOptions,
    pub(super) plant: &'a PlantId,
    pub(super) name: &'a str,
    pub(super) began: Instant,
    pub(super) began_at: jiff::Timestamp,
    pub(super) counts: Counts,
    pub(super) ended: &'a EndedPopulation,
    pub(super) made: &'a [Made],
    pub(super) records: judging::Records,
    pub(super) faults: Vec<FaultReport>,
    pub(super) drain: Drain,
    pub(super) disk: DiskReport,
    pub(super) tool: ToolReport,
}

impl Facts<'_> {
    pub(super) async fn report(&self, api: &Api) -> Result<Report, RunError> {
        let (phases, measured, receipts_per_second) = self.phases();
        let books = self.books(api).await?;
        let mut tool = self.tool;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let events = self.made.len().max(1) as f64;
        tool.cpu_s_per_million = tool.cpu_s * 1e6 / events;
        let (outcome, reasons) = self.judge(&measured, &books);
        let seconds = |of: Duration| of.as_secs_f64();
        Ok(Report {
            scenario: self.scenario.name.clone(),
            began_at: self.began_at.to_string(),
            plant: self.plant.to_string(),
            name: self.name.to_owned(),
            benches: self.scenario.benches as u64,
            seed: self.scenario.seed,
            outcome,
            reasons,
            phases,
            measured,
            receipts_per_second,
            faults: self.faults.clone(),
            counts: self.counts,
            resent_ratio: self.counts.resent_ratio(),
            drained_s: self.drain.receipts.map(seconds),
            relayed_s: self.drain.relayed.map(seconds),
            kafka_latency: match &self.options.kafka {
                None => "off".to_owned(),
                Some(_) => self.options.kafka_latency.as_str().to_owned(),
            },
            totals: self.ended.totals,
            books,
            disk: self.disk.clone(),
            tool,
        })
    }

    fn phases(&self) -> (Vec<PhaseReport>, PhaseReport, f64) {
        let to_kafka = self.records.latencies(
            &self.ended.benches,
            (self.began, self.began_at),
            &self.scenario.phase_ends(),
            self.options.kafka_latency,
        );
        let empty = Latencies::default();
        let (mut all, mut sum, mut sum_kafka) = (Vec::new(), empty.clone(), Latency::new());
        let (mut seconds, mut events) = (0.0, 0.0);
        for (index, phase) in self.scenario.phase.iter().enumerate() {
            let of = self.ended.figures.phases.get(index).unwrap_or(&empty);
            let kafka = to_kafka.get(index).cloned().unwrap_or_default();
            if phase.measured {
                sum.lag.add(&of.lag);
                sum.durable.add(&of.durable);
                sum.receipt.add(&of.receipt);
                sum_kafka.add(&kafka);
                seconds += phase.lasts.as_secs_f64();
                events += phase.rate * phase.lasts.as_secs_f64();
            }
            all.push(PhaseReport {
                name: phase.name.clone(),
                measured: phase.measured,
                seconds: phase.lasts.as_secs_f64(),
                rate: phase.rate,
                lag: of.lag.summary(),
                durable: of.durable.summary(),
                receipt: of.receipt.summary(),
                kafka: kafka.summary(),
            });
        }
        let measured = PhaseReport {
            name: "measured".to_owned(),
            measured: true,
            seconds,
            rate: events / f64::max(seconds, 1e-9),
            lag: sum.lag.summary(),
            durable: sum.durable.summary(),
            receipt: sum.receipt.summary(),
            kafka: sum_kafka.summary(),
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = measured.receipt.count as f64 / f64::max(seconds, 1e-9);
        (all, measured, rate)
    }

    async fn books(&self, api: &Api) -> Result<Books, RunError> {
        let devices: Vec<DeviceId> = self
            .ended
            .benches
            .iter()
            .map(|bench| bench.device.clone())
            .collect();
        let ledgers = books::ledgers(api, &devices)
            .await
            .map_err(|source| RunError::server(&self.options.server, source))?;
        let relayed = self.options.relayed || self.options.kafka.is_some();
        let mut disagreements = books::compare(self.made, &ledgers, relayed);
        disagreements.truncate(MOST_NAMED);
        Ok(Books {
            made: self.made.len() as u64,
            refused: self.made.iter().filter(|made| made.refused).count() as u64,
            receipted: self.ended.totals.receipted,
            outstanding: self.ended.totals.outstanding,
            server: books::sums(&ledgers),
            kafka: self.records.judge(self.made),
            disagreements,
        })
    }

    fn judge(&self, measured: &PhaseReport, books: &Books) -> (Outcome, Vec<String>) {
        let invalid = validity(self.scenario, &self.ended.figures, self.counts.not_told);
        let mut failed = Vec::new();
        if !books.agree() {
            failed.push("the books don't agree".to_owned());
        }
        if self.drain.receipts.is_none() {
            failed.push(format!("{} events have no receipt", books.outstanding));
        }
        if self.drain.to_relay && self.drain.relayed.is_none() {
            failed.push("the relay has not taken every event in time".to_owned());
        }
        failed.extend(self.missed(measured));
        if !invalid.is_empty() {
            return (Outcome::Invalid, invalid.into_iter().chain(failed).collect());
        }
        if failed.is_empty() {
            (Outcome::Passed, failed)
        } else {
            (Outcome::Failed, failed)
        }
    }

    /// Criteria that are missed.
    fn missed(&self, measured: &PhaseReport) -> Vec<String> {
        let passes = &self.scenario.passes;
        let mut missed = Vec::new();
        let ratio = self.counts.resent_ratio();
        if let Some(most) = passes.resent_ratio.filter(|most| ratio > *most) {
            missed.push(format!(
                "{ratio:.3} publishes for each event, at most {most} are wanted"
            ));
        }
        let latencies = [
            ("receipt", passes.receipt_p99, &measured.receipt),
            (
                "Kafka",
                passes.kafka_p99.filter(|_| self.options.kafka.is_some()),
                &measured.kafka,
            ),
        ];
        for (until, most, of) in latencies {
            if let Some(most) = most
                .map(|most| most.as_secs_f64() * 1000.0)
                .filter(|most| of.p99_ms > *most)
            {
                missed.push(format!(
                    "p99 until {until} is {:.0} ms, at most {most:.0} ms are wanted",
                    of.p99_ms
                ));
            }
        }
        if let Some(most) = passes.back_within.map(|most| most.as_secs_f64()) {
            for fault in &self.faults {
                if let Some(back) = fault.back_s.filter(|back| *back > most) {
                    let name = &fault.name;
                    missed.push(format!(
                        "all benches were back {back:.1} s after {name}, {most:.0} s are wanted"
                    ));
                }
            }
        }
        missed
    }
}

/// Why the figures say nothing about the plant; empty when they do.
pub fn validity(scenario: &Scenario, figures: &Figures, not_told: u64) -> Vec<String> {
    let (valid, total) = (&scenario.valid, figures.total());
    let mut reasons = Vec::new();
    let lag = total.lag.percentile(99.0).unwrap_or_default();
    if lag > valid.lag_p99 {
        reasons.push(format!(
            "the load test could not keep its schedule: p99 of its own lag is {:.0} ms, {:.0} ms are allowed; fewer benches, a lower rate or a faster machine",
            lag.as_secs_f64() * 1000.0,
            valid.lag_p99.as_secs_f64() * 1000.0
        ));
    }
    for (what, of) in [("told", &total.lag), ("durable on their benches", &total.durable)] {
        let part = of.part_above(valid.late);
        if part > 0.001 {
            reasons.push(format!(
                "{:.2} % of the events were {what} more than {:.1} s late, 0.1 % are allowed; the disk of the load test is too slow, or the machine",
                part * 100.0,
                valid.late.as_secs_f64()
            ));
        }
    }
    if not_told > 0 {
        reasons.push(format!(
            "{not_told} events of the schedule were never told: the disk of the load test took nothing"
        ));
    }
    reasons
}
