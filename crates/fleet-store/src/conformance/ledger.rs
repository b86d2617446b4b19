//! What becomes of messages.

use bytes::Bytes;
use fleet_domain::{
    AttemptRef, BenchReport, DeviceId, JobId, Place, Predecessor, RejectCode, Slot, SpoolId, Verdict,
};

use super::fixture::{Fixture, OTHER_VIN, VIN, accepted, attempt, digest, finished};
use crate::{
    AlarmKind, ChangeKind, EventStanding, Inbound, InboundEvent, InboundMessage, IngestBatch, Page,
    RejectedEvent,
};

fn as_event(item: &Inbound) -> &InboundEvent {
    match &item.message {
        InboundMessage::Event(event) => event,
        other => panic!("{other:?} is no event"),
    }
}

/// The same place with other bytes.
fn forged(item: &Inbound) -> Inbound {
    let mut item = item.clone();
    if let InboundMessage::Event(event) = &mut item.message {
        event.bytes = Bytes::from_static(b"other content");
        event.digest = digest(&event.bytes);
    }
    item
}

/// The same place, unreadable.
fn unreadable(item: &Inbound) -> Inbound {
    let event = as_event(item);
    Inbound {
        message: InboundMessage::Rejected(RejectedEvent {
            place: event.place,
            digest: digest(b"rubbish"),
            code: RejectCode::Malformed,
            bytes: Bytes::from_static(b"rubbish"),
            reason: "not JSON".to_owned(),
        }),
        ..item.clone()
    }
}

async fn stored(fixture: &Fixture, device: &DeviceId, spool: SpoolId) -> Vec<u64> {
    let events = fixture.store.events(device, spool, 1, 1000).await.unwrap();
    events.iter().map(|event| event.seq).collect()
}

/// Events come out as they came in: order, bytes, one outbox row each, one receipt per spool.
pub async fn a_batch_is_stored_in_order_and_receipted(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let mut items = vec![fixture.started(&mut bench, VIN, &[])];
    let of = AttemptRef {
        job: JobId(fixture.uuid()),
        attempt: 1,
        fence: 1,
    };
    items.extend(fixture.steps(&mut bench, of, 150));
    let outcome = fixture.ingest(items.clone()).await;
    assert_eq!(outcome.counts.stored, 151);
    let [receipt] = &outcome.receipts[..] else {
        panic!("{:?}", outcome.receipts)
    };
    assert_eq!(
        (receipt.through, receipt.gap, receipt.rejected.len()),
        (151, false, 0)
    );
    let events = fixture
        .store
        .events(&bench.device, bench.spool, 1, 1000)
        .await
        .unwrap();
    for (event, item) in events.iter().zip(&items) {
        assert_eq!(event.bytes, as_event(item).bytes);
        assert_eq!(event.digest, as_event(item).digest);
    }
    let outbox = fixture.store.outbox_read(0, 1000).await.unwrap();
    assert_eq!(
        outbox.iter().map(|row| row.event.seq).collect::<Vec<_>>(),
        (1..=151).collect::<Vec<_>>()
    );
}

/// A batch that is given again, as after a commit whose answer was lost, is all duplicates.
pub async fn a_replayed_batch_changes_nothing(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let job = fixture.offered(VIN).await;
    let of = attempt(&job);
    let generation = fixture.store.generation();
    let mut items = vec![fixture.event(&mut bench, accepted(&job, generation))];
    items.extend(fixture.steps(&mut bench, of, 3));
    items.push(fixture.event(&mut bench, finished(of, Verdict::Passed)));
    fixture.ingest(items.clone()).await;
    let (job, totals) = (
        fixture.job(of.job).await,
        fixture.store.ledger_totals().await.unwrap(),
    );
    let outcome = fixture.ingest(items.clone()).await;
    assert_eq!(outcome.counts.duplicates, 5);
    assert_eq!(outcome.counts.stored + outcome.counts.conflicts, 0);
    assert_eq!(outcome.receipts[0].through, 6);
    assert_eq!(fixture.job(of.job).await, job);
    let again = fixture.store.ledger_totals().await.unwrap();
    assert_eq!((again.stored, again.in_outbox), (totals.stored, totals.in_outbox));
    // Twice in one batch is the same as in two.
    let mut twice = vec![fixture.event(
        &mut bench,
        BenchReport::Unknown {
            r#type: "x".to_owned(),
        },
    )];
    twice.push(twice[0].clone());
    let outcome = fixture.ingest(twice).await;
    assert_eq!((outcome.counts.stored, outcome.counts.duplicates), (1, 1));
}

