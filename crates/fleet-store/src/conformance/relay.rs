//! Rules 19 to 21 and 23: the outbox with its tokens, the relay's lease, and where each event is.

use std::time::Duration;

use fleet_domain::StoreGeneration;
use uuid::Uuid;

use super::fixture::{Bench, Fixture, VIN};
use crate::{
    Advanced, AlarmKind, InboundMessage, KafkaHigh, NewAlarm, OutboxAdvance, OutboxCursor, OutboxFate,
    OutboxRead, OutboxRow, Page, RelayTerm, Retention, StoreError,
};

const TTL: Duration = Duration::from_secs(6);

/// A bench with `count` events stored.
async fn filled(fixture: &mut Fixture, name: &str, count: usize) -> Bench {
    let mut bench = fixture.bench(name);
    let items = (0..count)
        .map(|_| fixture.started(&mut bench, VIN, &[]))
        .collect();
    assert_eq!(fixture.ingest(items).await.counts.stored, count as u64);
    bench
}

async fn relay(fixture: &Fixture, owner: &str) -> RelayTerm {
    let claimed = fixture.store.claim_relay(owner, fixture.now, TTL).await.unwrap();
    claimed.expect("the lease is free")
}

async fn rows(fixture: &Fixture, after: OutboxCursor) -> Vec<OutboxRow> {
    match fixture.store.outbox_after(after, 1000).await.unwrap() {
        OutboxRead::Rows(rows) => rows,
        OutboxRead::CursorLost => panic!("{after:?} is not there"),
    }
}

async fn is_lost(fixture: &Fixture, cursor: OutboxCursor) -> bool {
    fixture.store.outbox_after(cursor, 1).await.unwrap() == OutboxRead::CursorLost
}

async fn advance(fixture: &Fixture, term: RelayTerm, through: OutboxCursor, already: &[u64]) -> Advanced {
    let advance = OutboxAdvance {
        term,
        through,
        already: already.to_vec(),
    };
    fixture.store.outbox_advance(&advance, fixture.now).await.unwrap()
}

/// Rule 23, for the plant and for each spool.
async fn assert_accounted(fixture: &Fixture, bench: &Bench) {
    let all = fixture.store.ledger_totals().await.unwrap();
    let spools = fixture.store.bench_ledger(&bench.device).await.unwrap();
    let sum = |[in_kafka, already, unrelayable, expired, waiting]: [u64; 5]| {
        in_kafka + already + unrelayable + expired + waiting
    };
    let of_all = [
        all.in_kafka,
        all.already_in_kafka,
        all.unrelayable,
        all.expired,
        all.in_outbox,
    ];
    assert_eq!(all.stored, sum(of_all), "{all:?}");
    for row in spools {
        let of_row = [
            row.in_kafka,
            row.already_in_kafka,
            row.unrelayable,
            row.expired,
            row.in_outbox,
        ];
        assert_eq!(row.stored, sum(of_row), "{row:?}");
    }
    let relay = fixture.store.relay_row().await.unwrap();
    assert_eq!(relay.waiting, all.in_outbox);
}

/// One relay at a time, each claim a higher term, also after a release.
pub async fn a_relay_has_one_owner_and_rising_terms(mut fixture: Fixture) {
    let store = fixture.store.clone();
    let fresh = store.relay_row().await.unwrap();
    assert_eq!((fresh.owner, fresh.term, fresh.expires_at), (None, 0, None));
    assert_eq!(
        (fresh.relayed, fresh.newest_seq, fresh.waiting),
        (OutboxCursor::START, 0, 0)
    );
    let first = relay(&fixture, "a").await;
    assert_eq!(store.claim_relay("b", fixture.now, TTL).await.unwrap(), None);
    fixture.pass(4);
    assert!(store.renew_relay(first, fixture.now, TTL).await.unwrap());
    fixture.pass(4);
    assert_eq!(store.claim_relay("b", fixture.now, TTL).await.unwrap(), None);
    let row = store.relay_row().await.unwrap();
    assert_eq!((row.owner.as_deref(), row.term), (Some("a"), first.0));
    fixture.pass(4);
    let second = relay(&fixture, "b").await;
    assert!(second > first);
    assert!(!store.renew_relay(first, fixture.now, TTL).await.unwrap());
    store.release_relay(first).await.unwrap();
    assert_eq!(
        store.claim_relay("a", fixture.now, TTL).await.unwrap(),
        None,
        "not its to release"
    );
    store.release_relay(second).await.unwrap();
    assert!(!store.renew_relay(second, fixture.now, TTL).await.unwrap());
    let third = relay(&fixture, "a").await;
    assert!(third > second);
    assert!(relay(&fixture, "a").await > third, "each connection of its own");
}

