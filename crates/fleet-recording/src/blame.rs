//! Which event a database refuses.

use std::collections::{BTreeMap, BTreeSet};

/// Trials of one search. Each one writes the batch again, so a batch full of refused events is not told apart to
/// the last one.
const MAX_TRIALS: u32 = 200;

/// Messages of the batch, by their index, whose meaning can't be stored, and why. They are stored as they came,
/// receipted, relayed and marked (delivery rule 12).
pub type Blamed = BTreeMap<usize, String>;

/// The search for the events at fault, when a database refuses what a batch led to: the suspects are halved until
/// those at fault stand alone.
///
/// [`crate::record`] knows what can't be stored and marks it by itself; this is for what nobody foresaw.
#[derive(Debug)]
pub struct Blame {
    parts: Vec<Vec<usize>>,
    kept: BTreeSet<usize>,
    found: Blamed,
    trials: u32,
}

impl Blame {
    /// A search among the messages of these indexes.
    pub fn among(suspects: Vec<usize>) -> Self {
        Self {
            parts: if suspects.is_empty() {
                Vec::new()
            } else {
                vec![suspects]
            },
            kept: BTreeSet::new(),
            found: Blamed::new(),
            trials: 0,
        }
    }

    /// What the next trial leaves out; `None` at the end of the search.
    pub fn trial(&self) -> Option<Blamed> {
        self.parts.split_last()?;
        let waiting = self.parts.iter().rev().skip(1).flatten();
        let mut out = self.found.clone();
        out.extend(waiting.map(|item| (*item, "not tried yet".to_owned())));
        Some(out)
    }

    /// The trial was written.
    pub fn passed(&mut self) {
        self.trials += 1;
        self.kept.extend(self.parts.pop().into_iter().flatten());
    }

    /// The trial was refused.
    pub fn refused(&mut self, reason: &str) {
        self.trials += 1;
        let Some(mut part) = self.parts.pop() else { return };
        if self.trials >= MAX_TRIALS {
            self.parts.push(part);
            for item in std::mem::take(&mut self.parts).into_iter().flatten() {
                self.found.insert(item, reason.to_owned());
            }
        } else if let [item] = part[..] {
            self.found.insert(item, reason.to_owned());
        } else {
            let later = part.split_off(part.len() / 2);
            self.parts.push(later);
            self.parts.push(part);
        }
    }

    /// The events at fault.
    pub fn found(self) -> Blamed {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A database that refuses some events, whatever else is written.
    fn search(suspects: usize, bad: &BTreeSet<usize>) -> (Blamed, u32) {
        let mut blame = Blame::among((0..suspects).collect());
        let mut trials = 0;
        while let Some(out) = blame.trial() {
            trials += 1;
            if bad.iter().all(|item| *item >= suspects || out.contains_key(item)) {
                blame.passed();
            } else {
                blame.refused("refused");
            }
        }
        (blame.found(), trials)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn exactly_the_events_at_fault_are_found(
            suspects in 0..200usize,
            bad in prop::collection::btree_set(0..200usize, 0..8),
        ) {
            let (found, trials) = search(suspects, &bad);
            let expected: BTreeSet<usize> = bad.into_iter().filter(|item| *item < suspects).collect();
            prop_assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), expected);
            prop_assert!(trials <= MAX_TRIALS);
        }
    }

    #[test]
    fn a_batch_full_of_refused_events_ends_the_search() {
        let all: BTreeSet<usize> = (0..1000).collect();
        let (found, trials) = search(1000, &all);
        assert_eq!(found.len(), 1000);
        assert_eq!(trials, MAX_TRIALS);
    }

    #[test]
    fn events_that_only_clash_with_each_other_lose_one() {
        let mut blame = Blame::among(vec![4, 7]);
        while let Some(out) = blame.trial() {
            if out.contains_key(&4) || out.contains_key(&7) {
                blame.passed();
            } else {
                blame.refused("a clash");
            }
        }
        assert_eq!(blame.found().into_keys().collect::<Vec<_>>(), [7]);
    }
}
