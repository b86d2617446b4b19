//! What the demo does: which benches, which jobs, and how the simulator confirms them.

use anyhow::{Context as _, bail};
use fleet_testkit::{Api, SoftwareImage, Workload, job_request};
use procedure::{Kind, Plan as Procedure};
use serde_json::json;

use super::stand::Stand;

pub(super) const PLANT: &str = "demo";
/// Large enough to watch, small enough for some seconds.
const IMAGE_BYTES: usize = 96 * 1024;
const NAME_OF: [(Kind, &str); 3] = [
    (Kind::Flash, "flash"),
    (Kind::Calibrate, "calibration"),
    (Kind::Test, "end-of-line test"),
];

/// A bench of the demo. Benches and vehicles of `demo/vehicles.yaml` meet in their order.
pub(super) struct Bench {
    pub(super) device: &'static str,
    pub(super) station: &'static str,
}

pub(super) const BENCHES: [Bench; 3] = [
    Bench {
        device: "bench-1",
        station: "Station 1",
    },
    Bench {
        device: "bench-2",
        station: "Station 2",
    },
    Bench {
        device: "bench-3",
        station: "Station 3",
    },
];

/// A job that the server has.
pub(super) struct QueuedJob {
    pub(super) id: String,
    pub(super) vin: String,
    pub(super) title: String,
}

/// A job to queue.
struct PlannedJob {
    name: &'static str,
    procedure: Procedure,
    vin: String,
}

/// The jobs of one run: each procedure on a vehicle of its own.
pub(super) struct Plan {
    workload: Workload,
    jobs: Vec<PlannedJob>,
    flashed: Flashed,
}

/// What the flash must leave behind.
struct Flashed {
    vin: String,
    ecu: String,
    image: SoftwareImage,
}

impl Plan {
    /// Chooses vehicles, and a version that the control unit does not have yet: each run flashes.
    pub(super) fn new(workload: Workload, stand: &Stand) -> anyhow::Result<Self> {
        let mut procedures = Vec::new();
        for (kind, name) in NAME_OF {
            let of_kind = workload
                .procedures
                .iter()
                .find(|procedure| procedure.kind == kind);
            procedures.push((
                name,
                of_kind.with_context(|| format!("demo/procedures holds no {name}"))?,
            ));
        }
        let vins = distinct(
            &procedures
                .iter()
                .map(|(_, p)| workload.candidates(p))
                .collect::<Vec<_>>(),
        )
        .context("demo/vehicles.yaml holds no vehicle of its own for each procedure")?;
        let mut jobs = Vec::new();
        for ((name, procedure), vin) in procedures.into_iter().zip(vins) {
            jobs.push(PlannedJob {
                name,
                procedure: procedure.clone(),
                vin,
            });
        }
        let flash = jobs.first().context("there is a flash")?;
        let spec = workload
            .target(&flash.vin, &flash.procedure)
            .context("the flash has its control unit")?;
        let known = stand.sim.ecu(&flash.vin, &spec.name)?.software;
        let version = next_version(known.as_deref().unwrap_or(&spec.software));
        let image = SoftwareImage::build(spec, &version, IMAGE_BYTES.min(spec.memory_bytes as usize))?;
        let flashed = Flashed {
            vin: flash.vin.clone(),
            ecu: spec.name.clone(),
            image,
        };
        Ok(Self {
            workload,
            jobs,
            flashed,
        })
    }

    /// Uploads procedures and image, and queues the jobs.
    pub(super) async fn queue(&self, api: &Api) -> anyhow::Result<Vec<QueuedJob>> {
        self.workload.upload_procedures(api).await?;
        let image = &self.flashed.image;
        image.upload(api).await?;
        println!(
            "uploaded {} procedures and image {} {}",
            self.jobs.len(),
            image.name,
            image.version
        );
        let mut queued = Vec::new();
        for job in &self.jobs {
            let artifact = Some((image.name.as_str(), image.version.as_str()));
            let mut request = job_request(&job.procedure, &job.vin, artifact)?;
            request["request_id"] = json!(format!("demo-{}", fleet_clock::new_uuid()));
            let created = api.post("/api/v1/jobs", &request).await?;
            let id = created["id"]
                .as_str()
                .with_context(|| format!("a job has an id: {created}"))?
                .to_owned();
            let title = format!("{} {} {}", job.name, job.procedure.target.ecu, job.vin);
            queued.push(QueuedJob {
                id,
                vin: job.vin.clone(),
                title,
            });
        }
        println!("queued {} jobs", queued.len());
        Ok(queued)
    }

    /// Compares what the simulator holds with what was to be flashed.
    pub(super) fn confirm(&self, stand: &Stand) -> anyhow::Result<()> {
        let Flashed { vin, ecu, image } = &self.flashed;
        let held = stand.sim.ecu(vin, ecu)?;
        let fits = held
            .flashed
            .as_ref()
            .is_some_and(|flashed| flashed.checked && flashed.sha256 == image.sha256());
        if held.software.as_deref() != Some(&image.version) || !held.app_valid || !fits {
            bail!(
                "the server says passed, but the simulator does not confirm {} {} in {ecu} of {vin}; it holds {held:?}",
                image.name,
                image.version
            );
        }
        println!(
            "the simulator confirms: {ecu} of {vin} runs {} {}",
            image.name, image.version
        );
        Ok(())
    }
}

/// One choice of each list, no two the same.
fn distinct(lists: &[Vec<&str>]) -> Option<Vec<String>> {
    fn choose<'a>(lists: &[Vec<&'a str>], taken: &mut Vec<&'a str>) -> bool {
        let Some(list) = lists.get(taken.len()) else {
            return true;
        };
        for choice in list {
            if !taken.contains(choice) {
                taken.push(choice);
                if choose(lists, taken) {
                    return true;
                }
                taken.pop();
            }
        }
        false
    }
    let mut taken = Vec::new();
    choose(lists, &mut taken).then(|| taken.into_iter().map(ToOwned::to_owned).collect())
}

/// The version with its last number raised by one.
fn next_version(known: &str) -> String {
    let digits = known.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (front, last) = known.split_at(known.len() - digits);
    match last.parse::<u64>() {
        Ok(last) => format!("{front}{}", last + 1),
        Err(_) => format!("{known}.1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_differs_in_its_last_number() {
        for (known, next) in [
            ("2.1.0", "2.1.1"),
            ("2.1.9", "2.1.10"),
            ("SW7", "SW8"),
            ("beta", "beta.1"),
            ("", ".1"),
        ] {
            assert_eq!(next_version(known), next);
        }
    }

    #[test]
    fn each_job_gets_a_vehicle_of_its_own() {
        let lists = [vec!["a", "b"], vec!["a"], vec!["b", "c"]];
        assert_eq!(
            distinct(&lists),
            Some(vec!["b".to_owned(), "a".to_owned(), "c".to_owned()])
        );
        assert_eq!(distinct(&[vec!["a"], vec!["a"]]), None);
    }
}
