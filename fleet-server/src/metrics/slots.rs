//! Which slots this replica has, and how they change hands.

use std::time::Duration;

use fleet_domain::Slot;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::labels::{Count, KindLabel, Level, SlotLabel};

/// How a slot came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandOver {
    /// Taken: it was free, given back in an orderly way or never owned.
    Claimed,
    /// Taken: another replica's lease had run out.
    TakenOver,
    /// Given back in an orderly way: a fair share for another replica, or this one stops.
    GivenBack,
    /// Lost: the lease ran out or another replica has a newer term.
    Lost,
}

impl HandOver {
    const ALL: [Self; 4] = [Self::Claimed, Self::TakenOver, Self::GivenBack, Self::Lost];

    fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::TakenOver => "taken_over",
            Self::GivenBack => "given_back",
            Self::Lost => "lost",
        }
    }
}

/// Metrics of the slots.
#[derive(Debug, Clone)]
pub(crate) struct SlotMetrics {
    /// `vds_slots_owned`
    owned: Level,
    /// `vds_slot_owned{slot}`
    slot: Family<SlotLabel, Level>,
    /// `vds_slot_hand_overs_total{kind}`
    hand_overs: Family<KindLabel, Count>,
    /// `vds_slot_connect_seconds`
    connect_seconds: Histogram,
}

impl SlotMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self {
            owned: Level::default(),
            slot: Family::default(),
            hand_overs: Family::default(),
            connect_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 13)),
        };
        metrics.set_owned(|_| false);
        for kind in HandOver::ALL {
            metrics
                .hand_overs
                .get_or_create(&KindLabel { kind: kind.as_str() })
                .inc_by(0);
        }
        registry.register(
            "vds_slots_owned",
            "Slots that this replica owns and has connected",
            metrics.owned.clone(),
        );
        registry.register(
            "vds_slot_owned",
            "1 where this replica owns the slot and has it connected",
            metrics.slot.clone(),
        );
        registry.register(
            "vds_slot_hand_overs",
            "Slots that came to or left this replica, by kind",
            metrics.hand_overs.clone(),
        );
        registry.register(
            "vds_slot_connect_seconds",
            "From the claim of a slot until its session takes messages",
            metrics.connect_seconds.clone(),
        );
        metrics
    }

    /// Sets which slots are owned and connected now. Called at the scrape.
    pub(crate) fn set_owned(&self, owned: impl Fn(Slot) -> bool) {
        let mut all = 0;
        for slot in Slot::all() {
            let here = i64::from(owned(slot));
            all += here;
            self.slot
                .get_or_create(&SlotLabel {
                    slot: slot.to_string(),
                })
                .set(here);
        }
        self.owned.set(all);
    }

    /// Counts a change of hands of one slot.
    pub(crate) fn handed_over(&self, kind: HandOver) {
        self.hand_overs
            .get_or_create(&KindLabel { kind: kind.as_str() })
            .inc();
    }

    /// A slot was claimed this long ago and takes messages now.
    pub(crate) fn connected_after(&self, duration: Duration) {
        self.connect_seconds.observe(duration.as_secs_f64());
    }
}
