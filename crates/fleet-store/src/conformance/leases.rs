//! Rules 9 and 10: one writer per slot.

use std::time::Duration;

use fleet_domain::Slot;

use super::fixture::{Fixture, VIN};

/// Rule 10: a slot whose term is lost is left out; the others of the batch are stored.
pub async fn a_lost_lease_leaves_its_slot_out(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut mine = fixture.bench("bench-1");
    let mut lost = fixture.bench("bench-2");
    assert_ne!(Slot::of(&mine.device), Slot::of(&lost.device));
    let later = fixture.now + Duration::from_mins(1);
    let taken = fixture
        .store
        .claim_slot(
            Slot::of(&lost.device),
            "replica-2",
            later,
            Duration::from_secs(30),
        )
        .await
        .unwrap()
        .unwrap();
    let items = vec![
        fixture.started(&mut lost, VIN, &[]),
        fixture.started(&mut mine, VIN, &[]),
    ];
    let outcome = fixture.ingest(items.clone()).await;
    assert_eq!(outcome.lost_slots, [Slot::of(&lost.device)]);
    assert_eq!(outcome.counts.stored, 1);
    assert_eq!(outcome.receipts.len(), 1);
    assert_eq!(outcome.receipts[0].device, mine.device);
    assert!(fixture.store.bench(&lost.device).await.unwrap().is_none());
    // Without any lease nothing is stored.
    fixture.terms.clear();
    let outcome = fixture.ingest(items.clone()).await;
    assert_eq!((outcome.lost_slots.len(), outcome.counts.stored), (2, 0));
    // The new owner takes what the old one left.
    fixture.terms = vec![taken];
    let outcome = fixture.ingest(vec![items[0].clone()]).await;
    assert_eq!((outcome.lost_slots.len(), outcome.counts.stored), (0, 1));
}

/// One owner at a time, each claim a higher term, also after a release.
pub async fn a_lease_has_one_owner_and_rising_terms(fixture: Fixture) {
    let (store, now, ttl) = (fixture.store, fixture.now, Duration::from_secs(10));
    let slot = Slot::new(3).unwrap();
    let first = store.claim_slot(slot, "a", now, ttl).await.unwrap().unwrap();
    assert!(store.claim_slot(slot, "b", now, ttl).await.unwrap().is_none());
    assert!(
        store
            .renew_slots(&[first], now + Duration::from_secs(8), ttl)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .claim_slot(slot, "b", now + Duration::from_secs(12), ttl)
            .await
            .unwrap()
            .is_none()
    );
    let second = store
        .claim_slot(slot, "b", now + Duration::from_secs(18), ttl)
        .await
        .unwrap()
        .unwrap();
    assert!(second.term > first.term);
    assert_eq!(store.renew_slots(&[first], now, ttl).await.unwrap(), [slot]);
    store.release_slots(&[first]).await.unwrap();
    assert!(
        store.claim_slot(slot, "a", now, ttl).await.unwrap().is_none(),
        "not the old one's to release"
    );
    store.release_slots(&[second]).await.unwrap();
    let third = store.claim_slot(slot, "a", now, ttl).await.unwrap().unwrap();
    assert!(third.term > second.term);
    let again = store.claim_slot(slot, "a", now, ttl).await.unwrap().unwrap();
    assert!(again.term > third.term, "each connection of its own");
}