/// What comes too early is left, and the receipt says so.
pub async fn a_gap_is_left_and_said(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let first = fixture.started(&mut bench, VIN, &[]);
    let _lost = fixture.started(&mut bench, VIN, &[]);
    let third = fixture.started(&mut bench, VIN, &[]);
    let outcome = fixture.ingest(vec![first, third]).await;
    assert_eq!((outcome.counts.stored, outcome.counts.gaps), (1, 1));
    assert_eq!((outcome.receipts[0].through, outcome.receipts[0].gap), (1, true));
    assert_eq!(stored(&fixture, &bench.device, bench.spool).await, [1]);
    let [counts] = fixture.store.bench_ledger(&bench.device).await.unwrap()[..] else {
        panic!("one spool")
    };
    assert_eq!((counts.announced, counts.outstanding, counts.gaps), (3, 2, 1));
}

/// The first content stays, the second is told, alarmed and rejected; nothing is held back.
pub async fn other_content_is_kept_aside_and_alarmed(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let first = fixture.started(&mut bench, VIN, &[]);
    let second = fixture.started(&mut bench, VIN, &[]);
    fixture.ingest(vec![first.clone()]).await;
    let outcome = fixture.ingest(vec![forged(&first), second]).await;
    assert_eq!((outcome.counts.conflicts, outcome.counts.stored), (1, 1));
    assert_eq!(outcome.receipts[0].through, 2);
    assert_eq!(outcome.receipts[0].rejected.len(), 1);
    assert_eq!(outcome.receipts[0].rejected[0].code, RejectCode::Conflict);
    assert!(
        outcome
            .alarms
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::Conflict)
    );
    let events = fixture
        .store
        .events(&bench.device, bench.spool, 1, 10)
        .await
        .unwrap();
    assert_eq!(events[0].bytes, as_event(&first).bytes);
    // The same again is one alarm with a count.
    fixture.ingest(vec![forged(&first)]).await;
    let alarms = fixture.store.alarms(&Page::default()).await.unwrap().items;
    assert_eq!(
        alarms
            .iter()
            .filter(|alarm| alarm.kind == AlarmKind::Conflict)
            .count(),
        1
    );
    assert_eq!(alarms[0].count, 2);
}

/// A rejection is settled, told until the bench knows it, and stays a rejection.
pub async fn an_unreadable_event_is_rejected_and_the_stream_goes_on(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let first = fixture.started(&mut bench, VIN, &[]);
    let second = fixture.started(&mut bench, VIN, &[]);
    let third = fixture.started(&mut bench, VIN, &[]);
    let outcome = fixture.ingest(vec![first, unreadable(&second), third]).await;
    assert_eq!((outcome.counts.stored, outcome.counts.rejected), (2, 1));
    assert_eq!(outcome.receipts[0].through, 3);
    let rejected = &outcome.receipts[0].rejected;
    assert_eq!((rejected[0].seq, rejected[0].code), (2, RejectCode::Malformed));
    let letters = fixture.store.dead_letters(&Page::default()).await.unwrap().items;
    assert_eq!((letters.len(), &letters[0].bytes[..]), (1, &b"rubbish"[..]));
    assert_eq!((letters[0].seq, letters[0].code.as_str()), (Some(2), "malformed"));
    // Mended afterwards: rejected stays rejected.
    let outcome = fixture.ingest(vec![second]).await;
    assert_eq!((outcome.counts.duplicates, outcome.counts.stored), (1, 0));
    assert_eq!(outcome.receipts[0].rejected.len(), 1);
    // Known to the bench: no longer told.
    let generation = fixture.store.generation();
    let mut facts = fixture.facts(&bench, Some(generation), 0);
    facts.held[0].rejections_known = 2;
    let fourth = fixture.started(&mut bench, VIN, &[]);
    let outcome = fixture.ingest(vec![Fixture::sync(&bench, facts), fourth]).await;
    assert!(outcome.receipts[0].rejected.is_empty());
    assert!(outcome.answers[0].1.spools[0].rejected.is_empty());
}

