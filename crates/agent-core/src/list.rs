//! The server's list of jobs: commands are state.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_domain::OfferId;
use fleet_wire::command::{Commands, DesiredJob, DesiredState};
use fleet_wire::event::{AttemptRef, JobRejected};
use fleet_wire::sync::BenchJobState;

use crate::core::{AgentCore, Out};
use crate::event::{AttemptKey, Effect, Times};
use crate::state::{Offer, OpenJob, PendingEvent};

impl AgentCore {
    /// Obeys a list, unless it is older than the one before. The same list again changes nothing.
    pub(crate) fn on_commands(&mut self, list: Commands, now: Times, out: &mut Out<'_>) {
        let incoming = (list.store_generation, list.desired_version);
        let known = self.state.list();
        if known.is_some_and(|known| incoming < known) {
            return;
        }
        if known != Some(incoming) {
            self.state.generation = Some(list.store_generation);
            self.state.desired_version = list.desired_version;
            self.dirty = true;
        }
        let offered = list
            .jobs
            .iter()
            .filter(|entry| entry.state == DesiredState::Offered);
        let offered: BTreeSet<OfferId> = offered.filter_map(|entry| entry.offer_id).collect();
        self.withdraw_offers(&offered, out);
        let listed: BTreeSet<_> = list.jobs.iter().map(|entry| entry.job_id).collect();
        let open = self.state.open.len();
        self.state
            .open
            .retain(|job| !job.is_over() || listed.contains(&job.of.job_id));
        self.dirty |= open != self.state.open.len();
        for entry in list.jobs {
            self.on_entry(entry, incoming, now, out);
        }
    }

    /// Forgets offers that are not offered any more. From here on they can't be accepted, and the next sync,
    /// sent as soon as that is on disk, says so.
    pub(crate) fn withdraw_offers(&mut self, offered: &BTreeSet<OfferId>, out: &mut Out<'_>) {
        let gone: Vec<(AttemptKey, bool)> = self
            .state
            .offers
            .iter()
            .filter(|offer| !offered.contains(&offer.id))
            .map(|offer| (offer.key(), offer.answered))
            .collect();
        self.state.offers.retain(|offer| offered.contains(&offer.id));
        self.state.unreadable.retain(|offer| offered.contains(offer));
        for (key, answered) in gone {
            self.dirty = true;
            if !answered {
                self.sync_now = true;
                self.volatile.remove(&key);
                out.first.push(Effect::DropPreparation(key));
            }
        }
    }

    fn on_entry(
        &mut self,
        entry: DesiredJob,
        list: (fleet_domain::StoreGeneration, u64),
        now: Times,
        out: &mut Out<'_>,
    ) {
        let of = AttemptRef {
            job_id: entry.job_id,
            attempt: entry.attempt,
            fence: entry.fence,
        };
        let key = AttemptKey::from(of);
        match entry.state {
            DesiredState::Offered => self.on_offer(entry, of, list, now, out),
            DesiredState::Accepted | DesiredState::Running => {
                if !self.state.knows(key) {
                    let job = OpenJob {
                        of,
                        offer_id: None,
                        document: entry.job,
                        traceparent: entry.traceparent,
                        start_by: Duration::ZERO,
                        state: BenchJobState::Accepted,
                    };
                    self.doubt_unknown(job, out);
                }
            }
            DesiredState::Fenced => self.on_fenced(key, out),
            // The server says in_doubt only after it heard it; a newer server's state starts and stops nothing.
            DesiredState::InDoubt | DesiredState::Unknown => {}
        }
    }

    fn on_offer(
        &mut self,
        entry: DesiredJob,
        of: AttemptRef,
        (generation, desired_version): (fleet_domain::StoreGeneration, u64),
        now: Times,
        out: &mut Out<'_>,
    ) {
        // Without an id an offer can't be answered.
        let Some(offer_id) = entry.offer_id else { return };
        let key = AttemptKey::from(of);
        let known = self.state.offers.iter().any(|offer| offer.id == offer_id);
        // What was accepted stays offered until the server has heard it: the spool says it.
        let taken = |job: &OpenJob| !job.is_over() || job.offer_id == Some(offer_id);
        if known || self.state.open(key).is_some_and(taken) {
            return;
        }
        let Some(document) = entry.job else {
            self.refuse_empty(of, offer_id, out);
            return;
        };
        let within = Duration::from_secs(u64::from(document.start_within_s));
        let offer = Offer {
            id: offer_id,
            of,
            document,
            traceparent: entry.traceparent,
            start_by: now.boot.saturating_add(within),
            generation,
            desired_version,
            answered: false,
        };
        self.dirty = true;
        self.state.offers.push(offer.clone());
        if self.state.executed(key).is_some() {
            self.repeat_result(&offer, out);
        }
    }

    fn refuse_empty(&mut self, of: AttemptRef, offer_id: OfferId, out: &mut Out<'_>) {
        if self.state.unreadable.contains(&offer_id) {
            return;
        }
        self.state.unreadable.push(offer_id);
        let event = PendingEvent::Rejected(JobRejected {
            of,
            offer_id,
            code: "job_unreadable".to_owned(),
            detail: Some("the offer's job is missing, or of a kind that this agent does not know".to_owned()),
        });
        self.append_once(None, None, event, out);
    }

    fn on_fenced(&mut self, key: AttemptKey, out: &mut Out<'_>) {
        let Some(job) = self.state.open(key) else { return };
        let running = job.state == BenchJobState::Running;
        if job.is_over() {
            // A person has decided: the VIN is not held for this bench any more.
            self.state.open.retain(|job| job.key() != key);
            self.dirty = true;
            self.sync_now = true;
            return;
        }
        let volatile = self.volatile.entry(key).or_default();
        volatile.fenced = true;
        if running && !volatile.carried && !volatile.point_of_no_return {
            out.first.push(Effect::StopAttempt {
                key,
                reason: "fenced",
            });
        }
    }
}
