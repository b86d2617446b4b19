//! The client of one ECU: one outstanding request, timing, repetition, tester present.

use core::time::Duration;

use crate::nrc::Nrc;
use crate::outcome::{
    Addressing, ClientConfig, Completion, Discard, Event, LinkFault, Output, SendError, Transmit, UdsError,
    Wait,
};
use crate::request::Request;
use crate::response::Response;
use crate::service::Session;

/// `ActiveDiagnosticSessionDataIdentifier`, ISO 14229-1 annex C.
const ACTIVE_SESSION: u16 = 0xF186;

#[derive(Debug, Clone)]
struct Outstanding {
    request: Request,
    addressing: Addressing,
    first_sent: Duration,
    sent: Duration,
    deadline: Duration,
    attempts: u32,
    busy: u32,
    silent: u32,
    pending: u32,
    pending_since: Option<Duration>,
}

#[derive(Debug, Clone)]
enum State {
    Idle,
    Waiting(Outstanding),
    /// After 21, until the deadline.
    Holding(Outstanding),
}

/// The client of one ECU, a pure state machine.
///
/// Feed it messages *of this ECU only* (the transport tells them apart by source address) and call
/// [`Client::on_timer`] at [`Client::next_deadline`]. Answers that arrive after their request ended are told apart
/// by the echoed identifier, counter or sub-function; services 14, 34 and 37 echo nothing, so after a time-out
/// the caller reads the ECU's state before it asks for one of these again.
#[derive(Debug, Clone)]
pub struct Client {
    config: ClientConfig,
    session: Session,
    p2: Duration,
    p2_star: Duration,
    last_activity: Duration,
    seed_not_before: Option<Duration>,
    state: State,
}

impl Client {
    /// A client in the default session with nothing outstanding.
    pub fn new(config: ClientConfig, now: Duration) -> Self {
        Self {
            config,
            session: Session::Default,
            p2: config.p2,
            p2_star: config.p2_star,
            last_activity: now,
            seed_not_before: None,
            state: State::Idle,
        }
    }

    /// The session that the ECU last confirmed.
    pub const fn session(&self) -> Session {
        self.session
    }

    /// P2 and P2* in force, without the transport's margin.
    pub const fn timing(&self) -> (Duration, Duration) {
        (self.p2, self.p2_star)
    }

    /// Whether a request is outstanding.
    pub const fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Until when no seed may be requested, for keeping over a restart.
    pub const fn seed_not_before(&self) -> Option<Duration> {
        self.seed_not_before
    }

    /// Changes the longest time from the first 78 to the final answer, for the requests that follow.
    pub const fn set_pending_total(&mut self, pending_total: Duration) {
        self.config.pending_total = pending_total;
    }

    /// Restores a delay kept over a restart.
    pub const fn set_seed_not_before(&mut self, until: Duration) {
        self.seed_not_before = Some(until);
    }

    /// Sends a request to this ECU.
    ///
    /// # Errors
    /// [`SendError`] when another request is outstanding or a security delay is running; nothing is sent.
    pub fn send(&mut self, request: Request, now: Duration) -> Result<Output, SendError> {
        self.start(request, Addressing::Physical, now)
    }

