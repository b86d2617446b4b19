//! What happens to offers and jobs: refused, accepted, started, ended.

use std::collections::BTreeMap;

use fleet_domain::{JobId, Vin};
use fleet_wire::event::{JobAccepted, JobFinished, JobRejected, Verdict};
use fleet_wire::limits::MAX_OPEN_JOBS;
use fleet_wire::sync::BenchJobState;

use crate::core::{AgentCore, Out, Preparation};
use crate::event::{AttemptKey, Effect, JobResult, Times};
use crate::state::{Executed, Offer, OpenJob, Pending, PendingEvent};

impl AgentCore {
    /// Appends an event that must be in a spool exactly once.
    pub(crate) fn append_once(
        &mut self,
        vin: Option<Vin>,
        traceparent: Option<String>,
        event: PendingEvent,
        out: &mut Out<'_>,
    ) {
        let pending = Pending {
            id: (out.ids)(),
            vin,
            traceparent,
            event,
        };
        out.then.push(Effect::AppendEvent(pending.append()));
        self.state.outbox.push(pending);
        self.dirty = true;
    }

    pub(crate) fn reject(&mut self, offer: &Offer, code: &str, detail: &str, out: &mut Out<'_>) {
        for known in &mut self.state.offers {
            known.answered |= known.id == offer.id;
        }
        if self.of(offer.key()).preparation != Preparation::None {
            out.first.push(Effect::DropPreparation(offer.key()));
        }
        self.volatile.remove(&offer.key());
        let event = PendingEvent::Rejected(JobRejected {
            of: offer.of,
            offer_id: offer.id,
            code: code.to_owned(),
            detail: Some(detail.to_owned()),
        });
        self.append_once(
            Some(offer.document.vin.clone()),
            offer.traceparent.clone(),
            event,
            out,
        );
    }

    /// Answers an offer of an attempt that was executed before with its result.
    pub(crate) fn repeat_result(&mut self, offer: &Offer, out: &mut Out<'_>) {
        let Some(done) = self.state.executed(offer.key()).cloned() else {
            return;
        };
        for known in &mut self.state.offers {
            known.answered |= known.id == offer.id;
        }
        self.append_acceptance(offer, out);
        let event = PendingEvent::Finished(JobFinished {
            of: offer.of,
            verdict: done.verdict,
            reason_code: done.reason_code,
            detail: done.detail,
            software: done.software,
            record: None,
        });
        self.append_once(
            Some(offer.document.vin.clone()),
            offer.traceparent.clone(),
            event,
            out,
        );
    }

    fn append_acceptance(&mut self, offer: &Offer, out: &mut Out<'_>) {
        let event = PendingEvent::Accepted(JobAccepted {
            of: offer.of,
            offer_id: offer.id,
            store_generation: offer.generation,
            desired_version: offer.desired_version,
        });
        self.append_once(
            Some(offer.document.vin.clone()),
            offer.traceparent.clone(),
            event,
            out,
        );
    }

    pub(crate) fn abort(&mut self, key: AttemptKey, code: &str, detail: String, out: &mut Out<'_>) {
        let result = JobResult {
            verdict: Verdict::Aborted,
            reason_code: code.to_owned(),
            detail: Some(detail),
            software: BTreeMap::new(),
            record: None,
        };
        self.finish(key, result, None, out);
    }

    pub(crate) fn doubt(&mut self, key: AttemptKey, code: &str, detail: &str, out: &mut Out<'_>) {
        let result = JobResult {
            verdict: Verdict::InDoubt,
            reason_code: code.to_owned(),
            detail: Some(detail.to_owned()),
            software: BTreeMap::new(),
            record: None,
        };
        self.finish(key, result, None, out);
    }

    /// The server says that this bench accepted an attempt of which it knows nothing.
    pub(crate) fn doubt_unknown(&mut self, mut job: OpenJob, out: &mut Out<'_>) {
        let key = job.key();
        job.state = BenchJobState::Accepted;
        self.state.open.push(job);
        let detail = "the server knows an acceptance of this bench, the bench does not";
        self.doubt(key, "unknown_to_bench", detail, out);
    }

    /// The one place where an attempt ends: once, whatever comes after.
    pub(crate) fn finish(
        &mut self,
        key: AttemptKey,
        result: JobResult,
        traceparent: Option<String>,
        out: &mut Out<'_>,
    ) {
        if self.held.iter().any(|(job, ..)| job.key() == key) {
            return;
        }
        let Some(job) = self.state.open_mut(key) else {
            return;
        };
        if job.is_over() {
            return;
        }
        job.state = if result.verdict == Verdict::InDoubt {
            BenchJobState::InDoubt
        } else {
            BenchJobState::Finished
        };
        let mut before = job.clone();
        before.state = BenchJobState::Accepted;
        let (of, vin) = (job.of, job.vin());
        let trace = traceparent.clone().or_else(|| job.traceparent.clone());
        let volatile = self.volatile.remove(&key).unwrap_or_default();
        if volatile.preparation == Preparation::Asked {
            out.first.push(Effect::DropPreparation(key));
        }
        self.finals.push((before, result.clone(), traceparent));
        self.state.remember(Executed {
            job_id: of.job_id,
            attempt: of.attempt,
            verdict: result.verdict,
            reason_code: result.reason_code.clone(),
            detail: result.detail.clone(),
            software: result.software.clone(),
        });
        let event = PendingEvent::Finished(JobFinished {
            of,
            verdict: result.verdict,
            reason_code: result.reason_code,
            detail: result.detail,
            software: result.software,
            record: result.record,
        });
        self.append_once(vin, trace, event, out);
    }

