//! What goes back to benches: receipts at their pace, and answers to syncs.

use std::time::Duration;

use fleet_domain::DeviceId;
use fleet_store::{ReceiptRow, SyncAnswerRow};
use fleet_wire::Channel;
use fleet_wire::limits::MAX_ANSWER_REJECTIONS;
use fleet_wire::receipt::{Receipt, ReceiptMessage, Rejection, SpoolAnswer, SyncAnswer};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Outbound;
use super::decode::wire_code;
use super::receipts::Pacer;
use crate::metrics::Metrics;

/// Least time between two rounds of receipts that no commit has caused.
const RECEIPT_ROUND: Duration = Duration::from_millis(20);

fn rejections(rows: &[fleet_domain::Rejection]) -> Vec<Rejection> {
    rows.iter()
        .map(|row| Rejection {
            seq: row.seq,
            code: wire_code(row.code),
        })
        .collect()
}

fn receipt(row: ReceiptRow) -> (DeviceId, Receipt) {
    let receipt = Receipt {
        store_generation: row.generation,
        spool_id: row.spool,
        through: row.through,
        rejected: rejections(&row.rejected),
        gap: row.gap,
        unattributed: row.unattributed,
    };
    (row.device, receipt)
}

pub(super) fn sync_answer(row: SyncAnswerRow) -> SyncAnswer {
    // A bench with many rejected events in many spools hears of the rest by the next answer.
    let mut room = MAX_ANSWER_REJECTIONS;
    let spools = row
        .spools
        .into_iter()
        .map(|spool| {
            let mut rejected = rejections(&spool.rejected);
            rejected.truncate(room);
            room -= rejected.len();
            SpoolAnswer {
                spool_id: spool.spool,
                through: spool.through,
                rejected,
            }
        })
        .collect();
    SyncAnswer {
        number: row.number,
        store_generation: row.generation,
        spools,
        bench_restored: row.bench_restored,
    }
}

/// Sends receipts as often as the pacer lets them go, until the committer is gone.
pub(super) async fn pace(
    mut rows: mpsc::UnboundedReceiver<ReceiptRow>,
    mut pacer: Pacer,
    outbound: Outbound,
    metrics: Metrics,
) {
    let began = Instant::now();
    let mut last_round = began;
    loop {
        // With a thousand benches one is due in nearly every millisecond: rounds keep wake-ups few.
        let next = pacer
            .next()
            .map(|next| (began + next).max(last_round + RECEIPT_ROUND));
        let row = match next {
            None => match rows.recv().await {
                Some(row) => Some(row),
                None => return,
            },
            Some(next) => match tokio::time::timeout_at(next, rows.recv()).await {
                Ok(Some(row)) => Some(row),
                Ok(None) => return,
                Err(_) => None,
            },
        };
        if let Some(row) = row {
            let (device, receipt) = receipt(row);
            pacer.add(device, receipt);
            // What came with the same commit goes together.
            while let Ok(row) = rows.try_recv() {
                let (device, receipt) = self::receipt(row);
                pacer.add(device, receipt);
            }
        }
        last_round = Instant::now();
        for (device, receipt) in pacer.due(began.elapsed()) {
            metrics.ingest.receipts.inc();
            outbound.publish(
                &device,
                Channel::Receipts,
                ReceiptMessage::Receipt(receipt).encode(),
            );
        }
    }
}
