//! One control unit, a pure state machine.

mod data;
mod programming;
mod routines;
mod security;

use std::collections::BTreeMap;
use std::time::Duration;

use uds::{DecodeError, DtcSetting, Nrc, Request, ResetKind, Response, Service, Session, SessionTiming};

use crate::fault::{Fault, FaultPlan, OnRequest};
use crate::memory::EcuMemory;
use crate::spec::EcuSpec;
use programming::Transfer;
use routines::Run;
use security::Lock;

/// P2 and P2* as told.
const TIMING: SessionTiming = SessionTiming {
    p2_ms: 50,
    p2_star_10ms: 500,
};
/// Longest silence in a session other than the default one.
const S3: Duration = Duration::from_secs(5);
/// When the first 78 goes out.
const FIRST_PENDING: Duration = Duration::from_millis(30);
/// Between two 78.
const PENDING_EVERY: Duration = Duration::from_secs(1);

/// Refusals that are not told to a functional request, ISO 14229-1, 7.5.
const SILENT_WHEN_FUNCTIONAL: [Nrc; 5] = [
    Nrc::ServiceNotSupported,
    Nrc::SubFunctionNotSupported,
    Nrc::RequestOutOfRange,
    Nrc::SubFunctionNotSupportedInActiveSession,
    Nrc::ServiceNotSupportedInActiveSession,
];

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How long after the request.
    pub after: Duration,
    /// The UDS message.
    pub bytes: Vec<u8>,
}

/// What a control unit does with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reaction {
    /// Answers in their order.
    pub replies: Vec<Reply>,
    /// The connection ends after the answers: the control unit starts again, or a fault says so.
    pub closes: bool,
}

/// Which program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Boot,
    App,
}

/// A positive answer, and how long it takes.
struct Done {
    response: Response,
    takes: Duration,
    /// The control unit starts again after the answer, and the connection ends.
    restarts: bool,
    /// The connection ends after the answer.
    cuts: bool,
}

impl Done {
    const fn now(response: Response) -> Self {
        Self {
            response,
            takes: Duration::ZERO,
            restarts: false,
            cuts: false,
        }
    }
}

type Outcome = Result<Done, Nrc>;

/// One control unit. Time is a duration since any fixed origin.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent facts of a control unit, not one state"
)]
pub struct Ecu {
    spec: EcuSpec,
    vin: String,
    memory: EcuMemory,
    dirty: bool,
    faults: FaultPlan,
    random: u64,
    program: Program,
    session: Session,
    preconditions_checked: bool,
    lock: Lock,
    transfer: Option<Transfer>,
    runs: BTreeMap<u16, Run>,
    held: Vec<u16>,
    sends: bool,
    records_faults: bool,
    last_heard: Duration,
    busy_until: Duration,
    absent_until: Duration,
}

