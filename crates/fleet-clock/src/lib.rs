//! The one place where ambient time and randomness are read.
//!
//! Everything else takes time and identifiers as arguments; `clippy.toml` enforces it.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

/// The wall clock, UTC.
///
/// It may jump; it never decides what is accepted or in which order.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the wall clock is read"
)]
pub fn wall_now() -> Timestamp {
    Timestamp::now()
}

/// Time since boot, including suspend (`CLOCK_BOOTTIME`): a handheld that slept for an hour is an hour older.
///
/// # Panics
/// When the kernel has no such clock (Linux has had it since 2.6.39).
pub fn boot_now() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .expect("CLOCK_BOOTTIME is there on Linux");
    Duration::from(now)
}

/// A fresh UUIDv7 (RFC 9562).
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where identifiers are made"
)]
pub fn new_uuid() -> Uuid {
    Uuid::now_v7()
}

/// A seed for a generator of jitter, from the random part of a fresh UUIDv7.
pub fn jitter_seed() -> u64 {
    let (_, low) = new_uuid().as_u64_pair();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_grow_with_time_and_never_repeat() {
        let ids: Vec<_> = (0..1000).map(|_| new_uuid()).collect();
        assert!(ids.windows(2).all(|w| w[0] < w[1]));
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn boot_time_does_not_run_backwards() {
        let first = boot_now();
        assert!(boot_now() >= first);
    }
}
