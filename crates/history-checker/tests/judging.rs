//! A judge that finds nothing proves nothing: every planted fault is found and named with the event's id, and a history
//! that keeps the contract is never accused.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use fleet_domain::{EventId, Seq, SpoolId};
use history_checker::saved::{self, ArrivedLine};
use history_checker::{Arrived, Fault, Judgement, Kind, Made, Place, Source, hash, judge};
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

fn made(device: usize, spool: usize, seq: Seq) -> Made {
    let number = (device as u128) << 64 | (spool as u128) << 32 | u128::from(seq);
    Made {
        place: Place {
            device: format!("bench-{device}"),
            spool: SpoolId(Uuid::from_u128(number >> 32)),
            seq,
        },
        ordinal: spool,
        id: EventId(Uuid::from_u128(number | 1 << 100)),
        topic: "vds.job-events.v1",
        vin: None,
        hash: hash(&number.to_be_bytes()),
        bytes: 16,
        refused: false,
    }
}

fn arrived(made: &Made) -> Arrived {
    Arrived {
        place: made.place.clone(),
        id: made.id,
        hash: made.hash,
        lane: "key".to_owned(),
        at: "here".to_owned(),
    }
}

/// Benches with spools of different lengths.
fn histories() -> impl Strategy<Value = Vec<Made>> {
    let spools = prop::collection::vec(1_u64..12, 1..4);
    prop::collection::vec(spools, 1..5).prop_map(|benches| {
        let mut all = Vec::new();
        for (device, spools) in benches.iter().enumerate() {
            for (spool, length) in spools.iter().enumerate() {
                all.extend((1..=*length).map(|seq| made(device, spool, seq)));
            }
        }
        all
    })
}

/// The events of all benches mixed as a committer may mix them: those of a bench stay in their order.
fn mixed(made: &[Made], choices: &[Index]) -> Vec<Arrived> {
    let mut benches: BTreeMap<&str, Vec<&Made>> = BTreeMap::new();
    for made in made.iter().rev() {
        benches.entry(&made.place.device).or_default().push(made);
    }
    let (mut order, mut choice) = (Vec::new(), choices.iter().cycle());
    while !benches.is_empty() {
        let names: Vec<_> = benches.keys().copied().collect();
        let name = *choice.next().expect("choices").get(&names);
        let left = benches.get_mut(name).expect("a bench");
        order.extend(left.pop().map(arrived));
        if left.is_empty() {
            benches.remove(name);
        }
    }
    order
}

fn ids(faults: &[Fault]) -> Vec<EventId> {
    faults.iter().map(|fault| fault.id).collect()
}

/// The judgement, and that only this kind of fault is in it.
fn only(kind: Kind, mut judgement: Judgement) -> Vec<EventId> {
    let found = ids(&judgement.of(kind).named);
    *judgement.of(kind) = history_checker::Faults::default();
    assert!(judgement.is_clean(), "{judgement}");
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_clean_history_is_never_accused(made in histories(), choices in prop::collection::vec(any::<Index>(), 32)) {
        for source in [Source::Database, Source::Kafka] {
            let judgement = judge(source, &made, &mixed(&made, &choices));
            prop_assert!(judgement.is_clean(), "{judgement}");
            prop_assert_eq!(judgement.events, made.len() as u64);
        }
    }

    #[test]
    fn every_lost_event_is_named(
        made in histories(),
        choices in prop::collection::vec(any::<Index>(), 32),
        victim in any::<Index>(),
    ) {
        let mut events = mixed(&made, &choices);
        let gone = events.remove(victim.index(events.len()));
        prop_assert_eq!(only(Kind::Lost, judge(Source::Kafka, &made, &events)), [gone.id]);
    }

    #[test]
    fn every_second_copy_is_named(
        made in histories(),
        choices in prop::collection::vec(any::<Index>(), 32),
        victim in any::<Index>(),
        place in any::<Index>(),
    ) {
        let mut events = mixed(&made, &choices);
        let first = victim.index(events.len());
        let copy = events[first].clone();
        let id = copy.id;
        let second = first + 1 + place.index(events.len() - first);
        events.insert(second, copy);
        prop_assert_eq!(only(Kind::Duplicate, judge(Source::Database, &made, &events)), [id]);
    }

    #[test]
    fn an_event_that_comes_too_late_is_named(
        made in histories(),
        choices in prop::collection::vec(any::<Index>(), 32),
        victim in any::<Index>(),
    ) {
        let mut events = mixed(&made, &choices);
        let first = victim.index(events.len());
        let device = events[first].place.device.clone();
        let Some(next) = (first + 1..events.len()).find(|at| events[*at].place.device == device) else {
            return Ok(());
        };
        let late = events.remove(first);
        let id = late.id;
        events.insert(next, late);
        prop_assert_eq!(only(Kind::Reordered, judge(Source::Kafka, &made, &events)), [id]);
    }

    #[test]
    fn what_nobody_made_is_named(
        made in histories(),
        choices in prop::collection::vec(any::<Index>(), 32),
        victim in any::<Index>(),
    ) {
        let events = mixed(&made, &choices);
        let mut known = made;
        let unknown = known.remove(victim.index(known.len()));
        prop_assert_eq!(only(Kind::Phantom, judge(Source::Database, &known, &events)), [unknown.id]);
    }

    #[test]
    fn other_bytes_and_another_id_are_named(
        made in histories(),
        choices in prop::collection::vec(any::<Index>(), 32),
        victim in any::<Index>(),
        bytes in any::<bool>(),
    ) {
        let mut events = mixed(&made, &choices);
        let at = victim.index(events.len());
        let id = events[at].id;
        if bytes {
            events[at].hash = hash(b"something else");
        } else {
            events[at].id = EventId(Uuid::from_u128(7));
        }
        prop_assert_eq!(only(Kind::Changed, judge(Source::Kafka, &made, &events)), [id]);
    }
}

