//! Which messages are looked at at all: limits for each bench, and for names that nobody has heard of.
//!
//! What is above a limit is acknowledged to the broker, neither recorded nor receipted, and counted. To a bench that is
//! a gap: its timer sends again what has no receipt, so nothing of a real bench is lost. The gate comes before anything
//! of a message is read but its topic. What it remembers is bounded by the number of benches that may be known: a
//! name that is refused leaves nothing behind.
//!
//! Pure: it is asked with the time as an argument.

use std::collections::HashMap;
use std::time::Duration;

use fleet_domain::{DeviceId, Slot};
use fleet_store::{AlarmKind, NewAlarm};

/// Least time between two alarms about the same.
const TELL_EVERY: Duration = Duration::from_mins(10);

/// `ingest.device_rate`, `ingest.device_burst`, `ingest.new_devices_per_minute`, `fleet.max_devices`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one bench in a second.
    pub device_rate: u32,
    /// Messages of one bench at once, after a quiet time.
    pub device_burst: u32,
    /// Benches in a minute that nobody has heard of.
    pub new_devices_per_minute: u32,
    /// Benches that may be known.
    pub max_devices: u32,
}

/// What becomes of a message at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It is looked at.
    Taken,
    /// Its bench, or the slot that strays came by, has sent too much.
    Flooded,
    /// Its bench is new, and too many are.
    TooManyDevices,
}

/// So many at once, so many in a second.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Duration,
    told: Option<Duration>,
}

impl Bucket {
    fn full(burst: f64, now: Duration) -> Self {
        Self {
            left: burst,
            at: now,
            told: None,
        }
    }

    fn take(&mut self, per_second: f64, burst: f64, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = passed.mul_add(per_second, self.left).min(burst);
        let there = self.left >= 1.0;
        if there {
            self.left -= 1.0;
        }
        there
    }

    /// Whether it is time to tell a person again.
    fn tell(&mut self, now: Duration) -> bool {
        let due = self.told.is_none_or(|told| now >= told + TELL_EVERY);
        if due {
            self.told = Some(now);
        }
        due
    }
}

/// The gate of one server.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    known: HashMap<Box<str>, Bucket>,
    new: Bucket,
    /// Messages whose topic names no bench, by the slot that brought them.
    strays: Vec<Bucket>,
    alarms: Vec<NewAlarm>,
    /// The names were read from the database.
    named: bool,
}

impl Gate {
    pub(crate) fn new(limits: Limits, now: Duration) -> Self {
        Self {
            limits,
            known: HashMap::new(),
            new: Bucket::full(f64::from(limits.new_devices_per_minute), now),
            strays: vec![Bucket::full(f64::from(limits.device_burst), now); usize::from(Slot::COUNT)],
            alarms: Vec::new(),
            named: false,
        }
    }

    /// The device level of this topic is a bench that is not known here.
    pub(crate) fn is_new(&self, topic: &str) -> bool {
        !self.known.contains_key(device_level(topic))
    }

    /// Benches that the database has.
    pub(crate) fn learn(&mut self, names: &[DeviceId], now: Duration) {
        let full = Bucket::full(f64::from(self.limits.device_burst), now);
        for name in names {
            if !self.known.contains_key(name.as_str()) {
                self.known.insert(name.as_str().into(), full);
            }
        }
        self.named = true;
    }

    /// Most names that [`Gate::learn`] is given.
    pub(crate) fn most(&self) -> u32 {
        self.limits.max_devices
    }

