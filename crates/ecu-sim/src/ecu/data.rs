//! Identifiers, outputs and faults.

use std::time::Duration;

use uds::{DtcRecord, IoControl, Nrc, Response, Session};

use super::{Done, Ecu, Outcome, Program};
use crate::memory::{code_key, did_key};
use crate::spec;

const DID_SUPPLY: u16 = 0x2110;
const DID_FINGERPRINT: u16 = 0xF15A;
const ALL_DTCS: u32 = 0xFF_FFFF;

impl Ecu {
    pub(super) fn read(&mut self, did: u16, now: Duration) -> Outcome {
        self.finish_runs(now);
        let data = self.value(did).ok_or(Nrc::RequestOutOfRange)?;
        Ok(Done::now(Response::Data { did, data }))
    }

    fn value(&self, did: u16) -> Option<Vec<u8>> {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        match did {
            0xF190 => return text(&self.vin),
            0xF187 => return text(&self.spec.part),
            0xF191 => return text(&self.spec.hw),
            0xF18C => return text(&self.spec.serial),
            0xF180 => return text(&self.spec.boot),
            0xF186 => return Some(vec![self.session.code()]),
            DID_FINGERPRINT => return text(self.memory.fingerprint.as_deref()?),
            // Without a valid application there is nothing to name.
            0xF181 => {
                return text(&format!(
                    "{}-APP",
                    self.memory.app_valid.then_some(&self.spec.name)?
                ));
            }
            0xF189 => return text(self.memory.software.as_deref()?),
            DID_SUPPLY => return Some(self.supply().to_be_bytes().to_vec()),
            _ => {}
        }
        if self.program == Program::Boot {
            return None;
        }
        let mut held = self
            .spec
            .outputs
            .iter()
            .filter(|output| self.held.contains(&output.did));
        let forced = held.find_map(|output| output.effects.get(&did));
        let kept = self.memory.values.get(&did_key(did));
        let given = self.spec.values.get(&did);
        forced.or(kept).or(given).map(|text| spec::bytes(text))
    }

    /// In units of 10 mV.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the type's range"
    )]
    fn supply(&self) -> u16 {
        (self.spec.supply_v * 100.0)
            .round()
            .clamp(0.0, f64::from(u16::MAX)) as u16
    }

    pub(super) fn write(&mut self, did: u16, data: &[u8]) -> Outcome {
        if did == DID_FINGERPRINT && self.session == Session::Programming {
            self.demand_programming()?;
            if data.len() > 64 {
                return Err(Nrc::IncorrectMessageLength);
            }
            let text = String::from_utf8_lossy(data).into_owned();
            self.keep().fingerprint = Some(text);
        } else {
            let length = *self.spec.writable.get(&did).ok_or(Nrc::RequestOutOfRange)?;
            if self.session != Session::Extended || self.program == Program::Boot {
                return Err(Nrc::RequestOutOfRange);
            }
            if data.len() != length {
                return Err(Nrc::IncorrectMessageLength);
            }
            self.demand_extended()?;
            self.keep().values.insert(did_key(did), hex::encode(data));
        }
        *self.keep().counters.writes.entry(did_key(did)).or_default() += 1;
        Ok(Done::now(Response::WriteData { did }))
    }

    pub(super) fn control_output(&mut self, did: u16, control: IoControl, state: Vec<u8>) -> Outcome {
        if !self.spec.outputs.iter().any(|output| output.did == did) {
            return Err(Nrc::RequestOutOfRange);
        }
        match control {
            IoControl::ShortTermAdjustment => {
                if state.is_empty() {
                    return Err(Nrc::IncorrectMessageLength);
                }
                if !self.held.contains(&did) {
                    self.held.push(did);
                }
                self.keep().counters.actuations += 1;
            }
            IoControl::ReturnControl => {
                if !state.is_empty() {
                    return Err(Nrc::IncorrectMessageLength);
                }
                if self.held.contains(&did) {
                    self.held.retain(|held| *held != did);
                    self.keep().counters.returns += 1;
                }
            }
            IoControl::ResetToDefault | IoControl::Freeze => return Err(Nrc::RequestOutOfRange),
        }
        Ok(Done::now(Response::InputOutputControl { did, control, state }))
    }

    pub(super) fn read_dtcs(&self, mask: u8) -> Done {
        let records = self
            .memory
            .dtcs
            .iter()
            .filter(|(_, status)| **status & mask != 0)
            .filter_map(|(code, status)| {
                Some(DtcRecord {
                    code: u32::from_str_radix(code, 16).ok()?,
                    status: *status,
                })
            })
            .collect();
        Done::now(Response::Dtcs {
            availability_mask: 0xFF,
            records,
        })
    }

    pub(super) fn clear_dtcs(&mut self, group: u32) -> Outcome {
        if group != ALL_DTCS && !self.memory.dtcs.contains_key(&code_key(group)) {
            return Err(Nrc::RequestOutOfRange);
        }
        let permanent: Vec<String> = self
            .spec
            .dtcs
            .iter()
            .filter(|dtc| dtc.permanent)
            .map(|dtc| code_key(dtc.code))
            .collect();
        let memory = self.keep();
        memory
            .dtcs
            .retain(|code, _| permanent.contains(code) || (group != ALL_DTCS && *code != code_key(group)));
        memory.counters.clears += 1;
        Ok(Done::now(Response::ClearDtcs))
    }

    pub(super) const fn supply_v(&self) -> f64 {
        self.spec.supply_v
    }
}
