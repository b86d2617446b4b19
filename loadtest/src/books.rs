//! The books: what the benches made against what the server's ledger says, spool by spool.

use std::collections::BTreeMap;
use std::fmt;

use fleet_domain::{DeviceId, Seq, SpoolId};
use fleet_testkit::{Api, ApiError};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::history::Made;

/// Requests at a time.
const AT_A_TIME: usize = 8;

/// The ledger's row of a spool, as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolLedger {
    /// The spool.
    pub spool_id: SpoolId,
    /// Highest position heard of.
    pub announced: u64,
    /// Stored.
    pub stored: u64,
    /// Rejected.
    pub rejected: u64,
    /// Stated as holes.
    pub holes: u64,
    /// Heard of and not settled.
    pub outstanding: u64,
    /// Every position up to this one is settled.
    pub through: u64,
    /// Messages settled before: what was sent again.
    pub duplicates: u64,
    /// Messages above the next position.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// Stored and waiting for the relay.
    pub in_outbox: u64,
    /// Committed to Kafka.
    pub in_kafka: u64,
    /// Found in Kafka after a restore.
    pub already_in_kafka: u64,
    /// Kafka will never take them.
    pub unrelayable: u64,
    /// Removed before any relay took them.
    pub expired: u64,
}

/// Sums over the benches of a load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSums {
    /// Heard of.
    pub announced: u64,
    /// Stored.
    pub stored: u64,
    /// Rejected.
    pub rejected: u64,
    /// Stated as holes.
    pub holes: u64,
    /// Heard of and not settled.
    pub outstanding: u64,
    /// Messages that came again and were left out.
    pub duplicates: u64,
    /// Messages that came too early and were left out.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// Waiting for the relay.
    pub in_outbox: u64,
    /// Committed to Kafka.
    pub in_kafka: u64,
    /// Never to be in Kafka.
    pub unrelayable: u64,
}

