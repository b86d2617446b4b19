//! Several servers of one plant: who is there, who owns what, and what becomes of the one that lost a slot.

use std::time::Duration;

use fleet_domain::Slot;
use futures::future::join;
use jiff::SignedDuration;

use super::fixture::{Fixture, VIN};
use crate::{IngestBatch, ReplicaNotice, SlotTerm};

const TTL: Duration = Duration::from_secs(6);

fn notice(owner: &str) -> ReplicaNotice {
    ReplicaNotice {
        owner: owner.to_owned(),
        broker: "mqtt://broker:1883".to_owned(),
        http: "http://127.0.0.1:8080".to_owned(),
        version: "0.1.0".to_owned(),
        slots_ready: 3,
    }
}

/// A replica is seen until it has been silent for its time, or says that it ends.
pub async fn replicas_see_each_other_while_they_live(mut fixture: Fixture) {
    let store = fixture.store.clone();
    let first = store
        .announce_replica(&notice("b"), fixture.now, TTL)
        .await
        .unwrap();
    assert_eq!(first.len(), 1);
    fixture.pass(2);
    let both = store
        .announce_replica(&notice("a"), fixture.now, TTL)
        .await
        .unwrap();
    let owners: Vec<_> = both.iter().map(|row| row.owner.as_str()).collect();
    assert_eq!(owners, ["a", "b"]);
    assert_eq!(store.replicas(fixture.now).await.unwrap(), both);
    let slot = Slot::new(5).unwrap();
    store
        .claim_slot(slot, "b", fixture.now, TTL)
        .await
        .unwrap()
        .unwrap();
    store.claim_relay("a", fixture.now, TTL).await.unwrap().unwrap();
    fixture.pass(1);
    let again = ReplicaNotice {
        slots_ready: 16,
        ..notice("b")
    };
    let rows = store.announce_replica(&again, fixture.now, TTL).await.unwrap();
    let b = rows.iter().find(|row| row.owner == "b").unwrap();
    assert_eq!((b.slots_ready, b.slots_owned, b.relay), (16, 1, false));
    assert_eq!((b.started_at, b.seen_at), (first[0].started_at, fixture.now));
    assert_eq!(b.expires_at, fixture.now + TTL);
    let a = rows.iter().find(|row| row.owner == "a").unwrap();
    assert_eq!((a.slots_owned, a.relay), (0, true));
    // `a` has been silent for its time, and its lease of the relay with it.
    fixture.pass(5);
    let left = store.replicas(fixture.now).await.unwrap();
    let owners: Vec<_> = left.iter().map(|row| row.owner.as_str()).collect();
    assert_eq!(owners, ["b"]);
    store.withdraw_replica("b").await.unwrap();
    store.withdraw_replica("nobody").await.unwrap();
    assert_eq!(store.replicas(fixture.now).await.unwrap(), []);
    let leases = store.slot_leases().await.unwrap();
    assert_eq!(leases[5].owner.as_deref(), Some("b"), "leases are another matter");
}

/// Every slot is listed, whether anybody ever claimed it or not.
pub async fn leases_show_owner_term_and_expiry(fixture: Fixture) {
    let store = fixture.store.clone();
    let fresh = store.slot_leases().await.unwrap();
    let numbers: Vec<u8> = fresh.iter().map(|lease| lease.slot.number()).collect();
    assert_eq!(numbers, (0..16).collect::<Vec<u8>>());
    assert!(fresh.iter().all(|lease| lease.owner.is_none() && lease.term == 0));
    let slot = Slot::new(9).unwrap();
    let term = store
        .claim_slot(slot, "replica-1", fixture.now, TTL)
        .await
        .unwrap()
        .unwrap();
    let lease = store.slot_leases().await.unwrap().remove(9);
    assert_eq!(lease.owner.as_deref(), Some("replica-1"));
    assert_eq!((lease.term, lease.expires_at), (term.term, fixture.now + TTL));
    store.release_slots(&[term]).await.unwrap();
    let lease = store.slot_leases().await.unwrap().remove(9);
    assert_eq!(
        (lease.owner, lease.term),
        (None, term.term),
        "the term is not given twice"
    );
    assert!(lease.expires_at <= fixture.now);
}

/// Rules 9 and 10: two owners fight for a slot while its messages are stored by both. Whatever the moment of the
/// change, each event is stored once and the one that lost is told.
pub async fn the_term_fences_two_owners(mut fixture: Fixture) {
    let store = fixture.store.clone();
    let mut bench = fixture.bench("bench-1");
    let slot = Slot::of(&bench.device);
    let mut holder: SlotTerm = store
        .claim_slot(slot, "a", fixture.now, TTL)
        .await
        .unwrap()
        .unwrap();
    let mut late = 0;
    for round in 0..20u64 {
        let items = vec![
            fixture.started(&mut bench, VIN, &[]),
            fixture.started(&mut bench, VIN, &[]),
        ];
        let batch = IngestBatch {
            terms: vec![holder],
            items: items.clone(),
            misplaced: Vec::new(),
            received_at: fixture.now,
            spare_generation: fixture.generation(),
        };
        let owner = if round % 2 == 0 { "b" } else { "a" };
        let expired = fixture.now.checked_add(SignedDuration::from_secs(7)).unwrap();
        let (old, claimed) = join(
            store.ingest(batch.clone()),
            store.claim_slot(slot, owner, expired, TTL),
        )
        .await;
        fixture.now = expired;
        let (old, claimed) = (old.unwrap(), claimed.unwrap().unwrap());
        assert!(claimed.term > holder.term);
        match (old.lost_slots.is_empty(), old.counts.stored) {
            (true, 2) => {}
            (false, 0) => late += 1,
            other => panic!("a batch is stored wholly or left out wholly: {other:?}"),
        }
        let after = store.ingest(batch.clone()).await.unwrap();
        assert_eq!((after.lost_slots, after.counts.stored), (vec![slot], 0));
        holder = claimed;
        let new = IngestBatch {
            terms: vec![holder],
            received_at: fixture.now,
            ..batch
        };
        let new = store.ingest(new).await.unwrap();
        assert_eq!(new.counts.stored + new.counts.duplicates, 2);
        assert_eq!(new.receipts[0].through, bench.next_seq - 1);
    }
    let totals = store.ledger_totals().await.unwrap();
    assert_eq!(
        (totals.stored, totals.outstanding),
        (40, 0),
        "{late} batches came late"
    );
}