    /// Benches that it remembers.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.known.len()
    }

    /// Decides on a message that came by `slot`.
    pub(crate) fn pass(&mut self, slot: Slot, topic: &str, now: Duration) -> Passage {
        let (rate, burst) = (
            f64::from(self.limits.device_rate),
            f64::from(self.limits.device_burst),
        );
        let name = device_level(topic);
        if let Some(bucket) = self.known.get_mut(name) {
            if bucket.take(rate, burst, now) {
                return Passage::Taken;
            }
            if bucket.tell(now) {
                self.alarms.push(flooded(name, &self.limits));
            }
            return Passage::Flooded;
        }
        let Some(device) = name
            .parse::<DeviceId>()
            .ok()
            .filter(|device| Slot::of(device) == slot)
        else {
            return self.stray(slot, now);
        };
        // Before the names are known, nobody can be told from a stranger.
        if !self.named {
            return Passage::Taken;
        }
        let room = u32::try_from(self.known.len()).is_ok_and(|known| known < self.limits.max_devices);
        let per_minute = f64::from(self.limits.new_devices_per_minute);
        if room && self.new.take(per_minute / 60.0, per_minute, now) {
            let mut bucket = Bucket::full(burst, now);
            bucket.take(rate, burst, now);
            self.known.insert(device.as_str().into(), bucket);
            return Passage::Taken;
        }
        if self.new.tell(now) {
            self.alarms.push(too_many(&device, room, &self.limits));
        }
        Passage::TooManyDevices
    }

    fn stray(&mut self, slot: Slot, now: Duration) -> Passage {
        let (rate, burst) = (self.limits.device_rate, self.limits.device_burst);
        let Some(bucket) = self.strays.get_mut(usize::from(slot.number())) else {
            return Passage::Taken;
        };
        if bucket.take(f64::from(rate), f64::from(burst), now) {
            return Passage::Taken;
        }
        if bucket.tell(now) {
            self.alarms.push(NewAlarm {
                kind: AlarmKind::Flooded,
                subject: format!("slot {slot}"),
                device: None,
                detail: format!(
                    "more than {rate} messages a second come by slot {slot} on topics of no bench: those above are dropped; look for a client that is not an agent"
                ),
            });
        }
        Passage::Flooded
    }

    /// Alarms that came up and were not taken yet, at most so many.
    pub(crate) fn take_alarms(&mut self, most: usize) -> Vec<NewAlarm> {
        let count = most.min(self.alarms.len());
        self.alarms.drain(..count).collect()
    }
}

/// vds/v1/{plant}/{slot}/{device}/{channel}, as the subscription's filter has it.
fn device_level(topic: &str) -> &str {
    topic.split('/').nth(4).unwrap_or_default()
}

fn flooded(name: &str, limits: &Limits) -> NewAlarm {
    NewAlarm {
        kind: AlarmKind::Flooded,
        subject: name.to_owned(),
        device: name.parse().ok(),
        detail: format!(
            "{name} sends more than {} messages a second (ingest.device_rate): those above are not taken, the bench sends them again",
            limits.device_rate
        ),
    }
}

