//! What the benches are told after the commit.

use std::collections::BTreeMap;

use fleet_domain::{DeviceId, SpoolId, SpoolLedger};
use fleet_store::ReceiptRow;
use uuid::Uuid;

use crate::Loaded;

/// Which receipts a bench gets.
#[derive(Debug, Default)]
pub(crate) struct Touch {
    /// Spools with events in the batch; a gap among them.
    pub(crate) spools: BTreeMap<SpoolId, bool>,
    /// A message of the bench could not be attributed.
    pub(crate) unattributed: bool,
}

pub(crate) type Touched = BTreeMap<DeviceId, Touch>;

/// A receipt for each spool that events arrived for.
pub(crate) fn receipts(loaded: &Loaded, touched: &Touched) -> Vec<ReceiptRow> {
    let mut receipts = Vec::new();
    for (device, touch) in touched {
        let Some(state) = loaded.devices.get(device) else {
            continue;
        };
        let mut unattributed = touch.unattributed;
        let mut spools = touch.spools.clone();
        if unattributed && spools.is_empty() {
            let newest = state.ledger.newest().unwrap_or(SpoolId(Uuid::nil()));
            spools = BTreeMap::from([(newest, false)]);
        }
        for (spool, gap) in spools {
            let row = state.ledger.spool(spool);
            receipts.push(ReceiptRow {
                device: device.clone(),
                spool,
                through: row.map_or(0, |row| row.through),
                rejected: row.map(SpoolLedger::rejections).unwrap_or_default(),
                gap,
                unattributed: std::mem::take(&mut unattributed),
                generation: loaded.generation,
            });
        }
    }
    receipts
}