/// Without a place there is nothing to settle: kept, alarmed, told.
pub async fn an_unattributed_message_is_a_dead_letter(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let lost = Inbound {
        slot: Slot::of(&bench.device),
        device: bench.device.clone(),
        message: InboundMessage::Unattributed {
            bytes: Bytes::from_static(b"{}"),
            user_properties: vec![("spool".to_owned(), "?".to_owned())],
            reason: "user property \"seq\" is missing".to_owned(),
        },
    };
    let outcome = fixture.ingest(vec![lost.clone()]).await;
    assert!(
        outcome.receipts[0].unattributed,
        "told even before the first spool is known"
    );
    let first = fixture.started(&mut bench, VIN, &[]);
    let outcome = fixture.ingest(vec![lost, first]).await;
    assert_eq!(outcome.receipts.len(), 1);
    assert_eq!(
        (outcome.receipts[0].through, outcome.receipts[0].unattributed),
        (1, true)
    );
    let letters = fixture.store.dead_letters(&Page::default()).await.unwrap().items;
    assert_eq!(letters.len(), 2);
    assert!(letters[0].user_properties_json.contains("spool"));
    assert_eq!(outcome.alarms[0].count, 2);
}

/// A topic that belongs to no bench: kept with its bytes, alarmed by name, and nobody is made of it.
pub async fn a_misplaced_message_is_a_dead_letter_and_no_bench(mut fixture: Fixture) {
    fixture.lease_all().await;
    let bench = fixture.online("bench-1", VIN, &[]).await;
    let slot = Slot::of(&bench.device);
    let lost = Slot::all().find(|other| *other != slot).unwrap();
    let message = |slot, device: &str| crate::Misplaced {
        slot,
        device: device.to_owned(),
        channel: "events".to_owned(),
        user_properties: vec![("seq".to_owned(), "2".to_owned())],
        bytes: b"\xff what came".as_slice().into(),
        reason: format!("topic \"vds/v1/plant-1/{slot}/{device}/events\" is nobody's"),
    };
    let batch = crate::IngestBatch {
        terms: fixture
            .terms
            .iter()
            .copied()
            .filter(|term| term.slot != lost)
            .collect(),
        items: Vec::new(),
        misplaced: vec![
            message(slot, "no name!"),
            message(slot, "bench-9"),
            message(lost, "of the next owner"),
        ],
        received_at: fixture.now,
        spare_generation: fixture.generation(),
    };
    let outcome = fixture.store.ingest(batch).await.unwrap();
    assert_eq!(outcome.counts.dead, 2, "what came under a lost term is left out");
    assert!(outcome.lost_slots.contains(&lost));
    assert!(outcome.receipts.is_empty() && outcome.lists.is_empty() && outcome.answers.is_empty());
    assert_eq!(outcome.alarms.len(), 1);
    assert_eq!(
        (outcome.alarms[0].kind, outcome.alarms[0].count),
        (AlarmKind::Misplaced, 2)
    );
    assert!(
        outcome.alarms[0].detail.contains("/bench-9/"),
        "{:?}",
        outcome.alarms
    );
    let letters = fixture
        .store
        .dead_letters(&crate::Page::default())
        .await
        .unwrap()
        .items;
    let devices: Vec<&str> = letters.iter().map(|letter| letter.device.as_str()).collect();
    assert_eq!(devices, ["bench-9", "no name!"]);
    assert_eq!(&letters[1].bytes[..], b"\xff what came");
    assert!(letters[1].user_properties_json.contains("seq"));
    let benches = fixture
        .store
        .benches(&crate::BenchFilter::default(), &crate::Page::default())
        .await
        .unwrap();
    assert_eq!(benches.items.len(), 1);
}

