//! Security access.

use std::time::Duration;

use uds::{Nrc, Response, Session};

use super::{Done, Ecu, Outcome};
use crate::key::key_of;
use crate::memory::EcuMemory;
use crate::spec;

/// Level of the application.
const LEVEL_EXTENDED: u8 = 0x01;
/// Level of programming.
const LEVEL_PROGRAMMING: u8 = 0x11;
/// Wrong keys after which nothing is tried for a while.
const MAX_WRONG_KEYS: u32 = 3;

/// State of the lock.
#[derive(Debug, Default)]
pub(super) struct Lock {
    open: Option<u8>,
    asked: Option<(u8, Vec<u8>)>,
    not_before: Duration,
}

impl Lock {
    /// A power cut does not shorten the delay: it begins again.
    pub(super) fn at_start(memory: &EcuMemory, now: Duration, delay_ms: u64) -> Self {
        let locked = memory.wrong_keys >= MAX_WRONG_KEYS;
        let delay = if locked {
            Duration::from_millis(delay_ms)
        } else {
            Duration::ZERO
        };
        Self {
            not_before: now.saturating_add(delay),
            ..Self::default()
        }
    }

    pub(super) fn close(&mut self) {
        self.open = None;
        self.asked = None;
    }

    pub(super) fn demand(&self, level: u8) -> Result<(), Nrc> {
        if self.open == Some(level) {
            Ok(())
        } else {
            Err(Nrc::SecurityAccessDenied)
        }
    }
}

impl Ecu {
    pub(super) fn demand_extended(&self) -> Result<(), Nrc> {
        self.lock.demand(LEVEL_EXTENDED)
    }

    pub(super) fn demand_programming(&self) -> Result<(), Nrc> {
        self.lock.demand(LEVEL_PROGRAMMING)
    }

    fn check_level(&self, level: u8) -> Result<(), Nrc> {
        match (level, self.session) {
            (LEVEL_EXTENDED, Session::Extended) | (LEVEL_PROGRAMMING, Session::Programming) => Ok(()),
            (LEVEL_EXTENDED | LEVEL_PROGRAMMING, _) => Err(Nrc::SubFunctionNotSupportedInActiveSession),
            _ => Err(Nrc::SubFunctionNotSupported),
        }
    }

    pub(super) fn give_seed(&mut self, level: u8, now: Duration) -> Outcome {
        self.check_level(level)?;
        if now < self.lock.not_before {
            return Err(Nrc::RequiredTimeDelayNotExpired);
        }
        if self.lock.open == Some(level) {
            return Ok(Done::now(Response::Seed {
                level,
                seed: vec![0; 8],
            }));
        }
        // A seed of zeros would say "unlocked".
        let seed = (self.next_random() | 1).to_be_bytes().to_vec();
        self.lock.asked = Some((level, seed.clone()));
        Ok(Done::now(Response::Seed { level, seed }))
    }

    pub(super) fn take_key(&mut self, level: u8, key: &[u8], now: Duration) -> Outcome {
        let seed_level = level.saturating_sub(1);
        self.check_level(seed_level)?;
        if key.len() != 8 {
            return Err(Nrc::IncorrectMessageLength);
        }
        let Some((asked, seed)) = self.lock.asked.take() else {
            return Err(Nrc::RequestSequenceError);
        };
        if asked != seed_level {
            return Err(Nrc::RequestSequenceError);
        }
        if key_of(&spec::bytes(&self.spec.secret), seed_level, &seed) == key {
            self.lock.open = Some(seed_level);
            let memory = self.keep();
            memory.wrong_keys = 0;
            memory.counters.unlocks += 1;
            return Ok(Done::now(Response::KeyAccepted { level }));
        }
        let memory = self.keep();
        memory.wrong_keys = memory.wrong_keys.saturating_add(1);
        if memory.wrong_keys < MAX_WRONG_KEYS {
            return Err(Nrc::InvalidKey);
        }
        let delay = Duration::from_millis(self.spec.security_delay_ms);
        self.lock.not_before = now.saturating_add(delay);
        Err(Nrc::ExceededNumberOfAttempts)
    }
}
