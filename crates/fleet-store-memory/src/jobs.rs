//! Jobs: what people and requesters ask for, offers, the list of a bench.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::{AttemptRef, DeviceId, JobEvent, JobId, JobState, OfferId};
use fleet_recording::StoredJob;
use fleet_recording::dispatch::{Board, Candidate, ROUND, entry, waiting_detail};
use fleet_recording::orders::{Order, adopted, repeated};
use fleet_store::{
    AlarmKind, ChangeKind, ConflictKind, Created, DesiredList, DispatchOutcome, JobChange, MAX_OPEN_JOBS,
    NewJob, NotFoundKind, StoreError,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::Database;
use crate::ingest::blank_attempt;
use crate::work::Work;

/// Jobs of one round.
fn round() -> usize {
    usize::try_from(ROUND).unwrap_or(usize::MAX)
}

impl Database {
    /// Writes the job, the lease on its VIN and the change log.
    pub(crate) fn save_job(&mut self, stored: &StoredJob, work: &mut Work) {
        let next = self.job_numbers.len() as u64 + 1;
        let number = *self.job_numbers.entry(stored.id()).or_insert(next);
        let vin = stored.row.request.vin.as_str().to_owned();
        if stored.row.job.holds_vin() {
            // Where another job holds the vehicle already, a bench began without us: shown, not hidden.
            self.vin_leases.entry(vin).or_insert(stored.id());
        } else {
            self.vin_leases.retain(|_, job| *job != stored.id());
        }
        work.changed(ChangeKind::Job, &stored.id());
        for device in stored.shown_on() {
            work.changed(ChangeKind::Bench, device);
        }
        self.jobs.insert(number, stored.clone());
    }

    pub(crate) fn create_job(&mut self, request: NewJob, now: Timestamp) -> Result<Created, StoreError> {
        let known = self.known_job(&request).cloned();
        let new = known.is_none();
        let stored = match known {
            Some(mut known) if known.row.reported => {
                known.row.reported = false;
                known.row.request = adopted(&known.row.request, request);
                known
            }
            Some(known) => {
                repeated(known.id(), &known.row.request, request)?;
                return Ok(Created { job: known.row, new });
            }
            None => StoredJob::fresh(request, now),
        };
        let mut work = Work::new(now);
        self.save_job(&stored, &mut work);
        work.finish(self);
        Ok(Created { job: stored.row, new })
    }

    fn known_job(&self, request: &NewJob) -> Option<&StoredJob> {
        self.job(request.id).or_else(|| {
            let same = |stored: &&StoredJob| {
                let known = &stored.row.request;
                request.request_id.is_some()
                    && (&known.requested_by, &known.request_id)
                        == (&request.requested_by, &request.request_id)
            };
            self.jobs.values().find(same)
        })
    }

    /// Version of the first list of the job's bench that shows the change; 0 where no list holds the job.
    fn recall_version(&mut self, stored: &StoredJob, work: &mut Work) -> u64 {
        match (&stored.row.job.state, &stored.row.job.device) {
            (JobState::Offered, Some(device)) => work.next_version(self, device),
            _ => 0,
        }
    }

    pub(crate) fn decide_job(
        &mut self,
        order: Order,
        job: JobId,
        (reason, principal): (&str, &str),
        now: Timestamp,
    ) -> Result<JobChange, StoreError> {
        let missing = || StoreError::NotFound(NotFoundKind::Job(job));
        let mut stored = self.job(job).cloned().ok_or_else(missing)?;
        let mut work = Work::new(now);
        // Nothing is written before the machine has agreed.
        let mut tried = stored.clone();
        tried.apply(order.event(0, reason), now)?;
        let version = match order {
            Order::Cancel => self.recall_version(&stored, &mut work),
            Order::TakeOver => 0,
        };
        stored.apply(order.event(version, reason), now)?;
        stored.row.decided_by = Some(principal.to_owned());
        if order == Order::TakeOver {
            if let Some(device) = stored.row.job.device.clone() {
                let version = work.next_version(self, &device);
                stored.fenced = Some((device, version));
            }
            let row = &stored.row.job;
            if let Some(attempt) = self.attempts.get_mut(&(job, row.attempt, row.fence)) {
                attempt.fenced = true;
            }
        }
        self.save_job(&stored, &mut work);
        work.finish(self);
        Ok(JobChange {
            job: stored.row,
            lists: work.lists(),
        })
    }

    pub(crate) fn dispatch(
        &mut self,
        now: Timestamp,
        mint: &mut (dyn FnMut() -> Uuid + Send),
    ) -> Result<DispatchOutcome, StoreError> {
        let mut outcome = DispatchOutcome::default();
        let mut work = Work::new(now);
        self.time_out(&mut work, &mut outcome)?;
        outcome.waiting_for = self.awaited();
        self.tell_of_waiting(&mut work, &outcome.waiting_for);
        if outcome.waiting_for.is_empty() {
            self.offer_queued(&mut work, mint, &mut outcome)?;
        }
        outcome.lists = work.lists();
        work.finish(self);
        Ok(outcome)
    }

    fn time_out(&mut self, work: &mut Work, outcome: &mut DispatchOutcome) -> Result<(), StoreError> {
        let late = |stored: &&StoredJob| {
            let job = &stored.row.job;
            let back_to_queue = job
                .withdrawal
                .as_ref()
                .is_some_and(|withdrawal| withdrawal.target == fleet_domain::WithdrawTarget::Queued);
            let open = match job.state {
                JobState::Queued | JobState::Offered => true,
                JobState::Withdrawing => back_to_queue,
                _ => false,
            };
            open && stored
                .row
                .request
                .deadline
                .is_some_and(|deadline| deadline <= work.now)
        };
        let jobs: Vec<_> = self.jobs.values().filter(late).take(round()).cloned().collect();
        for mut stored in jobs {
            let version = self.recall_version(&stored, work);
            stored.apply(JobEvent::TimeOut { version }, work.now)?;
            self.save_job(&stored, work);
            outcome.timed_out.push(stored.id());
        }
        Ok(())
    }

    /// The benches that offers wait for since a restore.
    pub(crate) fn awaited(&self) -> Vec<DeviceId> {
        let current = Some(self.generation);
        self.devices
            .iter()
            .filter(|(_, device)| {
                self.restored
                    && device.row.settled_generation != current
                    && device.released_generation != current
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn tell_of_waiting(&self, work: &mut Work, waiting_for: &[DeviceId]) {
        if !self.restored {
            return;
        }
        let subject = self.generation.to_string();
        let told = self
            .alarms
            .get(&(AlarmKind::OffersHeld.as_str(), subject.clone()));
        if let Some(detail) = waiting_detail(waiting_for, told.map(|alarm| alarm.detail.as_str())) {
            work.raise(AlarmKind::OffersHeld, subject, None, detail);
        }
    }

    fn candidates(&self) -> BTreeMap<DeviceId, Candidate> {
        let candidate = |(name, device): (&DeviceId, &crate::database::Device)| {
            let open = self.jobs.values().filter(|stored| {
                let job = &stored.row.job;
                job.device.as_ref() == Some(name) && job.holds_vin()
            });
            let fenced = self
                .jobs
                .values()
                .filter(|stored| stored.fenced.as_ref().is_some_and(|(bench, _)| bench == name));
            let row = &device.row;
            let candidate = Candidate {
                online: row.presence.is_some_and(|presence| presence.online),
                vin: row.equipment.vin.clone(),
                ecus: row.equipment.ecus.clone(),
                refusing: row.refusing_jobs.clone(),
                open: open.count() + fenced.count(),
            };
            (name.clone(), candidate)
        };
        self.devices.iter().map(candidate).collect()
    }

    fn offer_queued(
        &mut self,
        work: &mut Work,
        mint: &mut (dyn FnMut() -> Uuid + Send),
        outcome: &mut DispatchOutcome,
    ) -> Result<(), StoreError> {
        let mut queue: Vec<(u64, StoredJob)> = self
            .jobs
            .iter()
            .filter(|(_, stored)| stored.row.job.state == JobState::Queued)
            .map(|(number, stored)| (*number, stored.clone()))
            .collect();
        queue.sort_by_key(|(number, stored)| (std::cmp::Reverse(stored.row.request.priority), *number));
        queue.truncate(round());
        let held: BTreeSet<String> = self.vin_leases.keys().cloned().collect();
        let mut board = Board::new(self.candidates(), held);
        for (_, mut stored) in queue {
            match board.place(&stored.row.request) {
                Ok(device) => {
                    self.offer(work, &mut stored, &device, OfferId(mint()))?;
                    outcome.offered.push((stored.id(), device));
                }
                Err(reason) => {
                    outcome.parked.push(stored.id());
                    if stored.row.job.parked.as_ref() != Some(&reason) {
                        stored.apply(JobEvent::Park { reason }, work.now)?;
                        self.save_job(&stored, work);
                    }
                }
            }
        }
        Ok(())
    }

    fn offer(
        &mut self,
        work: &mut Work,
        stored: &mut StoredJob,
        device: &DeviceId,
        offer_id: OfferId,
    ) -> Result<(), StoreError> {
        self.last_fence += 1;
        let fence = self.last_fence;
        let event = JobEvent::Offer {
            device: device.clone(),
            offer_id,
            fence,
        };
        stored.apply(event, work.now)?;
        work.next_version(self, device);
        let of = AttemptRef {
            job: stored.id(),
            attempt: stored.row.job.attempt,
            fence,
        };
        let attempt = self
            .attempts
            .entry((of.job, of.attempt, of.fence))
            .or_insert_with(|| blank_attempt(of, device.clone()));
        (attempt.offer_id, attempt.offered_at) = (Some(offer_id), Some(work.now));
        self.save_job(stored, work);
        Ok(())
    }

    pub(crate) fn desired_list(&self, device: &DeviceId) -> DesiredList {
        let fenced = |stored: &StoredJob| stored.fenced.as_ref().is_some_and(|(bench, _)| bench == device);
        let on_bench = |stored: &StoredJob| {
            let job = &stored.row.job;
            job.device.as_ref() == Some(device) && job.holds_vin() && job.state != JobState::Withdrawing
        };
        let entries = |of_fenced: bool| {
            self.jobs
                .values()
                .filter(move |stored| stored.fenced.is_some() == of_fenced)
                .filter(move |stored| fenced(stored) || on_bench(stored))
                .map(move |stored| entry(stored.row.clone(), fenced(stored)))
        };
        DesiredList {
            generation: self.generation,
            version: self.devices.get(device).map_or(0, |bench| bench.row.list_version),
            entries: entries(false).chain(entries(true)).take(MAX_OPEN_JOBS).collect(),
        }
    }

    pub(crate) fn release_bench(
        &mut self,
        device: &DeviceId,
        (reason, principal): (&str, &str),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let current = Some(self.generation);
        let bench = self
            .devices
            .get_mut(device)
            .ok_or_else(|| StoreError::NotFound(NotFoundKind::Bench(device.to_string())))?;
        if bench.released_generation == current {
            return Ok(());
        }
        if !self.restored || bench.row.settled_generation == current {
            return Err(StoreError::Conflict(ConflictKind::NotAwaited(device.to_string())));
        }
        bench.released_generation = current;
        let mut work = Work::new(now);
        work.raise(
            AlarmKind::DeclaredRestore,
            format!("released {device}"),
            Some(device),
            format!("{principal} lets offers be made without waiting for bench {device}: {reason}"),
        );
        work.changed(ChangeKind::Bench, device);
        work.finish(self);
        Ok(())
    }
}
