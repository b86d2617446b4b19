//! The books: what the benches made against what arrived. Pure, so that hand-made histories can be given to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fleet_domain::Seq;

use crate::history::{Arrived, Made, Place};

/// Faults shown of one kind.
const SHOWN: usize = 8;

/// What is wrong, each with its place and where it was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Counted on a bench's disk and nowhere else.
    pub(crate) lost: Vec<Place>,
    /// Arrived again.
    pub(crate) duplicates: Vec<(Place, String)>,
    /// After a later event of its bench in the same lane.
    pub(crate) reordered: Vec<(Place, String)>,
    /// Arrived with other bytes, or under another id.
    pub(crate) changed: Vec<(Place, String)>,
    /// Arrived, and never made.
    pub(crate) phantoms: Vec<(Place, String)>,
    /// Arrived although it has to be rejected.
    pub(crate) refused: Vec<(Place, String)>,
}

impl Faults {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost: Vec<_> = self.lost.iter().map(|place| format!("{place:?}")).collect();
        kind(f, "lost", &lost)?;
        let kinds = [
            ("duplicates", &self.duplicates),
            ("reordered", &self.reordered),
            ("changed", &self.changed),
            ("phantoms", &self.phantoms),
            ("refused but there", &self.refused),
        ];
        for (name, faults) in kinds {
            let shown: Vec<_> = faults
                .iter()
                .map(|(place, at)| format!("{place:?} at {at}"))
                .collect();
            kind(f, name, &shown)?;
        }
        Ok(())
    }
}

fn kind(f: &mut fmt::Formatter<'_>, name: &str, faults: &[String]) -> fmt::Result {
    if faults.is_empty() {
        return Ok(());
    }
    writeln!(f, "{} {name}:", faults.len())?;
    for fault in faults.iter().take(SHOWN) {
        writeln!(f, "  {fault}")?;
    }
    if faults.len() > SHOWN {
        writeln!(f, "  ...")?;
    }
    Ok(())
}

/// Compares. `arrived` lies in the order of its place; lanes are judged each for itself.
pub(crate) fn judge(made: &[Made], arrived: &[Arrived]) -> Faults {
    let known: BTreeMap<&Place, &Made> = made.iter().map(|made| (&made.place, made)).collect();
    let mut faults = Faults::default();
    let mut seen: BTreeSet<&Place> = BTreeSet::new();
    // Last place of each bench in each lane: which of its spools, and the position there.
    let mut last: BTreeMap<(&str, &str), (usize, Seq)> = BTreeMap::new();
    for event in arrived {
        let fault = || (event.place.clone(), event.at.clone());
        let Some(made) = known.get(&event.place) else {
            faults.phantoms.push(fault());
            continue;
        };
        if made.hash != event.hash || made.id != event.id {
            faults.changed.push(fault());
        }
        if made.refused {
            faults.refused.push(fault());
        }
        if !seen.insert(&event.place) {
            faults.duplicates.push(fault());
            continue;
        }
        let here = (made.ordinal, event.place.seq);
        let last = last.entry((&event.lane, &event.place.device)).or_insert(here);
        if *last > here {
            faults.reordered.push(fault());
        }
        *last = here.max(*last);
    }
    let counted = made.iter().filter(|made| !made.refused);
    faults.lost = counted
        .filter(|made| !seen.contains(&made.place))
        .map(|made| made.place.clone())
        .collect();
    faults
}

#[cfg(test)]
mod tests {
    //! A judge that finds nothing proves nothing.

    use fleet_domain::{EventId, SpoolId};
    use uuid::Uuid;

    use super::*;
    use crate::history::hash;

    fn made(spool: usize, seq: Seq) -> Made {
        let number = u128::from(seq) + 1000 * spool as u128;
        Made {
            place: Place {
                device: "bench-1".to_owned(),
                spool: SpoolId(Uuid::from_u128(spool as u128)),
                seq,
            },
            ordinal: spool,
            id: EventId(Uuid::from_u128(number)),
            topic: "vds.job-events.v1",
            vin: None,
            hash: hash(&number.to_be_bytes()),
            bytes: 16,
            refused: false,
        }
    }