/// A hole stands for its range, and for what is still missing of it.
pub async fn a_hole_settles_its_range(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let first = fixture.started(&mut bench, VIN, &[]);
    let hole = |fixture: &mut Fixture, seq, to| {
        let place = Place {
            spool: bench.spool,
            seq,
            predecessor: None,
            hole_to: Some(to),
        };
        let reason = "unreadable".to_owned();
        fixture.event_at(&bench.device, place, None, BenchReport::Hole { to, reason })
    };
    let (wide, again, late) = (
        hole(&mut fixture, 2, 5),
        hole(&mut fixture, 3, 4),
        hole(&mut fixture, 4, 7),
    );
    let outcome = fixture.ingest(vec![first, wide, again, late]).await;
    assert_eq!((outcome.counts.holes, outcome.counts.duplicates), (2, 1));
    assert_eq!(outcome.receipts[0].through, 7);
    let [counts] = fixture.store.bench_ledger(&bench.device).await.unwrap()[..] else {
        panic!("one spool")
    };
    assert_eq!((counts.stored, counts.holes, counts.announced), (1, 6, 7));
    assert_eq!(fixture.store.outbox_read(0, 10).await.unwrap().len(), 1);
}

/// Rule 2: order of a device's spools.
pub async fn a_spool_waits_for_its_predecessor(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let old = [
        fixture.started(&mut bench, VIN, &[]),
        fixture.started(&mut bench, VIN, &[]),
    ];
    fixture.restart(&mut bench);
    let new = fixture.started(&mut bench, VIN, &[]);
    let outcome = fixture.ingest(vec![old[0].clone(), new.clone()]).await;
    assert_eq!((outcome.counts.stored, outcome.counts.gaps), (1, 1));
    assert!(stored(&fixture, &bench.device, bench.spool).await.is_empty());
    // In a later batch the store has to know by itself what the spool waits for.
    let outcome = fixture.ingest(vec![new.clone()]).await;
    assert_eq!(outcome.counts.gaps, 1);
    let outcome = fixture.ingest(vec![old[1].clone(), new]).await;
    assert_eq!(outcome.counts.stored, 2);
    assert_eq!(stored(&fixture, &bench.device, bench.spool).await, [1]);
}

/// A bench may send anything; every query and the next batch still work.
pub async fn absurd_numbers_break_nothing(mut fixture: Fixture) {
    fixture.lease_all().await;
    let largest = i64::MAX.unsigned_abs();
    for name in ["bench-1", "bench-2"] {
        let bench = fixture.bench(name);
        let place = Place {
            spool: bench.spool,
            seq: largest,
            predecessor: None,
            hole_to: None,
        };
        let far = fixture.event_at(
            &bench.device,
            place,
            None,
            BenchReport::Unknown {
                r#type: "x".to_owned(),
            },
        );
        let mut facts = fixture.facts(&bench, None, u64::MAX);
        facts.number = u64::MAX;
        facts.connect_counter = u64::MAX;
        facts.held[0].next_seq = u64::MAX;
        facts.held[0].receipted = u64::MAX;
        facts.held[0].rejections_known = u64::MAX;
        facts.former.push(Predecessor {
            spool: SpoolId(fixture.uuid()),
            last_seq: u64::MAX,
        });
        fixture.ingest(vec![far, Fixture::sync(&bench, facts)]).await;
    }
    fixture.store.ledger_totals().await.unwrap();
    fixture.store.counts().await.unwrap();
    let benches = fixture
        .store
        .benches(&crate::BenchFilter::default(), &Page::default())
        .await
        .unwrap();
    assert_eq!(benches.items.len(), 2);
    fixture
        .store
        .bench_ledger(&benches.items[0].device)
        .await
        .unwrap();
    let mut sane = fixture.bench("bench-3");
    let event = fixture.started(&mut sane, VIN, &[]);
    assert_eq!(fixture.ingest(vec![event]).await.counts.stored, 1);
}

