//! What the messages of a batch need to know of the database.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::{BenchReport, DeviceId, JobId, Seq, SpoolId, SpoolLedger};
use fleet_store::{Inbound, InboundMessage};

use crate::{DeviceState, StepKey};

/// Rejections to read of one spool, above what the bench knows: one receipt's worth and a few that the batch may
/// uncover.
pub const REJECTIONS_READ: i64 = 200;

/// Spools by name.
pub type Named = BTreeSet<(DeviceId, SpoolId)>;

/// The benches that messages are of.
pub fn benches(items: &[&Inbound]) -> BTreeSet<DeviceId> {
    items.iter().map(|item| item.device.clone()).collect()
}

/// The benches that were heard themselves.
pub fn heard(items: &[&Inbound]) -> BTreeSet<DeviceId> {
    items
        .iter()
        .filter(|item| is_heard(&item.message))
        .map(|item| item.device.clone())
        .collect()
}

/// Whether the message is the bench's own. A will is the broker's, and comes when the bench is gone.
fn is_heard(message: &InboundMessage) -> bool {
    match message {
        InboundMessage::Assumed(_) => false,
        InboundMessage::Presence(facts) => !facts.will,
        _ => true,
    }
}

/// The spools to read: those that messages name, those of the last syncs, those that receipts will speak of.
pub fn spools(items: &[&Inbound], devices: &BTreeMap<DeviceId, DeviceState>) -> Named {
    let mut named = Named::new();
    for (device, state) in devices {
        named.extend(
            state
                .row
                .mark
                .last
                .iter()
                .map(|(spool, _)| (device.clone(), *spool)),
        );
    }
    for item in items {
        name_spools(item, &mut named);
        // Its receipt speaks of the spool that was heard of last.
        let newest = devices.get(&item.device).and_then(|state| state.row.newest_spool);
        if let (InboundMessage::Unattributed { .. }, Some(newest)) = (&item.message, newest) {
            named.insert((item.device.clone(), newest));
        }
    }
    named
}

fn name_spools(item: &Inbound, named: &mut Named) {
    let mut name = |spool| {
        named.insert((item.device.clone(), spool));
    };
    match &item.message {
        InboundMessage::Event(event) => {
            name(event.place.spool);
            event.place.predecessor.iter().for_each(|prev| name(prev.spool));
        }
        InboundMessage::Rejected(event) => {
            name(event.place.spool);
            event.place.predecessor.iter().for_each(|prev| name(prev.spool));
        }
        InboundMessage::Sync(sync) => {
            for held in &sync.held {
                name(held.spool);
                held.predecessor.iter().for_each(|prev| name(prev.spool));
            }
            sync.former.iter().for_each(|former| name(former.spool));
        }
        InboundMessage::Unattributed { .. }
        | InboundMessage::Undecodable { .. }
        | InboundMessage::Presence(_)
        | InboundMessage::Assumed(_) => {}
    }
}

/// Whether the spools that follow the named ones are to be read too: only a sync is judged by what else followed
/// the predecessors that it names.
pub fn successors(items: &[&Inbound]) -> bool {
    items
        .iter()
        .any(|item| matches!(item.message, InboundMessage::Sync(_)))
}

/// Predecessors that the rows read so far name and that are not among `named`: whether a spool may begin depends
/// on them.
pub fn predecessors<'a>(rows: impl IntoIterator<Item = &'a (DeviceId, SpoolLedger)>, named: &Named) -> Named {
    rows.into_iter()
        .filter_map(|(device, row)| Some((device.clone(), row.predecessor?.spool)))
        .filter(|name| !named.contains(name))
        .collect()
}

/// Whether rejections of the spool are to be read.
pub fn rejections(row: &SpoolLedger) -> bool {
    row.rejected > 0 || row.conflicts > 0
}

/// Places of events that were settled before this batch: what is stored there tells a duplicate from a conflict.
pub fn digests<'a>(
    items: &[&'a Inbound],
    devices: &BTreeMap<DeviceId, DeviceState>,
) -> Vec<(&'a DeviceId, SpoolId, Seq)> {
    items
        .iter()
        .filter_map(|item| {
            let place = match &item.message {
                InboundMessage::Event(event) => event.place,
                InboundMessage::Rejected(event) => event.place,
                _ => return None,
            };
            let through = devices.get(&item.device)?.ledger.through(place.spool);
            (place.seq <= through).then_some((&item.device, place.spool, place.seq))
        })
        .collect()
}

/// The jobs that events speak of. Beside them a storage reads the jobs that wait for a statement of one of the
/// benches: those in state `withdrawing` on it, and those that were taken from it.
pub fn jobs(items: &[&Inbound]) -> BTreeSet<JobId> {
    reports(items)
        .filter_map(|report| Some(report.attempt()?.job))
        .collect()
}

/// The steps that events report; the storage says which of them are recorded already.
pub fn steps(items: &[&Inbound]) -> BTreeSet<StepKey> {
    reports(items)
        .filter_map(|report| match report {
            BenchReport::StepFinished(step) => Some(StepKey::new(step.of, step.index)),
            _ => None,
        })
        // A number that no database holds is recorded nowhere.
        .filter(|step| i64::try_from(step.fence).is_ok())
        .collect()
}

fn reports<'a>(items: &[&'a Inbound]) -> impl Iterator<Item = &'a BenchReport> {
    items.iter().filter_map(|item| match &item.message {
        InboundMessage::Event(event) => Some(&event.report),
        _ => None,
    })
}