    /// Two spools of three events.
    fn all() -> Vec<Made> {
        (0..2)
            .flat_map(|spool| (1..=3).map(move |seq| made(spool, seq)))
            .collect()
    }

    fn arrived(made: &Made) -> Arrived {
        Arrived {
            place: made.place.clone(),
            id: made.id,
            hash: made.hash,
            lane: "key".to_owned(),
            at: "here".to_owned(),
        }
    }

    /// What the judge says when the events of these places arrive in this order.
    fn judged(order: &[usize]) -> Faults {
        let made = all();
        let arrived: Vec<_> = order.iter().map(|place| arrived(&made[*place])).collect();
        judge(&made, &arrived)
    }

    fn places(faults: &[(Place, String)]) -> Vec<Place> {
        faults.iter().map(|(place, _)| place.clone()).collect()
    }

    fn place(index: usize) -> Place {
        all().swap_remove(index).place
    }

    #[test]
    fn each_event_once_and_in_order_is_no_fault() {
        assert_eq!(judged(&[0, 1, 2, 3, 4, 5]), Faults::default());
    }

    #[test]
    fn a_missing_event_is_lost() {
        assert_eq!(judged(&[0, 1, 3, 4, 5]).lost, [place(2)]);
        assert_eq!(judged(&[]).lost.len(), 6);
    }

    #[test]
    fn a_second_copy_is_a_duplicate_and_not_also_out_of_order() {
        let faults = judged(&[0, 1, 0, 2, 3, 4, 5]);
        assert_eq!(places(&faults.duplicates), [place(0)]);
        assert!(faults.reordered.is_empty() && faults.lost.is_empty(), "{faults}");
    }

    #[test]
    fn an_event_after_a_later_one_of_its_spool_is_out_of_order() {
        assert_eq!(places(&judged(&[0, 2, 1, 3, 4, 5]).reordered), [place(1)]);
    }

    #[test]
    fn each_event_behind_is_named_not_only_the_first() {
        assert_eq!(
            places(&judged(&[2, 0, 1, 3, 4, 5]).reordered),
            [place(0), place(1)]
        );
    }

    #[test]
    fn a_spool_before_the_end_of_its_predecessor_is_out_of_order() {
        assert_eq!(places(&judged(&[0, 1, 3, 2, 4, 5]).reordered), [place(2)]);
    }

    #[test]
    fn lanes_have_no_order_between_each_other() {
        let made = all();
        let mut arrived: Vec<_> = [3, 4, 5, 0, 1, 2].iter().map(|i| arrived(&made[*i])).collect();
        assert_eq!(judge(&made, &arrived).reordered.len(), 3);
        for event in &mut arrived[3..] {
            event.lane = "another key".to_owned();
        }
        assert_eq!(judge(&made, &arrived), Faults::default());
    }

    #[test]
    fn other_bytes_and_another_id_are_changes() {
        let made = all();
        let mut events: Vec<_> = made.iter().map(arrived).collect();
        events[1].hash = hash(b"something else");
        events[4].id = EventId(Uuid::from_u128(7));
        assert_eq!(places(&judge(&made, &events).changed), [place(1), place(4)]);
    }

    #[test]
    fn what_nobody_made_is_a_phantom_also_under_a_known_bench() {
        let mut known = all();
        let events: Vec<_> = known.iter().map(arrived).collect();
        let gone = known.remove(5);
        assert_eq!(places(&judge(&known, &events).phantoms), [gone.place]);
    }

    #[test]
    fn what_has_to_be_rejected_must_not_arrive_and_is_not_missed() {
        let mut made = all();
        made[2].refused = true;
        let mut events: Vec<_> = made.iter().map(arrived).collect();
        assert_eq!(places(&judge(&made, &events).refused), [place(2)]);
        events.remove(2);
        assert_eq!(judge(&made, &events), Faults::default());
    }

    #[test]
    fn faults_are_named_with_ids_and_place() {
        let text = judged(&[0, 0, 1, 3, 4, 5]).to_string();
        let of_third = format!("bench-1 {} 3", Uuid::nil());
        assert!(text.contains("1 lost") && text.contains(&of_third), "{text}");
        assert!(
            text.contains("1 duplicates") && text.contains(" 1 at here"),
            "{text}"
        );
    }
}
