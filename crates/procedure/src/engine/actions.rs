//! What the steps do.

use core::time::Duration;

use uds::{BlockCounter, DtcSetting, IoControl, Nrc, Request, ResetKind, Response, RoutineAction, Session};

use super::connect::protocol_of_the_caller;
use super::script::Script;
use super::step::{Log, needs_intent};
use super::stop::Trouble;
use super::{Command, Effect, Event};
use crate::plan::{Action, ByteCheck, CommMode, Decode, Poll, ReadSpec, Step};
use crate::report::{Outcome, Progress};
use crate::template::Template;
use crate::value::{self, Judgement};

/// Pause between two readings of a value that must hold.
const HOLD_PAUSE: Duration = Duration::from_millis(250);
/// Most repetitions of a block whose answer did not come. The same counter is not written twice by the control unit.
const BLOCK_REPEATS: u32 = 2;

impl Script {
    pub(super) async fn act(
        &mut self,
        step: &Step,
        work: Option<usize>,
        log: &mut Log,
    ) -> Result<(), Trouble> {
        if let Action::Write { did, value, encode } = &step.action {
            return self.write(step, work, (*did, value, *encode), log).await;
        }
        // Everything that can be refused on the bench is refused before the intent.
        let prepared = self.prepare(&step.action)?;
        if !needs_intent(step) {
            return self.carry_out(step, prepared, log).await;
        }
        let intent = self.intend(step, work).await?;
        self.carry_out(step, prepared, log).await?;
        self.confirm(intent).await
    }

