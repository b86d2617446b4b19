//! What a consumer with `read_committed` reads of a plant.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fleet_testkit::services::{KafkaReader, KafkaRecord};

use crate::history::{Arrived, Made, Place, hash};

/// Topics of bench events.
pub(crate) const TOPICS: [&str; 3] = ["vds.results.v1", "vds.job-events.v1", "vds.device-state.v1"];
/// The server's own record after a restore.
pub(crate) const RESTORED: &str = "vds.store.restored.v1";

/// Until then nothing holds a consumer back: an open transaction of a relay that has died ends after 15 s.
const READ_WITHIN: Duration = Duration::from_mins(1);

/// Everything of a plant that is committed, by topic and partition in the order of offsets. Reads until `enough`.
pub(crate) async fn records(
    kafka: &str,
    plant: &str,
    mut enough: impl FnMut(&[KafkaRecord]) -> bool,
) -> anyhow::Result<Vec<KafkaRecord>> {
    let mut reader = KafkaReader::new(kafka, None, &TOPICS);
    let (mut records, begun) = (Vec::new(), Instant::now());
    // Other plants share the topics: their open transactions hold a consumer of this one back for a while.
    while !enough(&records) && begun.elapsed() < READ_WITHIN {
        let more = reader.read(READ_WITHIN).await?;
        records.extend(
            more.into_iter()
                .filter(|record| record.header("plant") == Some(plant)),
        );
    }
    // What comes twice comes soon.
    let more = reader.read(READ_WITHIN).await?;
    records.extend(
        more.into_iter()
            .filter(|record| record.header("plant") == Some(plant)),
    );
    records.sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    Ok(records)
}

/// At least so many events of benches are there.
pub(crate) fn count(records: &[KafkaRecord]) -> usize {
    records
        .iter()
        .filter(|record| record.header("type") != Some(RESTORED))
        .count()
}

/// The events of benches among the records.
pub(crate) fn events(records: &[KafkaRecord]) -> anyhow::Result<Vec<Arrived>> {
    let of_benches = records
        .iter()
        .filter(|record| record.header("type") != Some(RESTORED));
    of_benches.map(arrived).collect()
}

fn arrived(record: &KafkaRecord) -> anyhow::Result<Arrived> {
    let at = format!("{}-{}@{}", record.topic, record.partition, record.offset);
    let header = |name: &str| {
        record
            .header(name)
            .with_context(|| format!("{at} has no header {name}"))
    };
    let key = record
        .key
        .as_deref()
        .with_context(|| format!("{at} has no key"))?;
    for name in ["type", "store_generation", "outbox_seq"] {
        header(name)?;
    }
    Ok(Arrived {
        place: Place {
            device: header("device")?.to_owned(),
            spool: header("spool")?.parse()?,
            seq: header("seq")?.parse()?,
        },
        id: header("event_id")?.parse()?,
        hash: hash(record.value.as_deref().unwrap_or_default()),
        lane: format!("{} {key}", record.topic),
        at,
    })
}

/// Topic, key and partition are as documented: by VIN, else by bench; a bench's state by the bench; and always the same
/// partition for a key.
pub(crate) fn keys(made: &[Made], records: &[KafkaRecord], plant: &str) -> anyhow::Result<()> {
    let known: BTreeMap<_, _> = made.iter().map(|made| (made.id.to_string(), made)).collect();
    let mut partitions = BTreeMap::new();
    for record in records {
        let at = format!("{}-{}@{}", record.topic, record.partition, record.offset);
        let Some(made) = record.header("event_id").and_then(|id| known.get(id)) else {
            continue;
        };
        ensure!(record.topic == made.topic, "{at} belongs to {}", made.topic);
        let of_bench = format!("{plant}/{}", made.place.device);
        let wanted = match made.topic {
            "vds.device-state.v1" => &of_bench,
            _ => made.vin.as_ref().unwrap_or(&of_bench),
        };
        ensure!(
            record.key.as_ref() == Some(wanted),
            "{at} has the key {:?}, not {wanted}",
            record.key
        );
        let known = partitions
            .entry((&record.topic, &record.key))
            .or_insert(record.partition);
        ensure!(
            *known == record.partition,
            "{at}: {wanted} is in partition {known} too"
        );
    }
    Ok(())
}
