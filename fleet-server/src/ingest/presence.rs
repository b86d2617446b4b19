//! Who is connected to a broker inside the process that has just started, or to one that has lost its sessions: nobody,
//! as far as is known.

use fleet_domain::{PresenceFacts, RunId, StoreGeneration};
use fleet_store::{
    BenchFilter, BenchState, Inbound, InboundMessage, IngestBatch, Page, SlotTerm, Store, StoreError,
};

/// Records that no bench of these slots is connected: the wills of those that were connected to the broker before
/// were lost with it. A bench that comes back says so by its presence and its sync.
///
/// # Errors
/// When the store can't be read or written.
pub(super) async fn nobody_is_connected(store: &dyn Store, terms: &[SlotTerm]) -> Result<(), StoreError> {
    let filter = BenchFilter {
        state: Some(BenchState::Online),
        text: None,
    };
    let mut page = Page {
        limit: 1000,
        after: None,
    };
    loop {
        let found = store.benches(&filter, &page).await?;
        let items = found
            .items
            .into_iter()
            .filter(|bench| terms.iter().any(|term| term.slot == bench.slot))
            .map(|bench| Inbound {
                slot: bench.slot,
                device: bench.device,
                // Another run than the bench's: whatever it says next counts.
                message: InboundMessage::Assumed(PresenceFacts {
                    run_id: RunId(fleet_clock::new_uuid()),
                    connect_counter: 0,
                    online: false,
                    will: false,
                }),
            });
        let batch = IngestBatch {
            terms: terms.to_vec(),
            items: items.collect(),
            misplaced: Vec::new(),
            received_at: fleet_clock::wall_now(),
            spare_generation: StoreGeneration(fleet_clock::new_uuid()),
        };
        store.ingest(batch).await?;
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(()),
        }
    }
}
