//! Recording a batch: one transaction for ledger, events, projections, outbox and change log.

use fleet_store::{IngestBatch, IngestOutcome, StoreError};

use crate::PostgresStore;

pub(crate) async fn ingest(
    _store: &PostgresStore,
    _batch: &IngestBatch,
) -> Result<IngestOutcome, StoreError> {
    Err(crate::error::not_there_yet())
}
