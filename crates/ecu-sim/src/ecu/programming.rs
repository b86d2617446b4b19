//! Erase, transfer, check.

use std::time::Duration;

use sha2::{Digest, Sha256};
use uds::{BlockCounter, Nrc, Request, Response, RoutineAction, Session};

use super::{Done, Ecu, Outcome, Reaction};
use crate::fault::OnBlock;
use crate::image::Image;
use crate::memory::Flashed;

/// Service identifier and counter of a block.
const OVERHEAD: usize = 2;
const ERASE: u16 = 0xFF00;
const CHECK: u16 = 0x0202;

/// A running download, in working memory.
#[derive(Debug)]
pub(super) struct Transfer {
    size: usize,
    data: Vec<u8>,
    expected: BlockCounter,
    last: Option<u8>,
    blocks: u64,
}

impl Ecu {
    pub(super) fn programming_routine(&mut self, action: RoutineAction, id: u16, option: &[u8]) -> Outcome {
        if self.session != Session::Programming {
            // Unknown outside the boot loader.
            return Err(Nrc::RequestOutOfRange);
        }
        if action != RoutineAction::Start {
            return Err(Nrc::SubFunctionNotSupported);
        }
        self.demand_programming()?;
        let (status, takes) = match id {
            ERASE => (self.erase(option)?, Duration::from_millis(self.spec.erase_ms)),
            CHECK => (self.check(option)?, Duration::from_millis(50)),
            _ => (self.check_dependencies(option)?, Duration::ZERO),
        };
        self.count_routine(id);
        let response = Response::Routine { action, id, status };
        Ok(Done {
            takes,
            ..Done::now(response)
        })
    }

    fn erase(&mut self, option: &[u8]) -> Result<Vec<u8>, Nrc> {
        if !option.is_empty() {
            return Err(Nrc::IncorrectMessageLength);
        }
        // Who changes the software has to be known before it is gone.
        if self.memory.fingerprint.is_none() {
            return Err(Nrc::ConditionsNotCorrect);
        }
        self.transfer = None;
        let memory = self.keep();
        memory.app_valid = false;
        memory.erased = true;
        memory.flashed = None;
        memory.counters.erases += 1;
        if !self.faults.keeps_version() {
            self.keep().software = None;
        }
        Ok(vec![0x00])
    }

    fn check(&mut self, option: &[u8]) -> Result<Vec<u8>, Nrc> {
        let crc: [u8; 4] = option.try_into().map_err(|_| Nrc::IncorrectMessageLength)?;
        let blind = self.faults.is_blind();
        let flashed = self.keep().flashed.as_mut().ok_or(Nrc::RequestSequenceError)?;
        let good = flashed.crc32 == u32::from_be_bytes(crc) && flashed.version.is_some();
        flashed.checked = good || blind;
        Ok(vec![u8::from(!flashed.checked)])
    }

    fn check_dependencies(&mut self, option: &[u8]) -> Result<Vec<u8>, Nrc> {
        if !option.is_empty() {
            return Err(Nrc::IncorrectMessageLength);
        }
        let keeps_version = self.faults.keeps_version();
        let part = self.spec.part.clone();
        let memory = self.keep();
        let flashed = memory.flashed.clone().filter(|flashed| flashed.checked);
        let flashed = flashed.ok_or(Nrc::RequestSequenceError)?;
        let fits = flashed.part.as_deref() == Some(part.as_str());
        memory.app_valid = fits;
        if fits && !keeps_version {
            memory.software = flashed.version;
        }
        Ok(vec![u8::from(!fits)])
    }

    pub(super) fn begin_download(&mut self, format: u8, size: u32) -> Outcome {
        self.demand_programming()?;
        if format != 0x00 || size == 0 || size > self.spec.memory_bytes {
            return Err(Nrc::RequestOutOfRange);
        }
        if !self.memory.erased {
            return Err(Nrc::UploadDownloadNotAccepted);
        }
        let size = usize::try_from(size).map_err(|_| Nrc::RequestOutOfRange)?;
        self.transfer = Some(Transfer {
            size,
            data: Vec::with_capacity(size),
            expected: BlockCounter::FIRST,
            last: None,
            blocks: 0,
        });
        let max_block_length = u64::from(self.spec.block_length);
        Ok(Done::now(Response::DownloadAccepted { max_block_length }))
    }

    /// Faults that end the connection in the middle of a block.
    pub(super) fn planned_block(&mut self, request: &Request, now: Duration) -> Option<Reaction> {
        let Request::TransferData { .. } = request else {
            return None;
        };
        let number = self.transfer.as_ref()?.blocks + 1;
        match self.faults.on_block(number)? {
            OnBlock::LinkDrop => {}
            OnBlock::PowerLoss => self.start_again(now),
        }
        Some(Reaction {
            replies: Vec::new(),
            closes: true,
        })
    }

    pub(super) fn take_block(&mut self, counter: u8, data: &[u8]) -> Outcome {
        self.demand_programming()?;
        let room = usize::from(self.spec.block_length).saturating_sub(OVERHEAD);
        let takes = Duration::from_millis(self.spec.block_ms);
        let transfer = self.transfer.as_mut().ok_or(Nrc::RequestSequenceError)?;
        let answer = Response::TransferData {
            counter,
            record: Vec::new(),
        };
        if transfer.last == Some(counter) {
            // The answer was lost: said again, not written again.
            return Ok(Done::now(answer));
        }
        if counter != transfer.expected.value() {
            return Err(Nrc::WrongBlockSequenceCounter);
        }
        if data.is_empty() || data.len() > room {
            return Err(Nrc::IncorrectMessageLength);
        }
        if transfer.data.len() + data.len() > transfer.size {
            return Err(Nrc::TransferDataSuspended);
        }
        transfer.data.extend(data);
        transfer.last = Some(counter);
        transfer.expected = transfer.expected.next();
        transfer.blocks += 1;
        // The first block is where the memory stops being erased.
        if transfer.blocks == 1 {
            self.keep().erased = false;
        }
        Ok(Done {
            takes,
            ..Done::now(answer)
        })
    }

    pub(super) fn end_download(&mut self) -> Outcome {
        self.demand_programming()?;
        let transfer = self.transfer.take().ok_or(Nrc::RequestSequenceError)?;
        if transfer.data.len() != transfer.size {
            self.transfer = Some(transfer);
            return Err(Nrc::RequestSequenceError);
        }
        let mut data = transfer.data;
        if self.faults.corrupts()
            && let Some(byte) = data.last_mut()
        {
            *byte ^= 0x01;
        }
        let image = Image::parse(&data).ok();
        let flashed = Flashed {
            size: data.len() as u64,
            sha256: hex::encode(Sha256::digest(&data)),
            crc32: uds::crc32(&data),
            part: image.as_ref().map(|image| image.part.clone()),
            version: image.map(|image| image.version),
            checked: false,
        };
        let memory = self.keep();
        memory.flashed = Some(flashed);
        memory.counters.downloads += 1;
        Ok(Done::now(Response::TransferExit { record: Vec::new() }))
    }
}