/// A cursor is a place and a token: another row at the same place is another life of the database.
pub async fn an_outbox_is_read_behind_a_row_that_is_there(mut fixture: Fixture) {
    fixture.lease_all().await;
    assert_eq!(rows(&fixture, OutboxCursor::START).await, []);
    let mut bench = filled(&mut fixture, "bench-1", 3).await;
    let mut traced = fixture.started(&mut bench, VIN, &[]);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    if let InboundMessage::Event(event) = &mut traced.message {
        event.traceparent = Some(trace.to_owned());
    }
    fixture.ingest(vec![traced]).await;
    let all = rows(&fixture, OutboxCursor::START).await;
    let seqs: Vec<u64> = all.iter().map(|row| row.event.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(all[3].traceparent.as_deref(), Some(trace));
    assert_eq!((&all[0].traceparent, &all[0].fate), (&None, &OutboxFate::Waiting));
    assert_eq!(all[0].event.vin.as_deref(), Some(VIN));
    let second = OutboxCursor::behind(&all[1]);
    assert_eq!(rows(&fixture, second).await, all[2..]);
    assert_eq!(rows(&fixture, OutboxCursor::behind(&all[3])).await, []);
    let other_token = OutboxCursor {
        token: fixture.uuid(),
        ..second
    };
    let beyond = OutboxCursor {
        seq: all[3].seq + 1,
        ..second
    };
    let nowhere = OutboxCursor { seq: 0, ..second };
    for cursor in [other_token, beyond, nowhere] {
        assert!(is_lost(&fixture, cursor).await, "{cursor:?}");
    }
    // Once something was relayed, a relay that knows of nothing has lost its own memory.
    let term = relay(&fixture, "a").await;
    assert_eq!(advance(&fixture, term, second, &[]).await, Advanced::Done);
    assert!(is_lost(&fixture, OutboxCursor::START).await);
    assert_eq!(rows(&fixture, second).await, all[2..]);
    // Clean-up leaves the row that proves it.
    fixture
        .store
        .prune(fixture.now, Retention::default())
        .await
        .unwrap();
    assert_eq!(rows(&fixture, second).await, all[2..]);
    assert!(is_lost(&fixture, OutboxCursor::behind(&all[0])).await);
}

/// What is relayed is counted once, whoever says it again; nothing is counted without the lease.
pub async fn an_advance_counts_once_and_needs_the_lease(mut fixture: Fixture) {
    fixture.lease_all().await;
    let bench = filled(&mut fixture, "bench-1", 5).await;
    let other = filled(&mut fixture, "bench-2", 2).await;
    let all = rows(&fixture, OutboxCursor::START).await;
    let at = |index: usize| OutboxCursor::behind(&all[index]);
    let first = relay(&fixture, "a").await;
    assert_eq!(
        advance(&fixture, first, at(2), &[all[1].seq]).await,
        Advanced::Done
    );
    for _ in 0..2 {
        // Again, and a lower one: a relay that was cut off before it heard the answer.
        for through in [at(2), at(0)] {
            assert_eq!(advance(&fixture, first, through, &[]).await, Advanced::Done);
        }
    }
    let row = fixture.store.relay_row().await.unwrap();
    assert_eq!((row.relayed, row.newest_seq, row.waiting), (at(2), all[6].seq, 4));
    assert_eq!(row.oldest_waiting, Some(all[3].event.received_at));
    let totals = fixture.store.ledger_totals().await.unwrap();
    assert_eq!(
        (totals.in_kafka, totals.already_in_kafka, totals.in_outbox),
        (2, 1, 4)
    );
    let lost = OutboxCursor {
        token: Uuid::nil(),
        ..at(5)
    };
    assert_eq!(advance(&fixture, first, lost, &[]).await, Advanced::CursorLost);
    let beyond = OutboxCursor {
        seq: all[6].seq + 100,
        ..at(6)
    };
    assert_eq!(advance(&fixture, first, beyond, &[]).await, Advanced::CursorLost);
    // The lease passes on.
    fixture.pass(7);
    let second = relay(&fixture, "b").await;
    assert_eq!(advance(&fixture, first, at(6), &[]).await, Advanced::TermLost);
    let refused = fixture
        .store
        .refuse_outbox_row(first, at(6), "record_too_large", "2 MB", fixture.now);
    assert_eq!(refused.await.unwrap(), Advanced::TermLost);
    assert_accounted(&fixture, &bench).await;
    assert_eq!(advance(&fixture, second, at(6), &[]).await, Advanced::Done);
    let ledger = fixture.store.bench_ledger(&other.device).await.unwrap();
    assert_eq!((ledger[0].in_kafka, ledger[0].in_outbox), (2, 0));
    let totals = fixture.store.ledger_totals().await.unwrap();
    assert_eq!(
        (totals.in_kafka, totals.already_in_kafka, totals.in_outbox),
        (6, 1, 0)
    );
    assert_accounted(&fixture, &bench).await;
    let row = fixture.store.relay_row().await.unwrap();
    assert_eq!((row.waiting, row.oldest_waiting), (0, None));
}

/// Rule 23: what Kafka will never take is in the dead letters and in the ledger before the relay passes it.
pub async fn an_unrelayable_event_is_set_aside_once(mut fixture: Fixture) {
    fixture.lease_all().await;
    let bench = filled(&mut fixture, "bench-1", 4).await;
    let all = rows(&fixture, OutboxCursor::START).await;
    let term = relay(&fixture, "a").await;
    let row = OutboxCursor::behind(&all[1]);
    for _ in 0..2 {
        let refused =
            fixture
                .store
                .refuse_outbox_row(term, row, "record_too_large", "2 MB are too many", fixture.now);
        assert_eq!(refused.await.unwrap(), Advanced::Done);
    }
    let again = rows(&fixture, OutboxCursor::START).await;
    let code = "record_too_large".to_owned();
    assert_eq!(again[1].fate, OutboxFate::Unrelayable { code });
    assert!(
        again
            .iter()
            .enumerate()
            .all(|(at, row)| at == 1 || row.fate == OutboxFate::Waiting)
    );
    let letters = fixture.store.dead_letters(&Page::default()).await.unwrap().items;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].seq, letters[0].code.as_str()),
        (Some(2), "record_too_large")
    );
    assert_eq!(letters[0].bytes, all[1].event.bytes);
    let alarms = fixture.store.alarms(&Page::default()).await.unwrap().items;
    let alarm = alarms.iter().find(|alarm| alarm.kind == AlarmKind::Unrelayable);
    assert_eq!(alarm.map(|alarm| alarm.count), Some(1));
    let totals = fixture.store.ledger_totals().await.unwrap();
    assert_eq!((totals.unrelayable, totals.in_outbox), (1, 3));
    assert_accounted(&fixture, &bench).await;
    assert_eq!(
        advance(&fixture, term, OutboxCursor::behind(&all[3]), &[]).await,
        Advanced::Done
    );
    let totals = fixture.store.ledger_totals().await.unwrap();
    assert_eq!((totals.in_kafka, totals.unrelayable, totals.in_outbox), (3, 1, 0));
    assert_accounted(&fixture, &bench).await;
    // What is in Kafka already can't be refused any more.
    let late = OutboxCursor::behind(&all[2]);
    let refused = fixture
        .store
        .refuse_outbox_row(term, late, "record_too_large", "late", fixture.now);
    assert_eq!(refused.await.unwrap(), Advanced::Done);
    assert_eq!(fixture.store.ledger_totals().await.unwrap().unrelayable, 1);
}

