//! The engine, fed by hand: no socket, no clock.

use procedure::{Command, Effect, Engine, Event, Failure, FinalOutcome, Mode, SignerError, Verdict};
use uds::{Completion, LinkFault, Nrc, Request, Response, Service, SessionTiming, UdsError};

use crate::bench::{FLASH, VIN, inputs, ms, plan};

/// A control unit that answers as wanted; a test takes single answers over.
pub(crate) struct Table {
    pub(crate) software: &'static str,
    pub(crate) voltage: u16,
    pub(crate) session: u8,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self {
            software: "1",
            voltage: 1300,
            session: 1,
        }
    }

    pub(crate) fn answer(&mut self, request: &Request) -> Result<Completion, Failure> {
        let timing = SessionTiming {
            p2_ms: 50,
            p2_star_10ms: 500,
        };
        let response = match request {
            Request::SessionControl { session, .. } => {
                self.session = session.code();
                Response::SessionControl {
                    session: *session,
                    timing,
                }
            }
            Request::EcuReset { kind, .. } => Response::EcuReset {
                kind: *kind,
                power_down_s: None,
            },
            Request::ReadData { did } => {
                let data = match did {
                    0xF190 => VIN.as_bytes().to_vec(),
                    0xF187 => b"P1".to_vec(),
                    0xF189 => self.software.as_bytes().to_vec(),
                    0xF181 => b"APP".to_vec(),
                    0xF186 => vec![self.session],
                    0x2110 => self.voltage.to_be_bytes().to_vec(),
                    _ => return Err(refused(Service::ReadDataByIdentifier, Nrc::RequestOutOfRange)),
                };
                Response::Data { did: *did, data }
            }
            Request::ReadDtcsByStatus { .. } => Response::Dtcs {
                availability_mask: 0xFF,
                records: vec![],
            },
            Request::RequestSeed { level, .. } => Response::Seed {
                level: *level,
                seed: vec![1; 8],
            },
            Request::SendKey { level, .. } => Response::KeyAccepted { level: *level },
            Request::CommunicationControl { control, .. } => {
                Response::CommunicationControl { control: *control }
            }
            Request::ControlDtcSetting { setting, .. } => Response::ControlDtcSetting { setting: *setting },
            Request::Routine { action, id, .. } => Response::Routine {
                action: *action,
                id: *id,
                status: vec![0],
            },
            Request::RequestDownload { .. } => Response::DownloadAccepted { max_block_length: 12 },
            Request::TransferData { counter, .. } => Response::TransferData {
                counter: *counter,
                record: vec![],
            },
            Request::TransferExit { .. } => {
                self.software = "2";
                Response::TransferExit { record: vec![] }
            }
            other => panic!("{other:?}"),
        };
        Ok(completion(response))
    }
}

pub(crate) fn completion(response: Response) -> Completion {
    Completion {
        response: Some(response),
        raw: vec![],
        pending: 0,
        attempts: 1,
        elapsed: ms(1),
    }
}

pub(crate) const fn refused(service: Service, nrc: Nrc) -> Failure {
    Failure::Uds(UdsError::NegativeResponse { service, nrc })
}

pub(crate) fn closed(request: &Request) -> Failure {
    Failure::Uds(UdsError::Link {
        service: request.service(),
        fault: LinkFault::Closed,
    })
}

/// What happened, in the order of the effects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Trace {
    Connect,
    Sent(Request),
    Intent(String),
    Confirmed(String),
    Past,
}

/// Runs to the end. `special` may answer a command itself; `cancel` says when somebody wants the end.
pub(crate) fn drive(
    yaml: &str,
    mode: Mode,
    mut special: impl FnMut(&Command, &mut Table) -> Option<Event>,
    mut cancel: impl FnMut(&[Trace]) -> bool,
) -> (FinalOutcome, Vec<Trace>) {
    let mut engine = Engine::new(plan(yaml), inputs(), mode);
    let (mut table, mut trace, mut now) = (Table::new(), Vec::new(), ms(0));
    let mut effects = engine.start(now);
    for _ in 0..10_000 {
        let mut wanted = None;
        for effect in effects {
            match effect {
                Effect::Do(command) => wanted = Some(command),
                Effect::PastPointOfNoReturn => trace.push(Trace::Past),
                Effect::Finished(outcome) => {
                    assert!(engine.is_finished());
                    assert!(
                        engine.handle(Event::Woke, now).is_empty(),
                        "nothing follows the end"
                    );
                    return (*outcome, trace);
                }
                Effect::Step(_) | Effect::Progress(_) => {}
            }
        }
        let command = wanted.expect("the engine wants something until it has finished");
        match &command {
            Command::Connect { .. } => trace.push(Trace::Connect),
            Command::Send { request, .. } => trace.push(Trace::Sent(request.clone())),
            Command::JournalIntent(intent) => trace.push(Trace::Intent(intent.step.clone())),
            Command::JournalConfirmed(intent) => trace.push(Trace::Confirmed(intent.step.clone())),
            _ => {}
        }
        let event = special(&command, &mut table).unwrap_or_else(|| match &command {
            Command::Connect { .. } => Event::Connected {
                announced_vin: Some(VIN.to_owned()),
            },
            Command::Send { request, .. } => Event::Answered(table.answer(request)),
            Command::AskKey { .. } => Event::Key(Ok(vec![2; 8])),
            Command::JournalIntent(_) | Command::JournalConfirmed(_) => Event::Journaled(Ok(())),
            Command::Sleep { until } => {
                now = now.max(*until);
                Event::Woke
            }
        });
        now += ms(1);
        if cancel(&trace) {
            engine.handle(Event::Cancel, now);
        }
        effects = engine.handle(event, now);
    }
    panic!("the engine does not end: {trace:?}");
}