    pub(crate) fn expire(&mut self, now: Times, out: &mut Out<'_>) {
        let offers: Vec<Offer> = self
            .state
            .unanswered()
            .filter(|offer| offer.start_by <= now.boot)
            .cloned()
            .collect();
        for offer in offers {
            self.reject(
                &offer,
                "start_within",
                "not prepared within the offer's start_within",
                out,
            );
        }
        let late: Vec<AttemptKey> = self
            .state
            .open
            .iter()
            .filter(|job| job.state == BenchJobState::Accepted && job.start_by <= now.boot)
            .map(OpenJob::key)
            .filter(|key| !self.of(*key).carried)
            .collect();
        let fenced: Vec<AttemptKey> = self
            .state
            .open
            .iter()
            .filter(|job| job.state == BenchJobState::Accepted)
            .map(OpenJob::key)
            .filter(|key| self.of(*key).fenced && !self.of(*key).carried)
            .collect();
        for key in fenced {
            let detail = "taken away from this bench before it was started".to_owned();
            self.abort(key, "fenced", detail, out);
        }
        for key in late {
            let detail = "accepted, but not started within the offer's start_within".to_owned();
            self.abort(key, "start_within", detail, out);
        }
    }

    pub(crate) fn prepare(&mut self, out: &mut Out<'_>) {
        if self.stopping {
            return;
        }
        let offers = self
            .state
            .unanswered()
            .filter(|offer| !self.has_earlier_attempt(offer.of.job_id))
            .map(|offer| (offer.key(), offer.document.clone(), offer.traceparent.clone()));
        let open = self
            .state
            .open
            .iter()
            .filter(|job| job.state == BenchJobState::Accepted && !self.of(job.key()).carried);
        let open = open.filter_map(|job| Some((job.key(), job.document.clone()?, job.traceparent.clone())));
        let wanted: Vec<_> = open.chain(offers).collect();
        for (key, document, traceparent) in wanted {
            let volatile = self.volatile.entry(key).or_default();
            if volatile.preparation == Preparation::None {
                volatile.preparation = Preparation::Asked;
                out.then.push(Effect::Prepare {
                    key,
                    document,
                    traceparent,
                });
            }
        }
    }

    fn has_earlier_attempt(&self, job_id: JobId) -> bool {
        self.state
            .open
            .iter()
            .any(|job| job.of.job_id == job_id && !job.is_over())
    }

    /// Takes the offers that are prepared. Without room for their events they are refused; on a disk that fails
    /// nothing can be said durably, so nothing is taken and the sync says why.
    pub(crate) fn accept(&mut self, out: &mut Out<'_>) {
        if self.stopping || self.spool_failed.is_some() || self.persist_failed.is_some() {
            return;
        }
        if let Some(detail) = self.room.clone() {
            let refused: Vec<Offer> = self.state.unanswered().cloned().collect();
            for offer in refused {
                self.reject(&offer, "spool_full", &detail, out);
            }
        }
        let ready: Vec<Offer> = self
            .state
            .unanswered()
            .filter(|offer| self.of(offer.key()).preparation == Preparation::Ready)
            .cloned()
            .collect();
        for offer in ready {
            let open = self.state.open.iter().filter(|job| !job.is_over()).count();
            if open >= MAX_OPEN_JOBS || self.has_earlier_attempt(offer.of.job_id) {
                continue;
            }
            self.state.offers.retain(|known| known.id != offer.id);
            self.append_acceptance(&offer, out);
            self.state.open.push(OpenJob {
                of: offer.of,
                offer_id: Some(offer.id),
                document: Some(offer.document),
                traceparent: offer.traceparent,
                start_by: offer.start_by,
                state: BenchJobState::Accepted,
            });
        }
    }

    /// One attempt at a time: a bench has one vehicle on it.
    pub(crate) fn start(&mut self, now: Times, out: &mut Out<'_>) {
        if self.stopping || self.spool_failed.is_some() || self.persist_failed.is_some() {
            return;
        }
        if self.running().is_some() {
            return;
        }
        let ready = self.state.open.iter().filter(|job| {
            let volatile = self.of(job.key());
            job.state == BenchJobState::Accepted
                && volatile.preparation == Preparation::Ready
                && !volatile.carried
                && now.boot < job.start_by
                && !self.state.acceptance_pending(job.key())
        });
        // Of equal priority the one accepted first.
        let next = ready
            .rev()
            .max_by_key(|job| job.document.as_ref().map(|document| document.priority))
            .map(OpenJob::key);
        let Some(job) = next.and_then(|key| self.state.open_mut(key)) else {
            return;
        };
        let Some(document) = job.document.clone() else {
            return;
        };
        job.state = BenchJobState::Running;
        out.then.push(Effect::StartAttempt {
            of: job.of,
            document,
            traceparent: job.traceparent.clone(),
        });
        self.dirty = true;
    }
}