/// Rules 19, 20 and 28: a cursor of another life begins a generation, once, and the way back is remembered.
pub async fn a_lost_cursor_begins_a_generation_and_is_reconciled(mut fixture: Fixture) {
    fixture.lease_all().await;
    let bench = filled(&mut fixture, "bench-1", 3).await;
    let store = fixture.store.clone();
    let before = store.generation();
    let term = relay(&fixture, "a").await;
    let all = rows(&fixture, OutboxCursor::START).await;
    let own = OutboxCursor::behind(&all[0]);
    advance(&fixture, term, own, &[]).await;
    let spare = fixture.generation();
    let begun = store
        .report_cursor_lost(term, "no row 7 with that token", before, spare, fixture.now)
        .await
        .unwrap();
    assert!(begun > before);
    assert_eq!(store.generation(), begun);
    assert!(!store.awaited_benches().await.unwrap().is_empty(), "offers wait");
    // Said again, or after somebody has declared the restore: no other generation.
    let spare = fixture.generation();
    let again = store
        .report_cursor_lost(term, "no row 7 with that token", before, spare, fixture.now)
        .await
        .unwrap();
    assert_eq!(again, begun);
    // A cursor of a later generation than ours: the backup is older than an earlier restore.
    let later = StoreGeneration(Uuid::from_u128(begun.0.as_u128() + 1_000_000));
    let above = store
        .report_cursor_lost(term, "of a later life", later, before, fixture.now)
        .await
        .unwrap();
    assert!(above > later);
    let alarms = store.alarms(&Page::default()).await.unwrap().items;
    assert!(
        alarms
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::RelayCursorLost)
    );
    let high = |seq| KafkaHigh {
        device: bench.device.clone(),
        spool: bench.spool,
        seq,
    };
    for (given, kept) in [(2, 2), (1, 2), (9, 9)] {
        let from = store
            .begin_reconciled(term, &[high(given)], fixture.now)
            .await
            .unwrap();
        assert_eq!(from, own, "the relay goes on from the database's own cursor");
        assert_eq!(store.kafka_highs().await.unwrap(), [high(kept)]);
    }
    assert!(high(2).covers(&all[1].event) && !high(1).covers(&all[1].event));
    assert_eq!(store.relay_row().await.unwrap().highs, 1);
    store.release_relay(term).await.unwrap();
    let refused = store.begin_reconciled(term, &[], fixture.now).await;
    assert!(matches!(refused, Err(StoreError::LostTerm)), "{refused:?}");
    let spare = fixture.generation();
    let refused = store
        .report_cursor_lost(term, "late", above, spare, fixture.now)
        .await;
    assert!(matches!(refused, Err(StoreError::LostTerm)), "{refused:?}");
    assert_eq!(store.generation(), above);
}

/// Alarms that no event led to are counted and shown like all others.
pub async fn an_alarm_can_be_raised_by_itself(mut fixture: Fixture) {
    let alarm = NewAlarm {
        kind: AlarmKind::KafkaDown,
        subject: "kafka".to_owned(),
        device: None,
        detail: "no answer for 10 s".to_owned(),
    };
    let first = fixture.store.raise_alarm(&alarm, fixture.now).await.unwrap();
    assert_eq!((first.count, first.raised_at), (1, fixture.now));
    fixture.pass(60);
    let second = fixture.store.raise_alarm(&alarm, fixture.now).await.unwrap();
    assert_eq!((second.id, second.count), (first.id, 2));
    assert_eq!((second.raised_at, second.last_at), (first.raised_at, fixture.now));
    assert_eq!(
        fixture.store.alarms(&Page::default()).await.unwrap().items,
        [second]
    );
    assert_eq!(fixture.store.changes(0, 10).await.unwrap().rows.len(), 2);
}
