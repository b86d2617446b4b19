//! What the server reads: pages, benches, the ledger.

use fleet_domain::{DeviceId, JobId, JobState, Seq, Slot, SpoolId};
use fleet_recording::StoredJob;
use fleet_store::{
    AlarmRow, AttemptRow, BenchFilter, BenchRow, BenchState, Changes, DeadLetterRow, EventRow, EventStanding,
    JobFilter, JobRow, JobSummary, LedgerTotals, NewAlarm, Page, Paged, SpoolCounts, StepRow, StoreCounts,
    StoreError, cursor_number,
};

use jiff::Timestamp;

use crate::Database;
use crate::database::{Device, Outgoing, Spool};
use crate::work::Work;

/// Most that a number of the ledger shows.
const MOST: u64 = 9_000_000_000_000_000_000;

/// What a cursor says, or everything.
fn below(page: &Page) -> Result<u64, StoreError> {
    let number = page.after.as_deref().map_or(Ok(i64::MAX), cursor_number)?;
    Ok(number.max(0).unsigned_abs())
}

/// Items of a page and one more.
fn size(page: &Page) -> usize {
    usize::try_from(page.size() + 1).unwrap_or(usize::MAX)
}

impl JobMatch<'_> {
    fn is(&self, stored: &StoredJob) -> bool {
        let (filter, job, request) = (self.0, &stored.row.job, &stored.row.request);
        let on = |device: &DeviceId| job.device.as_ref().or(request.device.as_ref()) == Some(device);
        (filter.states.is_empty() || filter.states.contains(&job.state))
            && filter.vin.as_ref().is_none_or(|vin| *vin == request.vin)
            && filter
                .vin_part
                .as_ref()
                .is_none_or(|part| request.vin.as_str().contains(part))
            && filter.device.as_ref().is_none_or(on)
    }
}

struct JobMatch<'a>(&'a JobFilter);

impl Database {
    pub(crate) fn read_jobs(&self, filter: &JobFilter, page: &Page) -> Result<Paged<JobRow>, StoreError> {
        let matching = JobMatch(filter);
        let items = self
            .jobs
            .range(..below(page)?)
            .rev()
            .filter(|(_, stored)| matching.is(stored))
            .take(size(page))
            .map(|(number, stored)| (*number, stored.row.clone()))
            .collect();
        Ok(Paged::cut(items, page, |(number, _)| number.to_string()).map(|(_, row)| row))
    }

    pub(crate) fn read_attempts(&self, job: JobId) -> Vec<AttemptRow> {
        let range = (job, 0, 0)..=(job, u32::MAX, u64::MAX);
        self.attempts.range(range).map(|(_, row)| row.clone()).collect()
    }

    pub(crate) fn raise_alarm(&mut self, alarm: &NewAlarm, now: Timestamp) -> Result<AlarmRow, StoreError> {
        let mut work = Work::new(now);
        work.raise(
            alarm.kind,
            alarm.subject.clone(),
            alarm.device.as_ref(),
            alarm.detail.clone(),
        );
        work.finish(self)
            .pop()
            .ok_or_else(|| StoreError::Statement("an alarm that was raised has no row".into()))
    }

    pub(crate) fn read_steps(&self, job: JobId, attempt: u32) -> Vec<StepRow> {
        let of_attempt = || {
            self.steps
                .iter()
                .filter(move |(key, _)| key.job == job && key.attempt == attempt)
        };
        // After a restore two benches may have done an attempt of the same number: the newer fence is shown.
        let newest = of_attempt().map(|(key, _)| key.fence).max();
        of_attempt()
            .filter(|(key, _)| Some(key.fence) == newest)
            .map(|(_, row)| row.clone())
            .collect()
    }

    pub(crate) fn read_bench(&self, name: &DeviceId) -> Option<BenchRow> {
        Some(self.bench_row(name, self.devices.get(name)?))
    }