#[test]
fn lanes_have_no_order_between_each_other_and_none_without_a_name() {
    let made: Vec<_> = (0..2)
        .flat_map(|spool| (1..=3).map(move |seq| made(0, spool, seq)))
        .collect();
    let mut events: Vec<_> = [3, 4, 5, 0, 1, 2]
        .iter()
        .map(|at: &usize| arrived(&made[*at]))
        .collect();
    assert_eq!(judge(Source::Kafka, &made, &events).reordered.count, 3);
    for lane in ["another key", ""] {
        for event in &mut events[3..] {
            event.lane = lane.to_owned();
        }
        assert!(judge(Source::Kafka, &made, &events).is_clean());
    }
}

#[test]
fn what_has_to_be_rejected_must_not_arrive_and_is_not_missed() {
    let mut made: Vec<_> = (1..=3).map(|seq| made(0, 0, seq)).collect();
    made[1].refused = true;
    let mut events: Vec<_> = made.iter().map(arrived).collect();
    assert_eq!(
        only(Kind::Refused, judge(Source::Database, &made, &events)),
        [made[1].id]
    );
    events.remove(1);
    let judgement = judge(Source::Database, &made, &events);
    assert!(judgement.is_clean() && judgement.to_reject == 1, "{judgement}");
}

/// A client's file of events of one spool, with the ops that are given for each.
fn client(folder: &Path, run: &str, events: &[(Made, &[&str])]) {
    let mut text = String::new();
    for (made, ops) in events {
        let Place { device, spool, seq } = &made.place;
        for op in *ops {
            let more = match *op {
                "append" => format!(
                    r#","id":"{}","hash":"{}","type":"t","vin":null"#,
                    made.id,
                    hex(&made.hash)
                ),
                _ => String::new(),
            };
            writeln!(
                text,
                r#"{{"op":"{op}","device":"{device}","spool":"{spool}","seq":{seq}{more}}}"#
            )
            .expect("a string takes it");
        }
    }
    std::fs::write(folder.join(format!("made-line1-{run}.jsonl")), text).expect("written");
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn source(folder: &Path, name: &str, events: &[(&Made, Option<u64>)]) {
    let mut text = String::new();
    for (made, order) in events {
        let line = ArrivedLine {
            device: made.place.device.clone(),
            spool: made.place.spool,
            seq: made.place.seq,
            id: made.id,
            hash: hex(&made.hash),
            lane: String::new(),
            at: "here".to_owned(),
            order: *order,
            generation: None,
        };
        text += &serde_json::to_string(&line).expect("JSON");
        text.push('\n');
    }
    std::fs::write(folder.join(format!("{name}-all.jsonl")), text).expect("written");
}

const WHOLE: &[&str] = &["append", "counted", "receipted"];

#[test]
fn a_saved_history_is_judged_again_from_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let all: Vec<_> = (1..=4).map(|seq| made(0, 0, seq)).collect();
    client(
        folder.path(),
        "1",
        &[
            (all[0].clone(), WHOLE),
            (all[1].clone(), &["append", "counted"]),
            // Begun, and its client was killed: it may be there or not.
            (all[2].clone(), &["append"]),
        ],
    );
    source(
        folder.path(),
        "database",
        &[(&all[0], None), (&all[1], None), (&all[2], None)],
    );
    source(folder.path(), "kafka", &[(&all[0], None), (&all[1], None)]);
    let judgement = saved::judge(folder.path()).expect("a history");
    assert!(judgement.is_clean(), "{judgement}");
    assert_eq!((judgement.events, judgement.unknown), (2, 1));
    source(folder.path(), "kafka", &[(&all[0], None)]);
    let judgement = saved::judge(folder.path()).expect("a history");
    assert_eq!(
        ids(&judgement.lost.named),
        [all[1].id],
        "in the database is not enough"
    );
    assert_eq!(judgement.report()["lost"], 1);
    assert_eq!(
        judgement.report()["named"]["lost"][0]["id"],
        all[1].id.to_string()
    );
}