fn run(special: impl FnMut(&Command, &mut Table) -> Option<Event>) -> (FinalOutcome, Vec<Trace>) {
    drive(FLASH, Mode::Run, special, |_| false)
}

fn sent(command: &Command) -> Option<&Request> {
    match command {
        Command::Send { request, .. } => Some(request),
        _ => None,
    }
}

#[test]
fn the_good_run_passes_with_an_intent_before_and_a_confirmation_after_each_write() {
    let (outcome, trace) = run(|_, _| None);
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::Passed, "ok")
    );
    let at = |wanted: &dyn Fn(&Trace) -> bool| trace.iter().position(wanted).unwrap();
    let erase = at(&|one| matches!(one, Trace::Sent(Request::Routine { id: 0xFF00, .. })));
    assert_eq!(
        trace[erase - 2..erase],
        [Trace::Intent("erase".to_owned()), Trace::Past]
    );
    assert_eq!(trace[erase + 1], Trace::Confirmed("erase".to_owned()));
    let counters: Vec<u8> = trace
        .iter()
        .filter_map(|one| match one {
            Trace::Sent(Request::TransferData { counter, .. }) => Some(*counter),
            _ => None,
        })
        .collect();
    assert_eq!(counters, [1, 2, 3, 4]);
}

#[test]
fn the_same_events_give_the_same_effects() {
    assert_eq!(run(|_, _| None), run(|_, _| None));
}

#[test]
fn an_announced_vin_of_another_vehicle_ends_it_before_the_first_request() {
    let (outcome, trace) = run(|command, _| match command {
        Command::Connect { .. } => Some(Event::Connected {
            announced_vin: Some("WDB1110101A000002".to_owned()),
        }),
        _ => None,
    });
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::Aborted, "wrong_vin")
    );
    assert!(
        !trace
            .iter()
            .any(|one| matches!(one, Trace::Sent(Request::SessionControl { .. })))
    );
}

#[test]
fn another_vehicle_after_the_reset_is_in_doubt_and_nothing_is_sent_to_it() {
    let mut connections = 0;
    let (outcome, trace) = run(|command, _| match command {
        Command::Connect { .. } => {
            connections += 1;
            let vin = if connections == 1 {
                VIN
            } else {
                "WDB1110101A000002"
            };
            Some(Event::Connected {
                announced_vin: Some(vin.to_owned()),
            })
        }
        _ => None,
    });
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::InDoubt, "wrong_vin")
    );
    let last = trace.iter().rposition(|one| *one == Trace::Connect).unwrap();
    let only_read = trace[last + 1..].iter().all(|one| {
        matches!(
            one,
            Trace::Sent(Request::ReadData { .. } | Request::ReadDtcsByStatus { .. })
        )
    });
    assert!(only_read, "{:?}", &trace[last..]);
    assert_eq!(
        outcome.not_restored,
        ["communication", "fault recording", "default session"]
    );
}

#[test]
fn a_journal_that_fails_keeps_the_write_from_being_sent() {
    let (outcome, trace) = run(|command, _| match command {
        Command::JournalIntent(_) => Some(Event::Journaled(Err("disk full".to_owned()))),
        _ => None,
    });
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::Error, "journal_failed")
    );
    assert!(
        !trace
            .iter()
            .any(|one| matches!(one, Trace::Sent(Request::Routine { .. })))
    );
}

#[test]
fn a_confirmation_that_fails_after_the_erase_is_in_doubt() {
    let (outcome, _) = run(|command, _| match command {
        Command::JournalConfirmed(_) => Some(Event::Journaled(Err("disk full".to_owned()))),
        _ => None,
    });
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::InDoubt, "journal_failed")
    );
}

#[test]
fn a_signer_that_fails_is_an_error_and_no_key_is_sent() {
    let (outcome, trace) = run(|command, _| match command {
        Command::AskKey { .. } => Some(Event::Key(Err(SignerError {
            detail: "away".to_owned(),
        }))),
        _ => None,
    });
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::Error, "signer_unavailable")
    );
    assert!(
        !trace
            .iter()
            .any(|one| matches!(one, Trace::Sent(Request::SendKey { .. })))
    );
}