    fn bench_row(&self, name: &DeviceId, device: &Device) -> BenchRow {
        let (row, equipment) = (&device.row, device.row.equipment.clone());
        let outstanding = self
            .ledger(name)
            .map(|row| row.announced.saturating_sub(row.through));
        let open = self
            .jobs
            .values()
            .filter(|stored| stored.row.job.device.as_ref() == Some(name) && stored.row.job.holds_vin());
        BenchRow {
            device: name.clone(),
            plant: self.plant.clone(),
            slot: Slot::of(name),
            online: row.presence.is_some_and(|presence| presence.online),
            presence_since: row.presence_since,
            last_seen: device.last_seen,
            station: equipment.station,
            vin: equipment.vin,
            ecus: equipment.ecus,
            transports: equipment.transports,
            agent_version: equipment.agent_version,
            public_key: equipment.public_key,
            run_id: row.presence.map(|presence| presence.run_id),
            desired_version: row.list_version,
            stated_version: row.mark.desired_version,
            refusing_jobs: row.refusing_jobs.clone(),
            held_events: row.held_events,
            outstanding: outstanding.fold(0, u64::saturating_add).min(MOST),
            open_jobs: open.map(summary).collect(),
        }
    }

    pub(crate) fn read_benches(&self, filter: &BenchFilter, page: &Page) -> Paged<BenchRow> {
        let after = page.after.as_deref().unwrap_or("");
        let text = filter.text.as_deref().map(str::to_ascii_lowercase);
        let matching = |row: &BenchRow| {
            let state = if row.online {
                BenchState::Online
            } else {
                BenchState::Offline
            };
            let (station, vin) = (row.station.as_deref(), row.vin.as_deref());
            let shown = format!("{} {} {}", row.device, station.unwrap_or(""), vin.unwrap_or(""));
            filter.state.is_none_or(|wanted| wanted == state)
                && text
                    .as_ref()
                    .is_none_or(|text| shown.to_ascii_lowercase().contains(text))
        };
        let items = self
            .devices
            .iter()
            .filter(|(name, _)| name.as_str() > after)
            .map(|(name, device)| self.bench_row(name, device))
            .filter(matching)
            .take(size(page))
            .collect();
        Paged::cut(items, page, |bench| bench.device.to_string())
    }

    fn waiting(&self) -> impl Iterator<Item = &Outgoing> {
        self.outbox
            .iter()
            .filter(|(seq, row)| self.waits(**seq) && row.refused.is_none())
            .map(|(_, row)| row)
    }