impl Ecu {
    /// A control unit that has just started.
    pub fn new(vin: &str, spec: EcuSpec, memory: Option<EcuMemory>, seed: u64) -> Self {
        let memory = memory.unwrap_or_else(|| EcuMemory::new(&spec));
        let program = if memory.app_valid {
            Program::App
        } else {
            Program::Boot
        };
        let lock = Lock::at_start(&memory, Duration::ZERO, spec.security_delay_ms);
        Self {
            faults: FaultPlan::new(spec.faults.clone()),
            random: seed ^ (u64::from(spec.la) << 32),
            vin: vin.to_owned(),
            spec,
            memory,
            dirty: true,
            program,
            session: Session::Default,
            preconditions_checked: false,
            lock,
            transfer: None,
            runs: BTreeMap::new(),
            held: Vec::new(),
            sends: true,
            records_faults: true,
            last_heard: Duration::ZERO,
            busy_until: Duration::ZERO,
            absent_until: Duration::ZERO,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its logical address.
    pub const fn logical_address(&self) -> u16 {
        self.spec.la
    }

    /// What it keeps over a power cut.
    pub const fn memory(&self) -> &EcuMemory {
        &self.memory
    }

    /// Adds a fault.
    pub fn add_fault(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    /// Whether it sends its normal messages (28) and records faults (85).
    pub const fn is_restored(&self) -> bool {
        self.sends && self.records_faults && self.held.is_empty()
    }

    /// Whether it hears anything: not while it starts.
    pub fn is_there(&self, now: Duration) -> bool {
        now >= self.absent_until
    }

    /// Takes back whether anything changed that has to be kept.
    pub(crate) fn take_dirty(&mut self) -> bool {
        core::mem::take(&mut self.dirty)
    }

    fn keep(&mut self) -> &mut EcuMemory {
        self.dirty = true;
        &mut self.memory
    }

    /// Takes a request.
    pub fn handle(&mut self, bytes: &[u8], functional: bool, now: Duration) -> Reaction {
        if !self.is_there(now) {
            return Reaction::default();
        }
        self.pass_time(now);
        self.last_heard = now.max(self.busy_until);
        let Some(sid) = bytes.first().copied() else {
            return Reaction::default();
        };
        if now < self.busy_until && sid != Service::TesterPresent.sid() {
            return refusal(sid, Nrc::BusyRepeatRequest, functional);
        }
        let planned = self.faults.on_request(bytes);
        if let Some(OnRequest::Refuse(code)) = planned {
            return refusal(sid, Nrc::from(code), functional);
        }
        let mut reaction = self.answer(sid, bytes, functional, now);
        match planned {
            Some(OnRequest::Delay { count, every_ms }) => {
                delay(&mut reaction, sid, count, Duration::from_millis(every_ms));
            }
            Some(OnRequest::Swallow) => reaction.replies.clear(),
            _ => {}
        }
        if let Some(last) = reaction.replies.last() {
            self.busy_until = now.saturating_add(last.after);
            self.last_heard = self.busy_until;
        }
        reaction
    }

    fn answer(&mut self, sid: u8, bytes: &[u8], functional: bool, now: Duration) -> Reaction {
        let request = match Request::decode(bytes) {
            Ok(request) => request,
            Err(error) => return refusal(sid, nrc_of(error), functional),
        };
        if let Some(reaction) = self.planned_block(&request, now) {
            return reaction;
        }
        let suppressed = request.is_suppressed();
        match self.allowed(&request).and_then(|()| self.execute(request, now)) {
            Err(nrc) => refusal(sid, nrc, functional),
            Ok(done) => {
                if done.restarts {
                    self.start_again(now);
                }
                let mut replies = Vec::new();
                if !done.takes.is_zero() {
                    pending(sid, done.takes, &mut replies);
                }
                // A request that was answered by 78 is answered in the end, suppressed or not.
                if !suppressed || !replies.is_empty() {
                    replies.push(Reply {
                        after: done.takes,
                        bytes: done.response.encode(),
                    });
                }
                Reaction {
                    replies,
                    closes: done.restarts || done.cuts,
                }
            }
        }
    }

    /// Which service is there in which session, ISO 14229-1 annex B of the vehicle's own specification.
    fn allowed(&self, request: &Request) -> Result<(), Nrc> {
        let service = request.service();
        let known = match (self.program, service) {
            (
                Program::Boot,
                Service::ClearDiagnosticInformation
                | Service::ReadDtcInformation
                | Service::InputOutputControl,
            ) => false,
            (
                Program::App,
                Service::RequestDownload | Service::TransferData | Service::RequestTransferExit,
            ) => self.spec.memory_bytes > 0,
            _ => true,
        };
        if !known {
            return Err(Nrc::ServiceNotSupported);
        }
        let here = match service {
            Service::DiagnosticSessionControl
            | Service::EcuReset
            | Service::ClearDiagnosticInformation
            | Service::ReadDtcInformation
            | Service::ReadDataByIdentifier
            | Service::TesterPresent => true,
            Service::SecurityAccess | Service::WriteDataByIdentifier | Service::RoutineControl => {
                self.session != Session::Default
            }
            Service::CommunicationControl | Service::ControlDtcSetting | Service::InputOutputControl => {
                self.session == Session::Extended
            }
            Service::RequestDownload | Service::TransferData | Service::RequestTransferExit => {
                self.session == Session::Programming
            }
        };
        if here {
            Ok(())
        } else {
            Err(Nrc::ServiceNotSupportedInActiveSession)
        }
    }

    fn execute(&mut self, request: Request, now: Duration) -> Outcome {
        match request {
            Request::SessionControl { session, .. } => self.change_session(session),
            Request::EcuReset { kind, .. } => reset(kind),
            Request::ClearDtcs { group } => self.clear_dtcs(group),
            Request::ReadDtcsByStatus { mask } => Ok(self.read_dtcs(mask)),
            Request::ReadData { did } => self.read(did, now),
            Request::RequestSeed { level, .. } => self.give_seed(level, now),
            Request::SendKey { level, key } => self.take_key(level, &key, now),
            Request::CommunicationControl { control, .. } => self.control_communication(control),
            Request::WriteData { did, data } => self.write(did, &data),
            Request::InputOutputControl { did, control, state } => self.control_output(did, control, state),
            Request::Routine { action, id, option } => self.routine(action, id, &option, now),
            Request::RequestDownload { format, size, .. } => self.begin_download(format, size),
            Request::TransferData { counter, data } => self.take_block(counter, &data),
            Request::TransferExit { .. } => self.end_download(),
            Request::TesterPresent { .. } => Ok(Done::now(Response::TesterPresent)),
            Request::ControlDtcSetting { setting, .. } => {
                self.records_faults = setting == DtcSetting::On;
                Ok(Done::now(Response::ControlDtcSetting { setting }))
            }
        }
    }

    fn change_session(&mut self, session: Session) -> Outcome {
        match session {
            Session::Other(_) => return Err(Nrc::SubFunctionNotSupported),
            Session::Programming if self.spec.memory_bytes == 0 => return Err(Nrc::SubFunctionNotSupported),
            Session::Programming if self.session == Session::Default => {
                return Err(Nrc::SubFunctionNotSupportedInActiveSession);
            }
            // The routine 0203 has to say yes in this session first.
            Session::Programming if self.session == Session::Extended && !self.preconditions_checked => {
                return Err(Nrc::ConditionsNotCorrect);
            }
            Session::Default | Session::Extended | Session::Programming => {}
        }
        let into_boot = session == Session::Programming && self.program == Program::App;
        let out_of_boot =
            session == Session::Default && self.program == Program::Boot && self.memory.app_valid;
        self.enter(session);
        if session == Session::Programming {
            self.program = Program::Boot;
            self.keep().counters.programming_sessions += 1;
        }
        let mut done = Done::now(Response::SessionControl {
            session,
            timing: TIMING,
        });
        done.restarts = out_of_boot;
        // The boot loader takes over in this session: only the connection dies.
        done.cuts = into_boot;
        Ok(done)
    }

    /// A change of session ends whatever belonged to the old one.
    fn enter(&mut self, session: Session) {
        self.session = session;
        self.preconditions_checked = false;
        self.lock.close();
        self.transfer = None;
        if session == Session::Default {
            self.give_back_all();
        }
    }

    fn give_back_all(&mut self) {
        self.sends = true;
        self.records_faults = true;
        let count = core::mem::take(&mut self.held).len() as u64;
        if count > 0 {
            self.keep().counters.returns += count;
        }
    }

    fn control_communication(&mut self, control: u8) -> Outcome {
        match control & 0x7F {
            0x00 => self.sends = true,
            0x01 | 0x03 => self.sends = false,
            0x02 => {}
            _ => return Err(Nrc::SubFunctionNotSupported),
        }
        Ok(Done::now(Response::CommunicationControl {
            control: control & 0x7F,
        }))
    }

    fn pass_time(&mut self, now: Duration) {
        if self.session != Session::Default && now.saturating_sub(self.last_heard) > S3 {
            self.enter(Session::Default);
            if self.program == Program::Boot && self.memory.app_valid {
                self.program = Program::App;
            }
        }
    }

    /// Power goes and comes: working memory is gone.
    fn start_again(&mut self, now: Duration) {
        self.enter(Session::Default);
        self.runs.clear();
        self.program = if self.memory.app_valid {
            Program::App
        } else {
            Program::Boot
        };
        self.lock = Lock::at_start(&self.memory, now, self.spec.security_delay_ms);
        self.absent_until = now.saturating_add(Duration::from_millis(self.spec.start_ms));
        self.busy_until = now;
        self.keep().counters.resets += 1;
    }

    fn next_random(&mut self) -> u64 {
        crate::image::split_mix(&mut self.random)
    }
}

fn reset(kind: ResetKind) -> Outcome {
    match kind {
        ResetKind::Hard | ResetKind::KeyOffOn | ResetKind::Soft => {
            let response = Response::EcuReset {
                kind,
                power_down_s: None,
            };
            Ok(Done {
                response,
                takes: Duration::ZERO,
                restarts: true,
                cuts: true,
            })
        }
        ResetKind::Other(_) => Err(Nrc::SubFunctionNotSupported),
    }
}

fn refusal(service: u8, nrc: Nrc, functional: bool) -> Reaction {
    if functional && SILENT_WHEN_FUNCTIONAL.contains(&nrc) {
        return Reaction::default();
    }
    let bytes = Response::Negative { service, nrc }.encode();
    Reaction {
        replies: vec![Reply {
            after: Duration::ZERO,
            bytes,
        }],
        closes: false,
    }
}

/// The 78 of something that takes long.
fn pending(service: u8, takes: Duration, replies: &mut Vec<Reply>) {
    let mut after = FIRST_PENDING;
    while after < takes {
        let bytes = Response::Negative {
            service,
            nrc: Nrc::ResponsePending,
        }
        .encode();
        replies.push(Reply { after, bytes });
        after = after.saturating_add(PENDING_EVERY);
    }
}

fn delay(reaction: &mut Reaction, service: u8, count: u32, every: Duration) {
    let bytes = Response::Negative {
        service,
        nrc: Nrc::ResponsePending,
    }
    .encode();
    let early: Vec<Reply> = (0..count)
        .map(|number| Reply {
            after: FIRST_PENDING.saturating_add(every * number),
            bytes: bytes.clone(),
        })
        .collect();
    for reply in &mut reaction.replies {
        reply.after = reply
            .after
            .saturating_add(FIRST_PENDING)
            .saturating_add(every * count);
    }
    reaction.replies.splice(0..0, early);
}

fn nrc_of(error: DecodeError) -> Nrc {
    match error {
        DecodeError::UnknownService(_) => Nrc::ServiceNotSupported,
        DecodeError::UnknownSubFunction { .. } => Nrc::SubFunctionNotSupported,
        DecodeError::OutOfRange { .. } => Nrc::RequestOutOfRange,
        DecodeError::Empty | DecodeError::TooShort { .. } | DecodeError::TooLong { .. } => {
            Nrc::IncorrectMessageLength
        }
    }
}
