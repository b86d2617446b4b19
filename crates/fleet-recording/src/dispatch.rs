//! Which bench gets a job: one open job for a vehicle, at most [`MAX_OPEN_JOBS`] for a bench.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::{DeviceId, EntryState, JobState};
use fleet_store::{DesiredEntry, JobRow, MAX_OPEN_JOBS, NewJob};

/// Jobs looked at in one round; the rest waits for the next.
pub const ROUND: i64 = 1000;

/// Benches named in an alarm.
const NAMED: usize = 20;

/// What dispatch knows of a bench.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// It is connected.
    pub online: bool,
    /// VIN of the vehicle that stands there.
    pub vin: Option<String>,
    /// Names of the ECUs that it serves; empty: any.
    pub ecus: Vec<String>,
    /// Why it takes no new job at the moment.
    pub refusing: Option<String>,
    /// Entries of its list, those that only tell it of a take-over too.
    pub open: usize,
}

impl Candidate {
    fn refusal(&self) -> Option<String> {
        if let Some(reason) = &self.refusing {
            return Some(format!("takes no new jobs: {reason}"));
        }
        (self.open >= MAX_OPEN_JOBS).then(|| format!("has {MAX_OPEN_JOBS} open jobs"))
    }

    fn fits(&self, request: &NewJob) -> bool {
        self.vin.as_deref() == Some(request.vin.as_str())
            && (self.ecus.is_empty() || self.ecus.contains(&request.ecu))
    }
}

/// The benches and the vehicles that are held, as a round of dispatch goes through the queue.
#[derive(Debug, Clone, Default)]
pub struct Board {
    benches: BTreeMap<DeviceId, Candidate>,
    held: BTreeSet<String>,
}

impl Board {
    /// The benches, and the VINs that open jobs hold.
    pub fn new(benches: BTreeMap<DeviceId, Candidate>, held: BTreeSet<String>) -> Self {
        Self { benches, held }
    }

    /// The bench for the job, which counts as taken from then on together with the vehicle, or why there is
    /// none.
    ///
    /// # Errors
    /// For people: why the job has to wait.
    pub fn place(&mut self, request: &NewJob) -> Result<DeviceId, String> {
        if self.held.contains(request.vin.as_str()) {
            return Err("another open job holds the vehicle".to_owned());
        }
        let device = self.choose(request)?;
        if let Some(bench) = self.benches.get_mut(&device) {
            bench.open += 1;
        }
        self.held.insert(request.vin.as_str().to_owned());
        Ok(device)
    }

    fn choose(&self, request: &NewJob) -> Result<DeviceId, String> {
        if let Some(device) = &request.device {
            let bench = self
                .benches
                .get(device)
                .ok_or_else(|| format!("bench {device} has never been heard of"))?;
            return match bench.refusal() {
                Some(reason) => Err(format!("bench {device} {reason}")),
                None => Ok(device.clone()),
            };
        }
        let mut fitting = self.benches.iter().filter(|(_, bench)| bench.fits(request));
        if fitting.clone().next().is_none() {
            return Err("no bench has this vehicle and serves this ECU".to_owned());
        }
        if !fitting.clone().any(|(_, bench)| bench.online) {
            return Err("the benches with this vehicle are not connected".to_owned());
        }
        let willing = |(_, bench): &(&DeviceId, &Candidate)| bench.online && bench.refusal().is_none();
        fitting
            .by_ref()
            .filter(willing)
            .min_by_key(|(device, bench)| (bench.open, (*device).clone()))
            .map(|(device, _)| device.clone())
            .ok_or_else(|| "the benches with this vehicle take no new jobs at the moment".to_owned())
    }
}

/// What the alarm about held offers has to say now, if that is something new: `told` is what it said last. One
/// alarm for each restore: raised when offers begin to wait, again when others are waited for, and a last time
/// when nobody is.
pub fn waiting_detail(waiting_for: &[DeviceId], told: Option<&str>) -> Option<String> {
    let detail = match (waiting_for.len(), told) {
        (0, None) => return None,
        (0, Some(_)) => "offers are made again after the restore".to_owned(),
        (count, _) => {
            let names: Vec<&str> = waiting_for.iter().take(NAMED).map(DeviceId::as_str).collect();
            let more = if count > NAMED { ", …" } else { "" };
            format!(
                "no job is offered until {count} benches have synced since the restore or are released: {}{more}",
                names.join(", ")
            )
        }
    };
    (told != Some(&detail)).then_some(detail)
}

/// The job in a bench's list. `fenced`: it was taken from this bench, which has to be told.
pub fn entry(row: JobRow, fenced: bool) -> DesiredEntry {
    let job = &row.job;
    let state = if fenced || job.state == JobState::TakenOver {
        EntryState::Fenced
    } else {
        job.entry().unwrap_or(EntryState::Fenced)
    };
    DesiredEntry {
        state,
        attempt: job.attempt,
        fence: job.fence,
        offer_id: job.offer_id.filter(|_| state == EntryState::Offered),
        job: row,
    }
}
