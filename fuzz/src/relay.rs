//! What the relay reads from Kafka.

use fleet_relay::KafkaCursor;
use fleet_relay::record::{Standing, header};

use crate::useful;

pub(crate) fn cursor(data: &[u8]) {
    match KafkaCursor::from_bytes(data, 17) {
        Ok(cursor) => {
            let again = KafkaCursor::from_bytes(&cursor.to_bytes(), 17);
            assert_eq!(again.expect("what was written can be read"), cursor);
            assert_eq!(cursor.place().seq, cursor.seq);
        }
        Err(error) => {
            useful(&error);
            assert!(
                fleet_domain::error_chain(&error).contains("17"),
                "the error says where"
            );
        }
    }
}

/// Headers as lines `name=value`.
pub(crate) fn headers(data: &[u8]) {
    let pairs: Vec<(&str, &[u8])> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (line.get(..at)?, line.get(at + 1..)?);
            Some((std::str::from_utf8(name).ok()?, value))
        })
        .collect();
    let Some(standing) = Standing::of(pairs.iter().copied()) else {
        return;
    };
    assert!(pairs.iter().any(|(name, _)| *name == header::PLANT));
    if let Some(place) = &standing.place {
        // Written as the relay writes it, it reads the same.
        let written = [
            (header::PLANT, standing.plant.to_string()),
            (header::DEVICE, place.device.to_string()),
            (header::SPOOL, place.spool.to_string()),
            (header::SEQ, place.seq.to_string()),
        ];
        let again = Standing::of(written.iter().map(|(name, value)| (*name, value.as_bytes())));
        assert_eq!(again.as_ref(), Some(&standing));
    }
}
