//! What a simulated bench tells: jobs one after the other, each with some steps and its end, for a few vehicles.

use fleet_domain::{JobId, OfferId, Outcome, StoreGeneration, Verdict};
use fleet_wire::EventBody;
use fleet_wire::event::{
    AttemptRef, JobAccepted, JobFinished, JobStarted, Limits, Measurement, StepFinished, Value,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::rng::Rng;

const MOST_STEPS: u64 = 6;
/// Size of a result's signed record, bytes: a record of a few steps.
const RECORD_BYTES: usize = 192;

/// What benches tell beside the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkOptions {
    /// One of so many events names a subject that the server has to refuse; 0: none.
    pub refused_one_in: u64,
    /// Size of the second result's text, bytes; none: no large event.
    pub large: Option<usize>,
}

/// A bench's work. A seed is a whole life of it.
#[derive(Debug)]
pub struct Work {
    vins: Vec<String>,
    options: WorkOptions,
    results: u64,
    job: Option<Job>,
}

#[derive(Debug)]
struct Job {
    of: AttemptRef,
    vin: String,
    steps: u32,
    done: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Accepted,
    Started,
    Steps,
}

/// An event to append.
#[derive(Debug)]
pub struct Told {
    /// The vehicle.
    pub vin: Option<String>,
    /// The event.
    pub body: EventBody,
}

impl Work {
    /// The work of a bench with these vehicles.
    pub fn new(vins: Vec<String>, options: WorkOptions) -> Self {
        Self {
            vins,
            options,
            results: 0,
            job: None,
        }
    }

    /// The next event. `now` is the bench's clock.
    pub fn next(&mut self, rng: &mut Rng, now: Timestamp) -> Told {
        let job = self.job.get_or_insert_with(|| begin(&self.vins, rng));
        let body = match job.stage {
            Stage::Accepted => {
                job.stage = Stage::Started;
                EventBody::JobAccepted(JobAccepted {
                    of: job.of,
                    offer_id: OfferId(uuid(rng)),
                    store_generation: StoreGeneration(uuid(rng)),
                    desired_version: 1 + rng.below(1 << 20),
                })
            }
            Stage::Started => {
                job.stage = Stage::Steps;
                EventBody::JobStarted(JobStarted {
                    of: job.of,
                    steps_total: job.steps,
                })
            }
            Stage::Steps if job.done < job.steps => {
                job.done += 1;
                EventBody::StepFinished(step(job, rng, now))
            }
            Stage::Steps => {
                self.results += 1;
                let large = self.options.large.filter(|_| self.results == 2);
                EventBody::JobFinished(finished(job.of, large, rng))
            }
        };
        let large = self.options.large.is_some() && self.results == 2;
        let mut vin = Some(job.vin.clone());
        if matches!(body, EventBody::JobFinished(_)) {
            self.job = None;
        }
        if self.options.refused_one_in > 0 && !large && rng.below(self.options.refused_one_in) == 0 {
            vin = Some("X".repeat(fleet_wire::limits::MAX_ATTRIBUTE_BYTES + 1));
        }
        Told { vin, body }
    }
}

fn begin(vins: &[String], rng: &mut Rng) -> Job {
    Job {
        of: AttemptRef {
            job_id: JobId(uuid(rng)),
            attempt: 1,
            fence: 1,
        },
        vin: vins.get(rng.place(vins.len())).cloned().unwrap_or_default(),
        steps: u32::try_from(2 + rng.below(MOST_STEPS - 1)).unwrap_or(2),
        done: 0,
        stage: Stage::Accepted,
    }
}

fn step(job: &Job, rng: &mut Rng, now: Timestamp) -> StepFinished {
    let measured = 11.0 + f64::from(u32::try_from(rng.below(3000)).unwrap_or_default()) / 1000.0;
    StepFinished {
        of: job.of,
        index: job.done - 1,
        step: format!("measure-{}", job.done),
        name: "Supply voltage".to_owned(),
        outcome: Outcome::Passed,
        started_at: now,
        finished_at: now,
        duration_ms: rng.below(500),
        retries: 0,
        nrc: None,
        detail: None,
        measurements: vec![Measurement {
            name: "supply".to_owned(),
            raw: format!("{:08x}", rng.draw() >> 32),
            value: Value::Number(measured),
            unit: Some("V".to_owned()),
            limits: Limits {
                ge: Some(11.0),
                le: Some(14.0),
                ..Limits::default()
            },
            outcome: Outcome::Passed,
            marginal: false,
        }],
    }
}