/// Where the books don't agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The bench.
    pub device: String,
    /// The spool.
    pub spool: SpoolId,
    /// The first position that it is about, where there is one.
    pub seq: Option<Seq>,
    /// What disagrees.
    pub what: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.spool)?;
        if let Some(seq) = self.seq {
            write!(f, " {seq}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Ledgers by bench.
pub type Ledgers = BTreeMap<String, Vec<SpoolLedger>>;

/// Asks the server for the ledgers of these benches. One that it does not know has none.
///
/// # Errors
/// When the server does not answer as it should.
pub async fn ledgers(api: &Api, devices: &[DeviceId]) -> Result<Ledgers, ApiError> {
    #[derive(Deserialize)]
    struct Answer {
        spools: Vec<SpoolLedger>,
    }
    let ask = |device: DeviceId| {
        let api = api.clone();
        async move {
            let path = format!("/api/v1/benches/{device}/ledger");
            let answer = match api.get(&path).await {
                Ok(answer) => answer,
                Err(error) if error.status() == Some(404) => return Ok((device.to_string(), Vec::new())),
                Err(error) => return Err(error),
            };
            let answer: Answer = serde_json::from_value(answer.clone()).map_err(|_| ApiError::Refused {
                request: format!("GET {}{path}", api.base()),
                status: 200,
                problem: answer,
            })?;
            Ok((device.to_string(), answer.spools))
        }
    };
    let (mut asked, mut known) = (JoinSet::new(), Ledgers::new());
    for device in devices {
        if asked.len() >= AT_A_TIME
            && let Some(Ok(answer)) = asked.join_next().await
        {
            let (device, spools) = answer?;
            known.insert(device, spools);
        }
        asked.spawn(ask(device.clone()));
    }
    while let Some(Ok(answer)) = asked.join_next().await {
        let (device, spools) = answer?;
        known.insert(device, spools);
    }
    Ok(known)
}

/// Sums of ledgers.
pub fn sums(ledgers: &Ledgers) -> LedgerSums {
    let mut sums = LedgerSums::default();
    for spool in ledgers.values().flatten() {
        sums.announced += spool.announced;
        sums.stored += spool.stored;
        sums.rejected += spool.rejected;
        sums.holes += spool.holes;
        sums.outstanding += spool.outstanding;
        sums.duplicates += spool.duplicates;
        sums.gaps += spool.gaps;
        sums.conflicts += spool.conflicts;
        sums.in_outbox += spool.in_outbox;
        sums.in_kafka += spool.in_kafka + spool.already_in_kafka;
        sums.unrelayable += spool.unrelayable;
    }
    sums
}

#[derive(Debug, Default)]
struct Kept {
    last: Seq,
    events: u64,
    refused: u64,
}

/// Compares after everything has its receipt. `relayed`: everything has to be in Kafka too.
pub fn compare(made: &[Made], ledgers: &Ledgers, relayed: bool) -> Vec<Disagreement> {
    let mut kept: BTreeMap<(&str, SpoolId), Kept> = BTreeMap::new();
    for event in made {
        let spool = kept.entry((&event.place.device, event.place.spool)).or_default();
        spool.last = spool.last.max(event.place.seq);
        spool.events += 1;
        spool.refused += u64::from(event.refused);
    }
    let mut found = Vec::new();
    for ((device, spool), kept) in &kept {
        let row = ledgers
            .get(*device)
            .and_then(|rows| rows.iter().find(|row| row.spool_id == *spool));
        let mut say = |seq, what| {
            found.push(Disagreement {
                device: (*device).to_owned(),
                spool: *spool,
                seq,
                what,
            });
        };
        match row {
            None => say(
                Some(1),
                format!("the server has none of its {} events", kept.events),
            ),
            Some(row) => compare_spool(kept, row, relayed, &mut say),
        }
    }
    for (device, rows) in ledgers {
        for row in rows {
            if !kept.contains_key(&(device.as_str(), row.spool_id)) {
                found.push(Disagreement {
                    device: device.clone(),
                    spool: row.spool_id,
                    seq: None,
                    what: format!(
                        "the server has {} events of a spool that the bench never wrote",
                        row.stored
                    ),
                });
            }
        }
    }
    found
}

fn compare_spool(kept: &Kept, row: &SpoolLedger, relayed: bool, say: &mut impl FnMut(Option<Seq>, String)) {
    let wanted = kept.events - kept.refused;
    if row.stored < wanted {
        let missing = wanted - row.stored;
        say(
            Some(row.through + 1),
            format!("{missing} of {wanted} events are not stored"),
        );
    }
    if row.stored > wanted {
        say(
            None,
            format!("{} events are stored, the bench made {wanted}", row.stored),
        );
    }
    let figures = [
        ("rejected", row.rejected, kept.refused),
        ("holes", row.holes, 0),
        ("outstanding", row.outstanding, 0),
        ("announced", row.announced, kept.last),
        ("conflicts", row.conflicts, 0),
    ];
    for (name, found, wanted) in figures {
        if found != wanted {
            say(None, format!("{name} is {found}, not {wanted}"));
        }
    }
    if row.announced != row.stored + row.rejected + row.holes + row.outstanding {
        say(
            None,
            "announced is not stored + rejected + holes + outstanding".to_owned(),
        );
    }
    if relayed && row.in_kafka + row.already_in_kafka != row.stored {
        let of = row.in_kafka + row.already_in_kafka;
        say(None, format!("{of} of {} stored events are in Kafka", row.stored));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::history::{Place, hash};

    fn spool() -> SpoolId {
        SpoolId(Uuid::from_u128(1))
    }

    fn made(seq: Seq) -> Made {
        Made {
            place: Place {
                device: "load-00001".to_owned(),
                spool: spool(),
                seq,
            },
            ordinal: 0,
            id: fleet_domain::EventId(Uuid::from_u128(u128::from(seq))),
            topic: "vds.job-events.v1",
            vin: None,
            hash: hash(&seq.to_be_bytes()),
            bytes: 8,
            refused: false,
        }
    }

    fn row(stored: u64) -> SpoolLedger {
        SpoolLedger {
            spool_id: spool(),
            announced: stored,
            stored,
            rejected: 0,
            holes: 0,
            outstanding: 0,
            through: stored,
            duplicates: 0,
            gaps: 0,
            conflicts: 0,
            in_outbox: 0,
            in_kafka: stored,
            already_in_kafka: 0,
            unrelayable: 0,
            expired: 0,
        }
    }

    fn told(made: &[Made], rows: Vec<SpoolLedger>) -> Vec<String> {
        let ledgers = Ledgers::from([("load-00001".to_owned(), rows)]);
        compare(made, &ledgers, true)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn three() -> Vec<Made> {
        (1..=3).map(made).collect()
    }

    #[test]
    fn the_same_events_on_both_sides_agree() {
        assert_eq!(told(&three(), vec![row(3)]), Vec::<String>::new());
    }

    #[test]
    fn a_lost_event_is_named_with_bench_spool_and_position() {
        let told = told(&three(), vec![row(2)]);
        let wanted = format!("load-00001 {} 3: 1 of 3 events are not stored", spool());
        assert!(told.contains(&wanted), "{told:?}");
    }

    #[test]
    fn an_event_that_counts_twice_is_named() {
        let told = told(&three(), vec![row(4)]);
        assert!(
            told[0].contains("4 events are stored, the bench made 3"),
            "{told:?}"
        );
    }

    #[test]
    fn a_spool_that_only_one_side_knows_is_named() {
        assert!(told(&three(), vec![])[0].contains("none of its 3 events"));
        let mut other = row(7);
        other.spool_id = SpoolId(Uuid::from_u128(9));
        let told = told(&three(), vec![row(3), other]);
        assert!(
            told[0].contains("7 events of a spool that the bench never wrote"),
            "{told:?}"
        );
    }

    #[test]
    fn what_has_to_be_rejected_is_rejected_and_not_stored() {
        let mut made = three();
        made[1].refused = true;
        let right = SpoolLedger {
            stored: 2,
            rejected: 1,
            in_kafka: 2,
            ..row(3)
        };
        assert_eq!(told(&made, vec![right]), Vec::<String>::new());
        assert_eq!(
            told(&made, vec![row(3)]).len(),
            2,
            "stored although it has to be refused"
        );
    }

    #[test]
    fn each_figure_that_is_off_is_named() {
        for (name, change) in [
            ("holes", (|row| row.holes = 1) as fn(&mut SpoolLedger)),
            ("outstanding", |row| row.outstanding = 2),
            ("conflicts", |row| row.conflicts = 1),
            ("announced", |row| row.announced = 9),
            ("in Kafka", |row| row.in_kafka = 1),
        ] {
            let mut changed = row(3);
            change(&mut changed);
            let told = told(&three(), vec![changed]);
            assert!(told.iter().any(|line| line.contains(name)), "{name}: {told:?}");
        }
    }
}