    pub(crate) fn bench_ledger(&self, device: &DeviceId) -> Vec<SpoolCounts> {
        let counts = |spool: &Spool| {
            let row = &spool.ledger;
            let mine = |outgoing: &&Outgoing| {
                let event = &outgoing.event.row;
                event.device == *device && event.spool == row.spool
            };
            SpoolCounts {
                spool: row.spool,
                ordinal: row.ordinal,
                through: row.through,
                announced: row.announced,
                stored: row.stored,
                rejected: row.rejected,
                holes: row.holes,
                outstanding: row.announced.saturating_sub(row.through),
                outstanding_since: spool.outstanding_since,
                duplicates: row.duplicates,
                gaps: row.gaps,
                conflicts: row.conflicts,
                in_outbox: self.waiting().filter(mine).count() as u64,
                in_kafka: spool.in_kafka,
                already_in_kafka: spool.already_in_kafka,
                unrelayable: spool.unrelayable,
                expired: spool.expired,
            }
        };
        let spools = self.spools.get(device).into_iter();
        let mut rows: Vec<_> = spools.flat_map(|spools| spools.values().map(counts)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.ordinal));
        rows
    }

    pub(crate) fn ledger_totals(&self) -> LedgerTotals {
        let mut totals = LedgerTotals {
            in_outbox: self.waiting().count() as u64,
            unprojected: self
                .stored()
                .filter(|event| matches!(event.standing, EventStanding::Unprojected(_)))
                .count() as u64,
            dead_letters: self.dead.len() as u64,
            ..LedgerTotals::default()
        };
        for spool in self.spools.values().flat_map(std::collections::BTreeMap::values) {
            let row = &spool.ledger;
            totals.spools += 1;
            for (sum, add) in [
                (&mut totals.announced, row.announced),
                (&mut totals.stored, row.stored),
                (&mut totals.rejected, row.rejected),
                (&mut totals.holes, row.holes),
                (&mut totals.outstanding, row.announced.saturating_sub(row.through)),
                (&mut totals.duplicates, row.duplicates),
                (&mut totals.gaps, row.gaps),
                (&mut totals.conflicts, row.conflicts),
                (&mut totals.in_kafka, spool.in_kafka),
                (&mut totals.already_in_kafka, spool.already_in_kafka),
                (&mut totals.unrelayable, spool.unrelayable),
                (&mut totals.expired, spool.expired),
            ] {
                *sum = sum.saturating_add(add).min(MOST);
            }
        }
        totals
    }

    pub(crate) fn counts(&self) -> StoreCounts {
        let mut by_state: std::collections::BTreeMap<&str, (JobState, u64)> =
            std::collections::BTreeMap::new();
        for stored in self.jobs.values() {
            let state = stored.row.job.state;
            by_state.entry(state.as_str()).or_insert((state, 0)).1 += 1;
        }
        let online = |device: &&Device| device.row.presence.is_some_and(|presence| presence.online);
        let benches_online = self.devices.values().filter(online).count() as u64;
        StoreCounts {
            jobs: by_state.into_values().collect(),
            benches_online,
            benches_offline: self.devices.len() as u64 - benches_online,
            ledger: self.ledger_totals(),
        }
    }

    pub(crate) fn read_dead_letters(&self, page: &Page) -> Result<Paged<DeadLetterRow>, StoreError> {
        let letters = self.dead.range(..below(page)?).rev().take(size(page));
        let items = letters.map(|(_, letter)| DeadLetterRow::clone(letter)).collect();
        Ok(Paged::cut(items, page, |letter: &DeadLetterRow| {
            letter.id.to_string()
        }))
    }

    pub(crate) fn read_alarms(&self, page: &Page) -> Result<Paged<AlarmRow>, StoreError> {
        // An alarm that was seen may have moved up meanwhile, so its time is in the cursor.
        let before = match &page.after {
            None => (i64::MAX, u64::MAX),
            Some(cursor) => {
                let (at, id) = cursor.split_once('-').unwrap_or((cursor, ""));
                (cursor_number(at)?, cursor_number(id)?.unsigned_abs())
            }
        };
        let key = |alarm: &AlarmRow| (alarm.last_at.as_microsecond(), alarm.id);
        let mut items: Vec<AlarmRow> = self
            .alarms
            .values()
            .filter(|alarm| key(alarm) < before)
            .cloned()
            .collect();
        items.sort_by_key(|alarm| std::cmp::Reverse(key(alarm)));
        items.truncate(size(page));
        Ok(Paged::cut(items, page, |alarm| {
            format!("{}-{}", alarm.last_at.as_microsecond(), alarm.id)
        }))
    }

    pub(crate) fn read_events(
        &self,
        device: &DeviceId,
        spool: SpoolId,
        from: Seq,
        limit: u32,
    ) -> Vec<EventRow> {
        let events = self.places.get(&(device.clone(), spool)).into_iter();
        events
            .flat_map(|events| events.range(from..))
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(|(_, event)| event.row.clone())
            .collect()
    }

    pub(crate) fn read_changes(&self, since: u64, limit: u32) -> Changes {
        let head = self.last_change;
        let truncated = since < self.changes_pruned_through || since > head;
        let rows = if truncated { &[][..] } else { &self.changes };
        let rows = rows.iter().map(|(row, _)| row).filter(|row| row.seq > since);
        Changes {
            head,
            rows: rows
                .take(usize::try_from(limit).unwrap_or(usize::MAX))
                .cloned()
                .collect(),
            truncated,
        }
    }
}

fn summary(stored: &StoredJob) -> JobSummary {
    let (job, request) = (&stored.row.job, &stored.row.request);
    JobSummary {
        id: job.id,
        kind: request.kind,
        vin: request.vin.clone(),
        ecu: request.ecu.clone(),
        state: job.state,
        verdict: job.verdict,
        steps_done: stored.row.steps_done,
        steps_total: job.steps_total,
    }
}