fn finished(of: AttemptRef, large: Option<usize>, rng: &mut Rng) -> JobFinished {
    JobFinished {
        of,
        verdict: Verdict::Passed,
        reason_code: "ok".to_owned(),
        detail: large.map(|bytes| noise(bytes, rng)),
        software: [("ESP".to_owned(), format!("2.1.{}", rng.below(9)))].into(),
        record: Some(noise(RECORD_BYTES, rng)),
    }
}

/// Text that does not get much smaller by compression.
fn noise(bytes: usize, rng: &mut Rng) -> String {
    let words = bytes.div_ceil(16);
    let mut text = String::with_capacity(words * 16);
    for _ in 0..words {
        let mut word = rng.draw();
        for _ in 0..16 {
            let digit = u32::try_from(word & 0xf).unwrap_or(0);
            text.push(char::from_digit(digit, 16).unwrap_or('0'));
            word >>= 4;
        }
    }
    text
}

fn uuid(rng: &mut Rng) -> Uuid {
    uuid::Builder::from_random_bytes(Uuid::from_u64_pair(rng.draw(), rng.draw()).into_bytes()).into_uuid()
}

/// A vehicle of a load, a VIN by its form.
pub fn vin(number: u64) -> String {
    format!("WVWZZZ1KZAW{number:06}")
}

#[cfg(test)]
mod tests {
    use fleet_domain::{EventId, SpoolId};
    use fleet_wire::{EventContext, encode_event};

    use super::*;

    /// Sizes and types of a bench's first events.
    fn told(count: usize, options: WorkOptions) -> Vec<(usize, Told)> {
        let mut rng = Rng::new(1);
        let mut work = Work::new(vec![vin(1), vin(2)], options);
        let now = Timestamp::from_second(1_764_000_000).expect("a time");
        let one = |seq: usize| {
            let told = work.next(&mut rng, now);
            let context = EventContext {
                id: EventId(Uuid::from_u128(seq as u128)),
                plant: "plant-1".parse().expect("a plant"),
                device: "load-00001".parse().expect("a bench"),
                vin: told.vin.clone(),
                time: now,
                spool: SpoolId(Uuid::from_u128(7)),
                seq: seq as u64,
                traceparent: None,
            };
            (encode_event(&context, &told.body).expect("JSON").len(), told)
        };
        (1..=count).map(one).collect()
    }

    #[test]
    fn events_are_of_every_type_of_a_job_and_have_600_bytes_on_average() {
        let events = told(5000, WorkOptions::default());
        let mean = events.iter().map(|(bytes, _)| bytes).sum::<usize>() / events.len();
        assert!((560..=640).contains(&mean), "{mean} bytes on average");
        let count = |name: &str| {
            let of_type = events
                .iter()
                .filter(|(_, told)| told.body.event_type().as_str() == name);
            of_type.count()
        };
        let jobs = count("vds.job.finished.v1");
        for name in ["vds.job.accepted.v1", "vds.job.started.v1"] {
            assert!(count(name).abs_diff(jobs) <= 1, "{name}");
        }
        assert!(count("vds.step.finished.v1") > 2 * jobs);
    }

    #[test]
    fn one_of_so_many_has_to_be_refused_and_only_the_second_result_is_large() {
        let options = WorkOptions {
            refused_one_in: 10,
            large: Some(20_000),
        };
        let events = told(2000, options);
        let refused = |told: &Told| {
            let long = fleet_wire::limits::MAX_ATTRIBUTE_BYTES;
            told.vin.as_ref().is_some_and(|vin| vin.len() > long)
        };
        let count = events.iter().filter(|(_, told)| refused(told)).count();
        assert!((130..270).contains(&count), "{count} of 2000");
        let large: Vec<_> = events.iter().filter(|(bytes, _)| *bytes > 20_000).collect();
        assert_eq!(large.len(), 1);
        assert!(!refused(&large[0].1), "the large one is taken");
    }
}
