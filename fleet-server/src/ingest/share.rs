//! How the replicas of a plant share its slots. Pure: one replica's view in, what it does out.

use fleet_domain::Slot;

/// What a replica knows when it looks.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// Replicas that may own slots, this one among them; 0 when this one may not.
    pub(super) sharers: usize,
    /// Slots that are this replica's and are not being given back.
    pub(super) mine: &'a [Slot],
    /// Slots that nobody has: never claimed, given back, or the lease has run out.
    pub(super) free: &'a [Slot],
}

/// What it does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Slots to give back in an orderly way.
    pub(super) give_back: Vec<Slot>,
    /// How many of the free ones to claim.
    pub(super) claim: usize,
}

/// Everybody wants an equal share, rounded up: so all slots are wanted, and with equal shares nobody gives any back.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let all = usize::from(Slot::COUNT);
    let share = match view.sharers {
        0 => 0,
        sharers => all.div_ceil(sharers),
    };
    Plan {
        give_back: view.mine.iter().skip(share).copied().collect(),
        claim: share.saturating_sub(view.mine.len()).min(view.free.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(numbers: std::ops::Range<u8>) -> Vec<Slot> {
        numbers.filter_map(Slot::new).collect()
    }

    fn decide(sharers: usize, mine: &[Slot], free: &[Slot]) -> (usize, usize) {
        let plan = plan(&View { sharers, mine, free });
        (plan.give_back.len(), plan.claim)
    }

    #[test]
    fn alone_a_replica_takes_everything_that_is_free() {
        assert_eq!(decide(1, &[], &slots(0..16)), (0, 16));
        assert_eq!(decide(1, &slots(0..10), &slots(10..13)), (0, 3));
    }

    #[test]
    fn a_new_replica_gets_half_and_not_more() {
        assert_eq!(decide(2, &slots(0..16), &[]), (8, 0));
        assert_eq!(decide(2, &[], &slots(0..16)), (0, 8));
        assert_eq!(decide(2, &slots(0..8), &slots(8..16)), (0, 0));
    }

    #[test]
    fn one_that_may_own_none_gives_all_back() {
        assert_eq!(decide(0, &slots(0..5), &slots(5..16)), (5, 0));
    }

    /// Any number of replicas that look one after the other, in any state: after a few rounds every slot is owned,
    /// nobody has more than its share, and nothing moves any more.
    #[test]
    fn shares_settle_and_stay() {
        for replicas in 1..=20_usize {
            for first in 0..replicas {
                let mut owned: Vec<Vec<Slot>> = vec![Vec::new(); replicas];
                owned[first] = slots(0..16);
                for round in 0..4 {
                    let mut moved = false;
                    for me in 0..replicas {
                        let taken: Vec<Slot> = owned.iter().flatten().copied().collect();
                        let free: Vec<Slot> = Slot::all().filter(|slot| !taken.contains(slot)).collect();
                        let plan = plan(&View {
                            sharers: replicas,
                            mine: &owned[me],
                            free: &free,
                        });
                        moved |= plan.claim > 0 || !plan.give_back.is_empty();
                        owned[me].retain(|slot| !plan.give_back.contains(slot));
                        owned[me].extend(free.into_iter().take(plan.claim));
                    }
                    assert!(round < 3 || !moved, "{replicas} replicas do not settle");
                }
                assert_eq!(owned.iter().flatten().count(), 16);
                let most = 16_usize.div_ceil(replicas);
                assert!(owned.iter().all(|slots| slots.len() <= most), "{owned:?}");
            }
        }
    }
}