/// Rule 12: whatever can't be projected is stored, receipted and marked, and nothing around it suffers.
pub async fn a_poisoned_projection_marks_one_event(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let job = fixture.offered(VIN).await;
    let of = attempt(&job);
    let generation = fixture.store.generation();
    let mut items = vec![fixture.event(&mut bench, accepted(&job, generation))];
    items.extend(fixture.steps(&mut bench, of, 40));
    let poison = |fixture: &mut Fixture, change: fn(&mut fleet_domain::report::StepReport)| {
        let BenchReport::StepFinished(mut step) = fixture.step(of, 77) else {
            unreachable!()
        };
        change(&mut step);
        BenchReport::StepFinished(step)
    };
    let poisons = [
        poison(&mut fixture, |step| {
            "{not json".clone_into(&mut step.measurements_json);
        }),
        poison(&mut fixture, |step| step.duration_ms = u64::MAX),
        poison(&mut fixture, |step| step.index = 3),
        finished(
            AttemptRef {
                fence: u64::MAX,
                ..of
            },
            Verdict::Passed,
        ),
        BenchReport::Unknown {
            r#type: "vds.new.v9".to_owned(),
        },
        BenchReport::Unreadable {
            r#type: "vds.step.finished.v1".to_owned(),
            reason: "missing field `of`".to_owned(),
        },
        // Accepted twice: the machine forbids it.
        accepted(&job, generation),
    ];
    let expected = u64::try_from(poisons.len()).unwrap();
    for report in poisons {
        items.push(fixture.event(&mut bench, report));
    }
    items.push(fixture.event(&mut bench, finished(of, Verdict::Passed)));
    let outcome = fixture.ingest(items.clone()).await;
    assert_eq!(outcome.counts.stored, u64::try_from(items.len()).unwrap());
    assert_eq!(outcome.counts.unprojected, expected);
    assert_eq!(outcome.receipts[0].through, bench.next_seq - 1);
    assert_eq!(fixture.store.steps(of.job, 1).await.unwrap().len(), 40);
    let job = fixture.job(of.job).await;
    assert_eq!((job.job.verdict, job.steps_done), (Some(Verdict::Passed), 40));
    let events = fixture
        .store
        .events(&bench.device, bench.spool, 43, 7)
        .await
        .unwrap();
    for event in events {
        assert!(
            matches!(&event.standing, EventStanding::Unprojected(reason) if !reason.is_empty()),
            "{event:?}"
        );
    }
    assert_eq!(fixture.store.ledger_totals().await.unwrap().unprojected, expected);
    assert_eq!(
        fixture.store.outbox_read(0, 1000).await.unwrap().len(),
        items.len() + 1,
        "what can't be shown is relayed all the same"
    );
}

/// Writers at the same time: each batch whole, no event lost or double, the change log gapless.
pub async fn concurrent_writers_lose_nothing(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut work = Vec::new();
    for n in 0..8 {
        let mut bench = fixture.bench(&format!("bench-{n}"));
        let of = AttemptRef {
            job: JobId(fixture.uuid()),
            attempt: 1,
            fence: 1,
        };
        let batches: Vec<Vec<Inbound>> = (0..5).map(|_| fixture.steps(&mut bench, of, 10)).collect();
        work.push(batches);
    }
    let (terms, now) = (fixture.terms.clone(), fixture.now);
    let writers = work.into_iter().map(|batches| {
        let (store, terms) = (fixture.store.clone(), terms.clone());
        let spare_generation = store.generation();
        async move {
            for items in batches {
                // Each twice, as by a consumer that was thrown out and its successor.
                for items in [items.clone(), items] {
                    store
                        .ingest(IngestBatch {
                            terms: terms.clone(),
                            items,
                            misplaced: Vec::new(),
                            received_at: now,
                            spare_generation,
                        })
                        .await
                        .unwrap();
                }
            }
        }
    });
    let writers = futures::future::join_all(writers);
    let requests = async {
        for n in 0..20u8 {
            let vin = if n % 2 == 0 { VIN } else { OTHER_VIN };
            let request = fixture.request(vin, "ESP");
            fixture.store.create_job(request, now).await.unwrap();
            fixture.dispatch().await;
        }
    };
    futures::future::join(writers, requests).await;
    let totals = fixture.store.ledger_totals().await.unwrap();
    assert_eq!(
        (totals.stored, totals.duplicates, totals.outstanding),
        (400, 400, 0)
    );
    assert_eq!(fixture.store.outbox_read(0, 1000).await.unwrap().len(), 400);
    let changes = fixture.store.changes(0, 10_000).await.unwrap();
    assert!(changes.rows.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
    assert!(changes.rows.iter().any(|row| row.kind == ChangeKind::Job));
}