#[test]
fn a_link_lost_in_the_download_begins_again_once_and_is_in_doubt_after_that() {
    let mut losses = 0;
    let (outcome, trace) = run(|command, _| match sent(command) {
        Some(request @ Request::TransferData { counter: 3, .. }) => {
            losses += 1;
            Some(Event::Answered(Err(closed(request))))
        }
        _ => None,
    });
    assert_eq!(
        (outcome.verdict, outcome.restarts, losses),
        (Verdict::InDoubt, 1, 2)
    );
    let erases = trace
        .iter()
        .filter(|one| **one == Trace::Intent("erase".to_owned()))
        .count();
    assert_eq!(erases, 2);
}

#[test]
fn a_link_lost_before_the_first_write_is_an_error() {
    let (outcome, _) = run(|command, _| match sent(command) {
        Some(request @ Request::RequestSeed { .. }) => Some(Event::Answered(Err(closed(request)))),
        _ => None,
    });
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::Error, "link_lost")
    );
}

#[test]
fn what_cannot_be_given_back_is_reported() {
    let (outcome, _) = run(|command, _| match sent(command) {
        Some(Request::CommunicationControl { control: 0, .. }) => Some(Event::Answered(Err(refused(
            Service::CommunicationControl,
            Nrc::ConditionsNotCorrect,
        )))),
        _ => None,
    });
    assert_eq!(outcome.verdict, Verdict::Passed);
    assert_eq!(outcome.not_restored, ["communication"]);
    assert!(outcome.detail.unwrap().contains("communication"));
}

#[test]
fn old_software_is_failed_whatever_the_control_unit_confirmed() {
    let (outcome, _) = run(|command, table| {
        if matches!(sent(command), Some(Request::TransferExit { .. })) {
            return Some(Event::Answered(Ok(completion(Response::TransferExit {
                record: vec![],
            }))));
        }
        table.software = "1";
        None
    });
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::Failed, "check_missed")
    );
}

#[test]
fn the_budget_is_heard_before_the_point_of_no_return_only() {
    let slow = FLASH.replace(
        "{id: ext, session: 3}",
        "{id: ext, session: 3}\n  - {id: pause, wait_s: 59}",
    );
    let slow = slow.replace("total_s: 60", "total_s: 10");
    let (outcome, _) = drive(&slow, Mode::Run, |_, _| None, |_| false);
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::Error, "budget_exceeded")
    );
    let late = FLASH.replace("  - {id: reset", "  - {id: pause, wait_s: 59}\n  - {id: reset");
    let late = late.replace("total_s: 60", "total_s: 10");
    let (outcome, _) = drive(&late, Mode::Run, |_, _| None, |_| false);
    assert_eq!(outcome.verdict, Verdict::Passed);
}

#[test]
fn a_retry_repeats_what_it_names_and_nothing_else() {
    let yaml = FLASH.replace(
        "{id: ext, session: 3}",
        "{id: ext, session: 3, retry: {max: 2, nrc: [0x22]}}",
    );
    for (nrc, tries, verdict) in [
        (Nrc::ConditionsNotCorrect, 3, Verdict::Error),
        (Nrc::GeneralReject, 1, Verdict::Error),
    ] {
        let mut asked = 0;
        let special = |command: &Command, _: &mut Table| match sent(command) {
            Some(Request::SessionControl {
                session: uds::Session::Extended,
                ..
            }) => {
                asked += 1;
                Some(Event::Answered(Err(refused(
                    Service::DiagnosticSessionControl,
                    nrc,
                ))))
            }
            _ => None,
        };
        let (outcome, _) = drive(&yaml, Mode::Run, special, |_| false);
        assert_eq!((outcome.verdict, asked), (verdict, tries));
    }
}

#[test]
fn reading_only_modes_write_nothing() {
    for mode in [Mode::VerifyOnly, Mode::Inspect] {
        let (outcome, trace) = drive(FLASH, mode, |_, _| None, |_| false);
        let only_read = trace.iter().all(|one| {
            matches!(
                one,
                Trace::Connect | Trace::Sent(Request::ReadData { .. } | Request::ReadDtcsByStatus { .. })
            )
        });
        assert!(only_read, "{trace:?}");
        let expected = if mode == Mode::VerifyOnly {
            Verdict::Failed
        } else {
            Verdict::InDoubt
        };
        assert_eq!(outcome.verdict, expected, "the software is still the old one");
    }
}

#[test]
fn an_older_version_is_refused_before_anything_is_changed_unless_it_is_allowed() {
    let newer_installed = |command: &Command, table: &mut Table| {
        if table.software == "1" {
            table.software = "10.0";
        }
        let _ = command;
        None
    };
    let (outcome, trace) = run(newer_installed);
    assert_eq!(
        (outcome.verdict, outcome.reason_code.as_str()),
        (Verdict::Aborted, "older_version")
    );
    assert!(
        !trace
            .iter()
            .any(|one| matches!(one, Trace::Sent(Request::SessionControl { .. })))
    );
    let allowed = FLASH.replace("{artifact: image}", "{artifact: image, allow_older: true}");
    let (outcome, _) = drive(&allowed, Mode::Run, newer_installed, |_| false);
    assert_eq!(outcome.verdict, Verdict::Passed);
}
