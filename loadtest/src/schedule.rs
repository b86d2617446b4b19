//! When each event is due. Pure, and fixed before the load begins: a system that gets slow does not get less load,
//! and what it makes wait is measured from here (no coordinated omission).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// A time with a constant rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// How long.
    pub lasts: Duration,
    /// Events per second of all benches.
    pub rate: f64,
}

/// Rates over time: one stretch after the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve(pub Vec<Stretch>);

impl Curve {
    /// One rate, for ever.
    pub fn steady(rate: f64) -> Self {
        Self(vec![Stretch {
            lasts: Duration::MAX,
            rate,
        }])
    }

    /// How long it lasts.
    pub fn lasts(&self) -> Duration {
        let total = self.0.iter().map(|stretch| stretch.lasts);
        total.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Events that it brings on average.
    pub fn events(&self) -> f64 {
        self.0
            .iter()
            .map(|stretch| stretch.lasts.as_secs_f64() * stretch.rate)
            .sum()
    }

    /// The same with each rate divided by `parts`: for one of so many threads.
    pub fn share(&self, parts: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few threads")]
        let parts = parts.max(1) as f64;
        let share = self.0.iter().map(|stretch| Stretch {
            rate: stretch.rate / parts,
            ..*stretch
        });
        Self(share.collect())
    }
}

/// Times since the begin and the bench whose event is due then, in the order of time: a Poisson process with the
/// curve's rate, as of many benches that know nothing of each other. Ends with the curve.
#[derive(Debug, Clone)]
pub struct Schedule {
    curve: Curve,
    benches: usize,
    rng: Rng,
    stretch: usize,
    /// Begin of that stretch, seconds.
    begun: f64,
    /// Time of the last event, seconds.
    at: f64,
}

impl Schedule {
    /// A schedule for benches `0..benches`.
    pub fn new(curve: Curve, benches: usize, seed: u64) -> Self {
        Self {
            curve,
            benches,
            rng: Rng::new(seed),
            stretch: 0,
            begun: 0.0,
            at: 0.0,
        }
    }
}

impl Iterator for Schedule {
    type Item = (Duration, usize);

    fn next(&mut self) -> Option<(Duration, usize)> {
        if self.benches == 0 {
            return None;
        }
        // What is left of a wait of mean 1 is used up by each stretch at its own rate.
        let mut left = self.rng.exponential();
        loop {
            let stretch = self.curve.0.get(self.stretch)?;
            let end = self.begun + stretch.lasts.as_secs_f64();
            let takes = if stretch.rate > 0.0 {
                left / stretch.rate
            } else {
                f64::INFINITY
            };
            if self.at + takes < end {
                self.at += takes;
                let at = Duration::try_from_secs_f64(self.at).ok()?;
                return Some((at, self.rng.place(self.benches)));
            }
            left -= (end - self.at) * stretch.rate;
            self.at = end;
            self.begun = end;
            self.stretch += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(seconds: u64, rate: f64) -> Stretch {
        Stretch {
            lasts: Duration::from_secs(seconds),
            rate,
        }
    }

    fn between(schedule: &[(Duration, usize)], from: u64, to: u64) -> usize {
        let range = Duration::from_secs(from)..Duration::from_secs(to);
        schedule.iter().filter(|(at, _)| range.contains(at)).count()
    }

    #[test]
    fn each_stretch_brings_its_rate_within_what_chance_allows() {
        let curve = Curve(vec![stretch(100, 50.0), stretch(100, 0.0), stretch(50, 400.0)]);
        let all: Vec<_> = Schedule::new(curve.clone(), 7, 3).collect();
        assert!(
            (4_700..5_300).contains(&between(&all, 0, 100)),
            "{}",
            between(&all, 0, 100)
        );
        assert_eq!(between(&all, 100, 200), 0, "a rate of zero is quiet");
        assert!((19_400..20_600).contains(&between(&all, 200, 250)));
        assert!((curve.events() - 25_000.0).abs() < 1e-6);
        assert_eq!(curve.lasts(), Duration::from_secs(250));
    }

    #[test]
    fn times_never_go_back_and_end_with_the_curve() {
        let all: Vec<_> = Schedule::new(Curve(vec![stretch(20, 1000.0)]), 3, 9).collect();
        assert!(all.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(
            all.iter()
                .all(|(at, bench)| *at < Duration::from_secs(20) && *bench < 3)
        );
    }

    #[test]
    fn every_bench_has_its_part() {
        let all: Vec<_> = Schedule::new(Curve(vec![stretch(100, 100.0)]), 10, 1).collect();
        for bench in 0..10 {
            let part = all.iter().filter(|(_, of)| *of == bench).count();
            assert!(
                (850..1150).contains(&part),
                "bench {bench} has {part} of {}",
                all.len()
            );
        }
    }

    #[test]
    fn a_seed_is_a_schedule() {
        let of = |seed| -> Vec<_> { Schedule::new(Curve::steady(100.0), 5, seed).take(500).collect() };
        assert_eq!(of(4), of(4));
        assert_ne!(of(4), of(5));
    }

    #[test]
    fn nobody_and_nothing_end_at_once() {
        assert_eq!(Schedule::new(Curve::steady(10.0), 0, 1).next(), None);
        assert_eq!(Schedule::new(Curve::default(), 5, 1).next(), None);
        assert_eq!(Schedule::new(Curve(vec![stretch(5, 0.0)]), 5, 1).next(), None);
    }

    #[test]
    fn the_parts_of_a_curve_add_up() {
        let curve = Curve(vec![stretch(10, 90.0)]);
        assert!((curve.share(3).events() * 3.0 - curve.events()).abs() < 1e-6);
    }
}