fn too_many(device: &DeviceId, room: bool, limits: &Limits) -> NewAlarm {
    let (subject, why) = if room {
        let most = limits.new_devices_per_minute;
        (
            "new_devices_per_minute",
            format!("more than {most} new benches in a minute (ingest.new_devices_per_minute)"),
        )
    } else {
        let most = limits.max_devices;
        (
            "max_devices",
            format!("{most} benches are known (fleet.max_devices)"),
        )
    };
    NewAlarm {
        kind: AlarmKind::TooManyDevices,
        subject: subject.to_owned(),
        device: None,
        detail: format!(
            "{why}: nothing is taken of names above that, the last of them {device}; known benches go on"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        device_rate: 10,
        device_burst: 20,
        new_devices_per_minute: 60,
        max_devices: 100,
    };

    fn topic(name: &str) -> (Slot, String) {
        let slot = Slot::of(&name.parse().unwrap());
        (slot, format!("vds/v1/plant-1/{slot}/{name}/events"))
    }

    fn pass(gate: &mut Gate, name: &str, now: Duration) -> Passage {
        let (slot, topic) = topic(name);
        gate.pass(slot, &topic, now)
    }

    fn gate() -> Gate {
        let mut gate = Gate::new(LIMITS, Duration::ZERO);
        gate.learn(
            &["bench-1".parse().unwrap(), "bench-2".parse().unwrap()],
            Duration::ZERO,
        );
        gate
    }

    #[test]
    fn a_bench_has_its_burst_and_its_rate_and_is_told_of_once() {
        let mut gate = gate();
        let taken = (0..100).filter(|_| pass(&mut gate, "bench-1", Duration::ZERO) == Passage::Taken);
        assert_eq!(taken.count(), 20);
        assert_eq!(
            pass(&mut gate, "bench-2", Duration::ZERO),
            Passage::Taken,
            "another one goes on"
        );
        let later = Duration::from_secs(1);
        let taken = (0..100).filter(|_| pass(&mut gate, "bench-1", later) == Passage::Taken);
        assert_eq!(taken.count(), 10);
        let alarms = gate.take_alarms(9);
        assert_eq!(alarms.len(), 1);
        assert_eq!(
            (alarms[0].kind, alarms[0].subject.as_str()),
            (AlarmKind::Flooded, "bench-1")
        );
        assert!(gate.take_alarms(9).is_empty());
    }

    #[test]
    fn names_that_are_made_up_leave_nothing_behind_and_known_benches_go_on() {
        let mut gate = gate();
        let mut taken = 0;
        for n in 0..200_000_u32 {
            let now = Duration::from_micros(u64::from(n) * 500);
            if pass(&mut gate, &format!("stranger-{n}"), now) == Passage::Taken {
                taken += 1;
            }
            if n % 50_000 == 0 {
                assert_eq!(pass(&mut gate, "bench-1", now), Passage::Taken);
            }
        }
        assert_eq!(
            (taken, gate.remembered()),
            (98, 100),
            "fleet.max_devices is the end"
        );
        let alarms = gate.take_alarms(9);
        assert!(alarms.iter().all(|alarm| alarm.kind == AlarmKind::TooManyDevices));
        assert_eq!(alarms.len(), 1, "{alarms:?}");
    }

    #[test]
    fn so_many_new_benches_come_in_a_minute() {
        let mut gate = Gate::new(
            Limits {
                max_devices: 1000,
                ..LIMITS
            },
            Duration::ZERO,
        );
        gate.learn(&[], Duration::ZERO);
        let mut at = |second: u64, from: u32| {
            let names = (from..from + 200).map(|n| format!("new-{n}"));
            let now = Duration::from_secs(second);
            names
                .filter(|name| pass(&mut gate, name, now) == Passage::Taken)
                .count()
        };
        assert_eq!(at(0, 0), 60);
        assert_eq!(at(30, 1000), 30);
        assert_eq!(at(3600, 2000), 60);
    }

    #[test]
    fn ten_thousand_known_benches_at_once_are_no_flood() {
        let mut gate = Gate::new(
            Limits {
                max_devices: 20_000,
                ..LIMITS
            },
            Duration::ZERO,
        );
        let names: Vec<DeviceId> = (0..10_000)
            .map(|n| format!("bench-{n}").parse().unwrap())
            .collect();
        gate.learn(&names, Duration::ZERO);
        for _ in 0..16 {
            for name in &names {
                assert_eq!(
                    pass(&mut gate, name.as_str(), Duration::from_secs(1)),
                    Passage::Taken
                );
            }
        }
        assert!(gate.take_alarms(9).is_empty());
    }

    #[test]
    fn topics_of_nobody_are_limited_by_their_slot() {
        let mut gate = gate();
        let (own, _) = topic("bench-1");
        let taken = (0..1000_u32)
            .filter(|n| {
                let topic = format!("vds/v1/plant-1/{own}/not valid {n}/events");
                gate.pass(own, &topic, Duration::ZERO) == Passage::Taken
            })
            .count();
        assert_eq!((taken, gate.remembered()), (20, 2));
        assert_eq!(gate.take_alarms(9)[0].subject, format!("slot {own}"));
        let other = Slot::all().find(|slot| *slot != own).unwrap();
        assert_eq!(
            gate.pass(other, "vds/v1/plant-1/x/y z/events", Duration::ZERO),
            Passage::Taken
        );
    }

    #[test]
    fn before_the_names_are_read_nobody_is_a_stranger() {
        let mut gate = Gate::new(
            Limits {
                new_devices_per_minute: 1,
                ..LIMITS
            },
            Duration::ZERO,
        );
        for n in 0..50 {
            assert_eq!(
                pass(&mut gate, &format!("bench-{n}"), Duration::ZERO),
                Passage::Taken
            );
        }
        assert_eq!(gate.remembered(), 0);
    }
}