    /// Bytes that come from the job.
    fn prepare(&self, action: &Action) -> Result<Vec<u8>, Trouble> {
        match action {
            Action::Routine { option: template, .. } | Action::Actuate { state: template, .. } => {
                self.hex(template)
            }
            Action::Download { artifact, .. } if !self.inputs.artifacts.contains_key(artifact) => {
                Err(input_missing(&format!("artifact `{artifact}` is missing")))
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn carry_out(&mut self, step: &Step, prepared: Vec<u8>, log: &mut Log) -> Result<(), Trouble> {
        match &step.action {
            Action::Session { session, functional } => self.change_session(*session, *functional).await,
            Action::Quiet {
                dtc_off,
                comm,
                functional,
            } => self.quiet(*dtc_off, *comm, *functional).await,
            Action::Security { level } => self.unlock(*level).await,
            Action::Write { .. } => Ok(()),
            Action::Routine { id, expect, poll, .. } => {
                self.routine(*id, prepared, expect, poll.as_ref()).await
            }
            Action::Download {
                artifact,
                address,
                format,
                ..
            } => self.download(step, artifact, *address, *format).await,
            Action::Reset { kind, reconnect } => self.reset(*kind, *reconnect).await,
            Action::Read(spec) => self.measure(&step.id, spec, log).await,
            Action::Actuate { did, .. } => {
                let control = IoControl::ShortTermAdjustment;
                // Held as soon as it may have been taken.
                self.hold_output(*did);
                self.request(Request::InputOutputControl {
                    did: *did,
                    control,
                    state: prepared,
                })
                .await
                .map(drop)
            }
            Action::ClearDtcs { group } => self.request(Request::ClearDtcs { group: *group }).await.map(drop),
            Action::Dtcs { mask, allow, expect } => self.compare_dtcs(*mask, allow, expect).await,
            Action::Wait { duration } => {
                self.sleep(*duration).await;
                Ok(())
            }
        }
    }

    fn text(&self, template: &Template) -> Result<String, Trouble> {
        template
            .resolve(&self.inputs)
            .map_err(|missing| input_missing(&missing))
    }

    fn hex(&self, template: &Template) -> Result<Vec<u8>, Trouble> {
        let text = self.text(template)?;
        value::unhex(&text).ok_or_else(|| input_missing(&format!("`{text}` is not hexadecimal")))
    }

    async fn change_session(&mut self, session: u8, functional: bool) -> Result<(), Trouble> {
        let session = Session::from(session);
        if session != Session::Default {
            self.hold_session(functional);
        }
        if session == Session::Programming {
            return self.enter_programming().await;
        }
        match self.request_to(Request::session(session), functional).await? {
            Some(_) => Ok(()),
            None => Err(Trouble::Silent("no answer to the functional request".to_owned())),
        }
    }

    async fn quiet(
        &mut self,
        dtc_off: bool,
        comm: Option<CommMode>,
        functional: bool,
    ) -> Result<(), Trouble> {
        // Held before the first request: an answer may be lost after the control unit acted.
        self.hold_quiet(dtc_off, comm.is_some(), functional);
        if dtc_off {
            let request = Request::ControlDtcSetting {
                setting: DtcSetting::Off,
                suppress: false,
            };
            self.request_to(request, functional).await?;
        }
        if let Some(mode) = comm {
            let request = Request::CommunicationControl {
                control: mode.code(),
                communication_type: 0x01,
                suppress: false,
            };
            self.request_to(request, functional).await?;
        }
        Ok(())
    }

    async fn unlock(&mut self, level: u8) -> Result<(), Trouble> {
        let request = Request::RequestSeed {
            level,
            record: Vec::new(),
        };
        let Some(Response::Seed { seed, .. }) = self.request(request).await? else {
            return Err(Trouble::Silent("no seed in the answer".to_owned()));
        };
        if seed.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let key = match self.desk.ask(Command::AskKey { level, seed }).await {
            Event::Key(Ok(key)) => key,
            Event::Key(Err(error)) => {
                return Err(Trouble::Bench {
                    reason: "signer_unavailable",
                    detail: error.to_string(),
                });
            }
            _ => return Err(protocol_of_the_caller()),
        };
        self.request(Request::SendKey {
            level: level.saturating_add(1),
            key,
        })
        .await
        .map(drop)
    }

    async fn write(
        &mut self,
        step: &Step,
        work: Option<usize>,
        (did, template, encode): (u16, &Template, Decode),
        log: &mut Log,
    ) -> Result<(), Trouble> {
        let text = self.text(template)?;
        let bytes = value::encode(encode, &text)
            .ok_or_else(|| input_missing(&format!("`{text}` cannot be written as {encode:?}")))?;
        if self.read_data(did).await.is_ok_and(|there| there == bytes) {
            log.detail = Some("was equal already, not written".to_owned());
            return Ok(());
        }
        let intent = self.intend(step, work).await?;
        self.request(Request::write(did, bytes.clone())).await?;
        let there = self.read_data(did).await?;
        if there != bytes {
            return Err(Trouble::Missed(format!(
                "{did:04X} reads back {} after {} was written",
                value::hex(&there),
                value::hex(&bytes)
            )));
        }
        self.confirm(intent).await
    }

    async fn read_data(&mut self, did: u16) -> Result<Vec<u8>, Trouble> {
        match self.request(Request::read(did)).await? {
            Some(Response::Data { data, .. }) => Ok(data),
            _ => Err(Trouble::Silent(format!("no answer to the reading of {did:04X}"))),
        }
    }

    async fn routine(
        &mut self,
        id: u16,
        option: Vec<u8>,
        expect: &[ByteCheck],
        poll: Option<&Poll>,
    ) -> Result<(), Trouble> {
        let mut status = routine_status(self.request(Request::start_routine(id, option)).await?);
        if let Some(poll) = poll {
            let deadline = self.desk.now().saturating_add(poll.timeout);
            loop {
                let results = Request::Routine {
                    action: RoutineAction::Results,
                    id,
                    option: Vec::new(),
                };
                status = routine_status(self.request(results).await?);
                if status.get(poll.running.index) != Some(&poll.running.value) {
                    break;
                }
                if self.desk.now() >= deadline {
                    return Err(Trouble::Silent(format!(
                        "routine {id:04X} still runs after {:?}",
                        poll.timeout
                    )));
                }
                self.sleep(poll.every).await;
            }
        }
        for check in expect {
            if status.get(check.index) != Some(&check.value) {
                return Err(Trouble::Missed(format!(
                    "routine {id:04X}: byte {} of status {} is not {:02X}",
                    check.index,
                    value::hex(&status),
                    check.value
                )));
            }
        }
        Ok(())
    }

    async fn download(
        &mut self,
        step: &Step,
        artifact: &str,
        address: u32,
        format: u8,
    ) -> Result<(), Trouble> {
        let Some(image) = self
            .inputs
            .artifacts
            .get(artifact)
            .map(|artifact| artifact.bytes.clone())
        else {
            return Err(input_missing(&format!("artifact `{artifact}` is missing")));
        };
        let size = u32::try_from(image.len()).map_err(|_| input_missing("the image is longer than 4 GiB"))?;
        let request = Request::RequestDownload {
            format,
            address,
            size,
        };
        let Some(Response::DownloadAccepted { max_block_length }) = self.request(request).await? else {
            return Err(Trouble::Silent("no block length in the answer".to_owned()));
        };
        let block = usize::try_from(max_block_length.saturating_sub(2)).unwrap_or(usize::MAX);
        if block == 0 || image.is_empty() {
            return Err(input_missing(
                "the image is empty or the control unit takes no data",
            ));
        }
        let (mut counter, mut done) = (BlockCounter::FIRST, 0_u64);
        let total = u64::from(size);
        for chunk in image.chunks(block) {
            self.block(counter.value(), chunk).await?;
            counter = counter.next();
            done = done.saturating_add(chunk.len() as u64);
            self.progress(&step.id, done, total);
        }
        self.request(Request::TransferExit { record: Vec::new() })
            .await
            .map(drop)
    }

    /// One block. When its answer does not come on a living connection it is sent again: the control unit
    /// answers a repeated counter without writing, or refuses it with 73 because it has the block.
    async fn block(&mut self, counter: u8, data: &[u8]) -> Result<(), Trouble> {
        let mut repeats = 0;
        loop {
            let request = Request::TransferData {
                counter,
                data: data.to_vec(),
            };
            match self.request(request).await {
                Ok(_) => return Ok(()),
                Err(Trouble::Silent(_)) if repeats < BLOCK_REPEATS => repeats += 1,
                Err(Trouble::Refused {
                    nrc: Nrc::WrongBlockSequenceCounter,
                    ..
                }) if repeats > 0 => return Ok(()),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    async fn reset(&mut self, kind: u8, reconnect: Duration) -> Result<(), Trouble> {
        let request = Request::EcuReset {
            kind: ResetKind::from(kind),
            suppress: false,
        };
        match self.request(request).await {
            // The connection may die before the answer is out.
            Ok(_) | Err(Trouble::LinkLost(_)) => {}
            Err(trouble) => return Err(trouble),
        }
        self.connect(reconnect).await.map(drop)
    }

    async fn measure(&mut self, id: &str, spec: &ReadSpec, log: &mut Log) -> Result<(), Trouble> {
        let equals = spec
            .equals
            .as_ref()
            .map(|template| self.text(template))
            .transpose()?;
        let end = self.desk.now().saturating_add(spec.hold);
        loop {
            let data = self.read_data(spec.did).await?;
            let Judgement { measurement, miss } = value::judge(id, spec, equals.as_deref(), &data);
            let outcome = measurement.outcome;
            log.measurements = vec![measurement];
            if outcome != Outcome::Passed {
                return Err(Trouble::Missed(miss));
            }
            if self.desk.now() >= end {
                return Ok(());
            }
            if self.desk.is_canceled() {
                return Err(Trouble::Canceled);
            }
            self.sleep(HOLD_PAUSE.min(end.saturating_sub(self.desk.now())))
                .await;
        }
    }

    async fn compare_dtcs(&mut self, mask: u8, allow: &[u32], expect: &[u32]) -> Result<(), Trouble> {
        let Some(Response::Dtcs { records: found, .. }) =
            self.request(Request::ReadDtcsByStatus { mask }).await?
        else {
            return Err(Trouble::Silent("no faults in the answer".to_owned()));
        };
        let found: Vec<u32> = found
            .iter()
            .filter(|record| record.status & mask != 0)
            .map(|record| record.code)
            .collect();
        let strange: Vec<String> = found
            .iter()
            .filter(|code| !allow.contains(code) && !expect.contains(code))
            .map(|code| format!("{code:06X}"))
            .collect();
        if !strange.is_empty() {
            return Err(Trouble::Missed(format!(
                "faults that are not allowed: {}",
                strange.join(", ")
            )));
        }
        let absent: Vec<String> = expect
            .iter()
            .filter(|code| !found.contains(code))
            .map(|code| format!("{code:06X}"))
            .collect();
        if !absent.is_empty() {
            return Err(Trouble::Missed(format!(
                "faults that must be there: {}",
                absent.join(", ")
            )));
        }
        Ok(())
    }

    pub(super) fn progress(&self, step: &str, done: u64, total: u64) {
        self.desk.tell(Effect::Progress(Progress {
            step: step.to_owned(),
            step_index: self.place,
            bytes_done: done,
            bytes_total: total,
        }));
    }
}

fn routine_status(response: Option<Response>) -> Vec<u8> {
    match response {
        Some(Response::Routine { status, .. }) => status,
        _ => Vec::new(),
    }
}

fn input_missing(detail: &str) -> Trouble {
    Trouble::Bench {
        reason: "input_invalid",
        detail: detail.to_owned(),
    }
}