#[test]
fn the_order_of_the_commits_is_judged_whatever_the_order_of_the_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let all: Vec<_> = (1..=2).map(|seq| made(0, 0, seq)).collect();
    client(
        folder.path(),
        "1",
        &[(all[0].clone(), WHOLE), (all[1].clone(), WHOLE)],
    );
    source(
        folder.path(),
        "database",
        &[(&all[1], Some(8)), (&all[0], Some(7))],
    );
    let judgement = saved::judge(folder.path()).expect("a history");
    assert!(judgement.is_clean(), "{judgement}");
    source(
        folder.path(),
        "database",
        &[(&all[1], Some(7)), (&all[0], Some(8))],
    );
    let judgement = saved::judge(folder.path()).expect("a history");
    assert_eq!(only(Kind::Reordered, judgement), [all[0].id]);
}

#[test]
fn an_older_disk_excuses_only_what_never_had_a_receipt() {
    let folder = tempfile::tempdir().expect("a folder");
    let all: Vec<_> = (1..=3).map(|seq| made(0, 0, seq)).collect();
    client(folder.path(), "1", &[(all[0].clone(), WHOLE)]);
    client(
        folder.path(),
        "2",
        &[(all[1].clone(), &["append", "counted"]), (all[2].clone(), WHOLE)],
    );
    source(folder.path(), "database", &[(&all[0], None)]);
    std::fs::write(
        folder.path().join("faults.jsonl"),
        "{\"removed\":[\"made-line1-2.jsonl\"],\"fault\":\"x\"}\n",
    )
    .expect("written");
    let judgement = saved::judge(folder.path()).expect("a history");
    assert_eq!(judgement.excused, 1);
    assert_eq!(only(Kind::Lost, judgement), [all[2].id]);
}

#[test]
fn a_torn_last_line_of_a_client_is_left_out_and_any_other_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = made(0, 0, 1);
    client(folder.path(), "1", &[(one.clone(), WHOLE)]);
    source(folder.path(), "database", &[(&one, None)]);
    let path = folder.path().join("made-line1-1.jsonl");
    let whole = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, format!("{whole}{{\"op\":\"app")).expect("written");
    assert!(saved::judge(folder.path()).expect("a history").is_clean());
    std::fs::write(&path, format!("{{\"op\":\"app\n{whole}")).expect("written");
    let error = saved::judge(folder.path()).expect_err("no history").to_string();
    assert!(error.contains("made-line1-1.jsonl, line 1"), "{error}");
}

#[test]
fn a_history_that_says_nothing_proves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = saved::judge(folder.path())
        .expect_err("nothing is there")
        .to_string();
    assert!(error.contains("made-*.jsonl"), "{error}");
    let one = made(0, 0, 1);
    client(folder.path(), "1", &[(one.clone(), &["counted"])]);
    source(folder.path(), "database", &[(&one, None)]);
    let error = saved::judge(folder.path())
        .expect_err("it was never begun")
        .to_string();
    assert!(error.contains("never begun"), "{error}");
    client(folder.path(), "1", &[(one, WHOLE)]);
    std::fs::remove_file(folder.path().join("database-all.jsonl")).expect("removed");
    let error = saved::judge(folder.path()).expect_err("no source").to_string();
    assert!(error.contains("nothing to compare"), "{error}");
}

/// Far from a limit on a quiet machine: a comparison of each with each would take days.
#[test]
fn many_events_are_judged_in_seconds() {
    let begun = Instant::now();
    let made: Vec<_> = (0..200)
        .flat_map(|device| (1..=1000).map(move |seq| made(device, 0, seq)))
        .collect();
    let events: Vec<_> = made.iter().map(arrived).collect();
    assert!(judge(Source::Kafka, &made, &events).is_clean());
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}
