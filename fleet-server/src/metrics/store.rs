//! What the database says at the scrape. While it can't be read, these metrics are absent: an old number
//! would read as if it were current.

use fleet_domain::JobState;
use fleet_store::{LedgerTotals, StoreCounts};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::labels::{Alone, Level, StateLabel, level};

type Lone = Family<Alone, Level>;

/// Metrics of what is stored: the same on every replica.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreMetrics {
    jobs: Family<StateLabel, Level>,
    benches: Family<StateLabel, Level>,
    announced: Lone,
    stored: Lone,
    rejected: Lone,
    holes: Lone,
    outstanding: Lone,
    duplicates: Lone,
    gaps: Lone,
    conflicts: Lone,
    unprojected: Lone,
    in_kafka: Lone,
    already_in_kafka: Lone,
    unrelayable: Lone,
    expired: Lone,
    waiting: Lone,
    oldest_waiting: Lone,
    dead_letters: Lone,
    awaited_benches: Lone,
    replicas: Lone,
    slots_leased: Lone,
}

impl StoreMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("vds_jobs", "Jobs by state", metrics.jobs.clone());
        registry.register("vds_benches", "Benches by state", metrics.benches.clone());
        for (name, help, family) in metrics.lone() {
            registry.register(name, help, family.clone());
        }
        metrics
    }

    /// Name and meaning of each metric without a label.
    fn lone(&self) -> [(&'static str, &'static str, &Lone); 19] {
        [
            (
                "vds_ledger_announced",
                "Events that benches told of: stored + rejected + holes + outstanding",
                &self.announced,
            ),
            (
                "vds_ledger_stored",
                "Events stored: in Kafka + already in Kafka + unrelayable + expired + waiting",
                &self.stored,
            ),
            ("vds_ledger_rejected", "Events refused for good", &self.rejected),
            (
                "vds_ledger_holes",
                "Events that benches can't read any more",
                &self.holes,
            ),
            (
                "vds_ledger_outstanding",
                "Events heard of and not settled",
                &self.outstanding,
            ),
            (
                "vds_ledger_duplicates",
                "Messages of events that were settled before",
                &self.duplicates,
            ),
            (
                "vds_ledger_gaps",
                "Messages that came before their predecessors",
                &self.gaps,
            ),
            (
                "vds_ledger_conflicts",
                "Messages with other content than stored",
                &self.conflicts,
            ),
            (
                "vds_ledger_unprojected",
                "Stored events that were not understood",
                &self.unprojected,
            ),
            (
                "vds_ledger_in_kafka",
                "Stored events that the relay committed to Kafka",
                &self.in_kafka,
            ),
            (
                "vds_ledger_already_in_kafka",
                "Stored events that Kafka had before a restore",
                &self.already_in_kafka,
            ),
            (
                "vds_ledger_unrelayable",
                "Stored events that Kafka will never take",
                &self.unrelayable,
            ),
            (
                "vds_ledger_expired",
                "Stored events that retention removed before any relay",
                &self.expired,
            ),
            (
                "vds_outbox_waiting",
                "Events that wait for the relay",
                &self.waiting,
            ),
            (
                "vds_outbox_oldest_seconds",
                "Age of the oldest event that waits for the relay; 0 when none waits",
                &self.oldest_waiting,
            ),
            (
                "vds_dead_letters_held",
                "Dead letters in the database",
                &self.dead_letters,
            ),
            (
                "vds_awaited_benches",
                "Benches that offers wait for since a restore",
                &self.awaited_benches,
            ),
            ("vds_replicas", "Replicas that are alive", &self.replicas),
            (
                "vds_slots_leased",
                "Slots with a living lease, of all replicas",
                &self.slots_leased,
            ),
        ]
    }

    /// Sets what the counts say. Called at the scrape.
    pub(crate) fn set_counts(&self, counts: &StoreCounts) {
        for state in JobState::ALL {
            let count = counts
                .jobs
                .iter()
                .find(|(of, _)| of == state)
                .map_or(0, |(_, count)| *count);
            put_state(&self.jobs, state.as_str(), count);
        }
        put_state(&self.benches, "online", counts.benches_online);
        put_state(&self.benches, "offline", counts.benches_offline);
        self.set_ledger(&counts.ledger);
    }

    fn set_ledger(&self, ledger: &LedgerTotals) {
        put(&self.announced, ledger.announced);
        put(&self.stored, ledger.stored);
        put(&self.rejected, ledger.rejected);
        put(&self.holes, ledger.holes);
        put(&self.outstanding, ledger.outstanding);
        put(&self.duplicates, ledger.duplicates);
        put(&self.gaps, ledger.gaps);
        put(&self.conflicts, ledger.conflicts);
        put(&self.unprojected, ledger.unprojected);
        put(&self.in_kafka, ledger.in_kafka);
        put(&self.already_in_kafka, ledger.already_in_kafka);
        put(&self.unrelayable, ledger.unrelayable);
        put(&self.expired, ledger.expired);
        put(&self.waiting, ledger.in_outbox);
        put(&self.dead_letters, ledger.dead_letters);
    }

    /// Sets how long the oldest event waits for the relay. Called at the scrape.
    pub(crate) fn set_oldest_waiting(&self, seconds: u64) {
        put(&self.oldest_waiting, seconds);
    }

    /// Sets how many benches offers wait for. Called at the scrape.
    pub(crate) fn set_awaited(&self, benches: u64) {
        put(&self.awaited_benches, benches);
    }

    /// Sets the living replicas and the slots that any of them owns. Called at the scrape.
    pub(crate) fn set_replicas(&self, replicas: u64, slots_leased: u64) {
        put(&self.replicas, replicas);
        put(&self.slots_leased, slots_leased);
    }

    /// The database can't be read: nothing is known.
    pub(crate) fn forget(&self) {
        self.jobs.clear();
        self.benches.clear();
        for (_, _, family) in self.lone() {
            family.clear();
        }
    }
}

fn put(family: &Lone, count: u64) {
    family.get_or_create(&Alone {}).set(level(count));
}

fn put_state(family: &Family<StateLabel, Level>, state: &str, count: u64) {
    family
        .get_or_create(&StateLabel {
            state: state.to_owned(),
        })
        .set(level(count));
}