    /// Sends a request to the functional address and takes this ECU's answer. Silence is no error: the
    /// completion then has no response.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send_functional(&mut self, request: Request, now: Duration) -> Result<Output, SendError> {
        self.start(request, Addressing::Functional, now)
    }

    fn start(
        &mut self,
        request: Request,
        addressing: Addressing,
        now: Duration,
    ) -> Result<Output, SendError> {
        if let State::Waiting(other) | State::Holding(other) = &self.state {
            return Err(SendError::Busy {
                service: other.request.service(),
            });
        }
        if let (Request::RequestSeed { .. }, Some(until)) = (&request, self.seed_not_before) {
            if now < until {
                return Err(SendError::SecurityDelay { until });
            }
            self.seed_not_before = None;
        }
        let outstanding = Outstanding {
            request,
            addressing,
            first_sent: now,
            sent: now,
            deadline: now,
            attempts: 0,
            busy: 0,
            silent: 0,
            pending: 0,
            pending_since: None,
        };
        Ok(self.transmit(outstanding, now))
    }

    fn transmit(&mut self, mut outstanding: Outstanding, now: Duration) -> Output {
        outstanding.sent = now;
        outstanding.attempts = outstanding.attempts.saturating_add(1);
        outstanding.pending_since = None;
        outstanding.deadline = now
            .saturating_add(self.p2)
            .saturating_add(self.config.transport_margin);
        self.last_activity = now;
        let bytes = outstanding.request.encode();
        let transmit = vec![Transmit {
            addressing: outstanding.addressing,
            bytes,
        }];
        self.state = State::Waiting(outstanding);
        Output {
            transmit,
            event: None,
        }
    }

    /// Takes a message of this ECU.
    pub fn on_message(&mut self, bytes: &[u8], now: Duration) -> Output {
        let outstanding = match core::mem::replace(&mut self.state, State::Idle) {
            State::Idle => return Output::event(Event::Discarded(Discard::NothingOutstanding)),
            State::Holding(outstanding) => {
                self.state = State::Holding(outstanding);
                return Output::event(Event::Discarded(Discard::NothingOutstanding));
            }
            State::Waiting(outstanding) => outstanding,
        };
        let service = outstanding.request.service();
        let named = match bytes {
            [0x7F, sid, ..] => *sid,
            [first, ..] if first & 0x40 != 0 => first & !0x40,
            _ => 0,
        };
        if named != service.sid() {
            self.state = State::Waiting(outstanding);
            return Output::event(Event::Discarded(Discard::OtherService));
        }
        match Response::decode(bytes) {
            Err(source) => self.fail(UdsError::Unexpected { service, source }, now),
            Ok(Response::Negative { nrc, .. }) => self.on_negative(outstanding, nrc, now),
            Ok(response) if response.answers(&outstanding.request) => {
                self.complete(&outstanding, Some((response, bytes)), now)
            }
            Ok(_) => {
                self.state = State::Waiting(outstanding);
                Output::event(Event::Discarded(Discard::OtherRequest))
            }
        }
    }

    fn on_negative(&mut self, mut outstanding: Outstanding, nrc: Nrc, now: Duration) -> Output {
        let service = outstanding.request.service();
        match nrc {
            Nrc::ResponsePending => {
                let since = *outstanding.pending_since.get_or_insert(now);
                let count = outstanding.pending.saturating_add(1);
                let elapsed = now.saturating_sub(since);
                if count > self.config.max_pending || elapsed > self.config.pending_total {
                    return self.fail(
                        UdsError::PendingCap {
                            service,
                            count,
                            elapsed,
                        },
                        now,
                    );
                }
                outstanding.pending = count;
                let wait = self.p2_star.saturating_add(self.config.transport_margin);
                let cap = since.saturating_add(self.config.pending_total);
                outstanding.sent = now;
                outstanding.deadline = now.saturating_add(wait).min(cap);
                self.state = State::Waiting(outstanding);
                Output::event(Event::Pending { count })
            }
            Nrc::BusyRepeatRequest if outstanding.busy < self.config.max_busy => {
                outstanding.busy = outstanding.busy.saturating_add(1);
                outstanding.deadline = now.saturating_add(self.config.busy_wait);
                let attempts = outstanding.attempts.saturating_add(1);
                self.state = State::Holding(outstanding);
                Output::event(Event::Repeating { attempts })
            }
            _ => {
                if matches!(
                    nrc,
                    Nrc::RequiredTimeDelayNotExpired | Nrc::ExceededNumberOfAttempts
                ) {
                    self.seed_not_before = Some(now.saturating_add(self.config.security_delay));
                }
                self.fail(UdsError::NegativeResponse { service, nrc }, now)
            }
        }
    }

    /// Takes the passing of time: call it at [`Client::next_deadline`], earlier calls do nothing.
    pub fn on_timer(&mut self, now: Duration) -> Output {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Idle => self.keep_session(now),
            State::Holding(outstanding) if now >= outstanding.deadline => self.transmit(outstanding, now),
            State::Waiting(outstanding) if now >= outstanding.deadline => self.on_silence(outstanding, now),
            early => {
                self.state = early;
                Output::default()
            }
        }
    }

    fn keep_session(&mut self, now: Duration) -> Output {
        if self.tester_present_due().is_none_or(|due| now < due) {
            return Output::default();
        }
        self.last_activity = now;
        let bytes = Request::TesterPresent { suppress: true }.encode();
        Output {
            transmit: vec![Transmit {
                addressing: Addressing::Physical,
                bytes,
            }],
            event: None,
        }
    }

    fn on_silence(&mut self, mut outstanding: Outstanding, now: Duration) -> Output {
        let service = outstanding.request.service();
        let silence_is_fine =
            outstanding.request.is_suppressed() || outstanding.addressing == Addressing::Functional;
        if let Some(since) = outstanding.pending_since {
            let elapsed = now.saturating_sub(since);
            if elapsed >= self.config.pending_total {
                return self.fail(
                    UdsError::PendingCap {
                        service,
                        count: outstanding.pending,
                        elapsed,
                    },
                    now,
                );
            }
        } else if silence_is_fine {
            return self.complete(&outstanding, None, now);
        }
        if service.is_idempotent() && outstanding.silent < self.config.max_silent {
            outstanding.silent = outstanding.silent.saturating_add(1);
            let attempts = outstanding.attempts.saturating_add(1);
            let mut output = self.transmit(outstanding, now);
            output.event = Some(Event::Repeating { attempts });
            return output;
        }
        let wait = if outstanding.pending_since.is_some() {
            Wait::P2Star
        } else {
            Wait::P2
        };
        let waited = now.saturating_sub(outstanding.sent);
        self.fail(
            UdsError::Timeout {
                service,
                wait,
                waited,
                attempts: outstanding.attempts,
            },
            now,
        )
    }

    /// Takes a failure of the transport. A refusal ends the outstanding request, a closed connection also puts
    /// the ECU's session back to the default as far as this client knows.
    pub fn on_link_fault(&mut self, fault: LinkFault, now: Duration) -> Output {
        if fault == LinkFault::Closed {
            self.enter_default_session();
        }
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Output::default(),
            State::Waiting(outstanding) | State::Holding(outstanding) => {
                let service = outstanding.request.service();
                self.fail(UdsError::Link { service, fault }, now)
            }
        }
    }

    /// When [`Client::on_timer`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Waiting(outstanding) | State::Holding(outstanding) => Some(outstanding.deadline),
            State::Idle => self.tester_present_due(),
        }
    }

    fn tester_present_due(&self) -> Option<Duration> {
        let every = self.config.tester_present?;
        (self.session != Session::Default).then(|| self.last_activity.saturating_add(every))
    }

    fn fail(&mut self, error: UdsError, now: Duration) -> Output {
        self.state = State::Idle;
        self.last_activity = now;
        Output::event(Event::Completed(Err(error)))
    }

    fn complete(
        &mut self,
        outstanding: &Outstanding,
        answer: Option<(Response, &[u8])>,
        now: Duration,
    ) -> Output {
        self.state = State::Idle;
        self.last_activity = now;
        let (response, raw) = match answer {
            Some((response, raw)) => (Some(response), raw.to_vec()),
            None => (None, Vec::new()),
        };
        match (&response, &outstanding.request) {
            (Some(Response::SessionControl { session, timing }), _) => {
                self.session = *session;
                self.p2 = timing.p2();
                self.p2_star = timing.p2_star();
            }
            (
                None,
                Request::SessionControl {
                    session,
                    suppress: true,
                },
            ) => self.session = *session,
            (_, Request::EcuReset { .. }) => self.enter_default_session(),
            // A new connection may meet an ECU that is still in its session: from here on it is kept there.
            (
                Some(Response::Data {
                    did: ACTIVE_SESSION,
                    data,
                }),
                _,
            ) => {
                if let [session] = data.as_slice() {
                    self.session = Session::from(*session);
                }
            }
            _ => {}
        }
        Output::event(Event::Completed(Ok(Completion {
            response,
            raw,
            pending: outstanding.pending,
            attempts: outstanding.attempts,
            elapsed: now.saturating_sub(outstanding.first_sent),
        })))
    }

    fn enter_default_session(&mut self) {
        self.session = Session::Default;
        self.p2 = self.config.p2;
        self.p2_star = self.config.p2_star;
    }
}
