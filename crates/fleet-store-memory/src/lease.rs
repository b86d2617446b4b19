//! Slots with their terms, replicas, and the life of the database.

use std::time::Duration;

use fleet_domain::{Slot, StoreGeneration};
use fleet_recording::next_generation;
use fleet_store::{AlarmKind, ReplicaNotice, ReplicaRow, SlotLease, SlotTerm};
use jiff::{SignedDuration, Timestamp};

use crate::Database;
use crate::database::Replica;
use crate::work::Work;

/// Fencing numbers of a restored database start above those that it may have given away since its backup.
const FENCE_GAP: u64 = 1_000_000;
/// How long a replica is remembered after its last word.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(10);

pub(crate) fn expiry(now: Timestamp, ttl: Duration) -> Timestamp {
    let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
    now.checked_add(ttl).unwrap_or(Timestamp::MAX)
}

impl Database {
    /// Takes a slot's lease: free, expired, or held by the same owner. Each claim is a new term. `None` while another
    /// owner holds it. Not to be called while [`Database::is_locked`].
    pub fn claim_slot(&mut self, slot: Slot, owner: &str, now: Timestamp, ttl: Duration) -> Option<SlotTerm> {
        let lease = self.slots.entry(slot).or_default();
        let held = lease.owner.as_deref().is_some_and(|holder| holder != owner);
        if held && lease.expires_at > now {
            return None;
        }
        lease.owner = Some(owner.to_owned());
        lease.term += 1;
        lease.expires_at = expiry(now, ttl);
        Some(SlotTerm {
            slot,
            term: lease.term,
        })
    }

    /// Prolongs leases. Returns the slots whose term was lost.
    pub fn renew_slots(&mut self, terms: &[SlotTerm], now: Timestamp, ttl: Duration) -> Vec<Slot> {
        let mut lost = Vec::new();
        for term in terms {
            match self.slots.get_mut(&term.slot) {
                Some(lease) if lease.term == term.term => lease.expires_at = expiry(now, ttl),
                _ => lost.push(term.slot),
            }
        }
        lost
    }

    /// Gives leases back; terms that were lost are ignored.
    pub fn release_slots(&mut self, terms: &[SlotTerm]) {
        for term in terms {
            if let Some(lease) = self.slots.get_mut(&term.slot)
                && lease.term == term.term
            {
                // The row stays, so that the next term is higher.
                lease.owner = None;
                lease.expires_at = Timestamp::UNIX_EPOCH;
            }
        }
    }

    pub(crate) fn slot_leases(&self) -> Vec<SlotLease> {
        Slot::all()
            .map(|slot| {
                let lease = self.slots.get(&slot).cloned().unwrap_or_default();
                SlotLease {
                    slot,
                    owner: lease.owner,
                    term: lease.term,
                    expires_at: lease.expires_at,
                }
            })
            .collect()
    }

    pub(crate) fn announce(
        &mut self,
        notice: &ReplicaNotice,
        now: Timestamp,
        ttl: Duration,
    ) -> Vec<ReplicaRow> {
        let expires_at = expiry(now, ttl);
        let replica = self
            .replicas
            .entry(notice.owner.clone())
            .or_insert_with(|| Replica {
                notice: notice.clone(),
                started_at: now,
                seen_at: now,
                expires_at,
            });
        replica.notice = notice.clone();
        (replica.seen_at, replica.expires_at) = (now, expires_at);
        let oldest = now.checked_sub(FORGOTTEN_AFTER).unwrap_or(now);
        self.replicas.retain(|_, replica| replica.expires_at >= oldest);
        self.living(now)
    }

    pub(crate) fn living(&self, now: Timestamp) -> Vec<ReplicaRow> {
        let row = |(owner, replica): (&String, &Replica)| {
            let owns = |lease: &&crate::database::Lease| {
                lease.owner.as_ref() == Some(owner) && lease.expires_at > now
            };
            let notice = replica.notice.clone();
            ReplicaRow {
                owner: notice.owner,
                broker: notice.broker,
                http: notice.http,
                version: notice.version,
                slots_ready: notice.slots_ready,
                started_at: replica.started_at,
                seen_at: replica.seen_at,
                expires_at: replica.expires_at,
                slots_owned: u32::try_from(self.slots.values().filter(owns).count()).unwrap_or(u32::MAX),
                relay: owns(&&self.relay.lease),
            }
        };
        let alive = |(_, replica): &(&String, &Replica)| replica.expires_at > now;
        self.replicas.iter().filter(alive).map(row).collect()
    }

    /// Begins a generation that was chosen above the current one.
    pub(crate) fn begin_generation(&mut self, generation: StoreGeneration) {
        self.generation = generation;
        self.restored = true;
        self.last_fence += FENCE_GAP;
    }

    /// Somebody restored the database from a backup and says so.
    pub fn declare_restored(&mut self, candidate: StoreGeneration, now: Timestamp) -> StoreGeneration {
        let current = self.generation;
        let next = next_generation(current, candidate);
        self.begin_generation(next);
        let mut work = Work::new(now);
        work.raise(
            AlarmKind::DeclaredRestore,
            next.to_string(),
            None,
            format!("the database was declared restored: generation {next} follows {current}"),
        );
        work.finish(self);
        next
    }
}
