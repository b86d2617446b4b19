//! What a bench of the load tells: jobs one after the other, each with some steps and its end, for a few vehicles.

use fleet_domain::{JobId, OfferId, Outcome, StoreGeneration, Verdict};
use fleet_wire::EventBody;
use fleet_wire::event::{
    AttemptRef, JobAccepted, JobFinished, JobStarted, Limits, Measurement, StepFinished, Value,
};
use uuid::Uuid;

use crate::rng::Rng;

const MOST_STEPS: u64 = 4;

/// A bench's work. A seed is a whole life of it.
#[derive(Debug)]
pub(super) struct Work {
    vins: Vec<String>,
    /// One of so many events names a subject that the server has to refuse; 0: none.
    refused_one_in: u64,
    /// Size of the second result's text.
    large: Option<usize>,
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
pub(super) struct Told {
    pub(super) vin: Option<String>,
    pub(super) body: EventBody,
}

impl Work {
    pub(super) fn new(vins: Vec<String>, refused_one_in: u64, large: Option<usize>) -> Self {
        Self {
            vins,
            refused_one_in,
            large,
            results: 0,
            job: None,
        }
    }

    /// The next event.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Told {
        let job = self.job.get_or_insert_with(|| begin(&self.vins, rng));
        let body = match job.stage {
            Stage::Accepted => {
                job.stage = Stage::Started;
                EventBody::JobAccepted(JobAccepted {
                    of: job.of,
                    offer_id: OfferId(uuid(rng)),
                    store_generation: StoreGeneration(uuid(rng)),
                    desired_version: 1,
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
                EventBody::StepFinished(step(job, rng))
            }
            Stage::Steps => {
                self.results += 1;
                EventBody::JobFinished(JobFinished {
                    of: job.of,
                    verdict: Verdict::Passed,
                    reason_code: "ok".to_owned(),
                    detail: self
                        .large
                        .filter(|_| self.results == 2)
                        .map(|bytes| noise(bytes, rng)),
                    software: [("ESP".to_owned(), format!("2.1.{}", rng.below(9)))].into(),
                    record: None,
                })
            }
        };
        let large = self.large.is_some() && self.results == 2;
        let mut vin = Some(job.vin.clone());
        if matches!(body, EventBody::JobFinished(_)) {
            self.job = None;
        }
        if self.refused_one_in > 0 && !large && rng.below(self.refused_one_in) == 0 {
            vin = Some("X".repeat(fleet_wire::limits::MAX_ATTRIBUTE_BYTES + 1));
        }
        Told { vin, body }
    }
}

fn begin(vins: &[String], rng: &mut Rng) -> Job {
    let place = usize::try_from(rng.below(vins.len() as u64)).unwrap_or_default();
    Job {
        of: AttemptRef {
            job_id: JobId(uuid(rng)),
            attempt: 1,
            fence: 1,
        },
        vin: vins.get(place).cloned().unwrap_or_default(),
        steps: u32::try_from(1 + rng.below(MOST_STEPS)).unwrap_or(1),
        done: 0,
        stage: Stage::Accepted,
    }
}

fn step(job: &Job, rng: &mut Rng) -> StepFinished {
    let measured = 11.0 + f64::from(u32::try_from(rng.below(3000)).unwrap_or_default()) / 1000.0;
    let now = fleet_clock::wall_now();
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
            raw: "0badcafe".to_owned(),
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

/// Text that does not get much smaller by compression.
fn noise(bytes: usize, rng: &mut Rng) -> String {
    let words: Vec<String> = (0..bytes.div_ceil(16))
        .map(|_| format!("{:016x}", rng.next()))
        .collect();
    words.concat()
}

fn uuid(rng: &mut Rng) -> Uuid {
    uuid::Builder::from_random_bytes(Uuid::from_u64_pair(rng.next(), rng.next()).into_bytes()).into_uuid()
}
