//! Alarms of one transaction.

use std::collections::BTreeMap;

use fleet_domain::DeviceId;
use fleet_store::{AlarmKind, NewAlarm};

/// Most characters of a subject: it is part of an index, and parts of it come from outside.
const MAX_SUBJECT: usize = 200;

/// Alarms raised in one transaction: the same kind about the same subject is one alarm, raised several times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raised {
    by_subject: BTreeMap<(&'static str, String), (NewAlarm, u64)>,
}

impl Raised {
    /// Raises an alarm.
    pub fn raise(&mut self, kind: AlarmKind, subject: String, device: Option<&DeviceId>, detail: String) {
        self.add(
            NewAlarm {
                kind,
                subject,
                device: device.cloned(),
                detail,
            },
            1,
        );
    }

    /// Takes over the alarms of another part of the transaction.
    pub fn merge(&mut self, other: Self) {
        for (alarm, times) in other.by_subject.into_values() {
            self.add(alarm, times);
        }
    }

    /// The last detail stands.
    fn add(&mut self, mut alarm: NewAlarm, times: u64) {
        if let Some((end, _)) = alarm.subject.char_indices().nth(MAX_SUBJECT) {
            alarm.subject.truncate(end);
        }
        let key = (alarm.kind.as_str(), alarm.subject.clone());
        let before = self.by_subject.get(&key).map_or(0, |(_, times)| *times);
        self.by_subject.insert(key, (alarm, before.saturating_add(times)));
    }

    /// Nothing was raised.
    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty()
    }

    /// The alarms with how often each was raised, ordered by kind and subject: two transactions that lock them in
    /// this order don't wait for each other in a circle.
    pub fn iter(&self) -> impl Iterator<Item = (&NewAlarm, u64)> {
        self.by_subject.values().map(|(alarm, times)| (alarm, *times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_subject_is_one_alarm_and_its_last_detail_stands() {
        let mut raised = Raised::default();
        let mut other = Raised::default();
        raised.raise(AlarmKind::Conflict, "b".to_owned(), None, "first".to_owned());
        raised.raise(AlarmKind::Conflict, "a".to_owned(), None, "other".to_owned());
        other.raise(AlarmKind::Conflict, "b".to_owned(), None, "last".to_owned());
        raised.merge(other);
        let seen: Vec<_> = raised
            .iter()
            .map(|(alarm, times)| (alarm.subject.as_str(), alarm.detail.as_str(), times))
            .collect();
        assert_eq!(seen, [("a", "other", 1), ("b", "last", 2)]);
    }

    #[test]
    fn a_subject_from_outside_has_an_end() {
        let mut raised = Raised::default();
        raised.raise(AlarmKind::Unprojected, "ü".repeat(5000), None, String::new());
        let lengths: Vec<_> = raised
            .iter()
            .map(|(alarm, _)| alarm.subject.chars().count())
            .collect();
        assert_eq!(lengths, [MAX_SUBJECT]);
    }
}
