//! Whatever goes wrong at whatever command, some sentences stay true.

use procedure::{Command, Event, Failure, FinalOutcome, Mode, SignerError, Verdict};
use proptest::prelude::*;
use uds::{Nrc, Request, Service, UdsError, Wait};

use crate::bench::{FLASH, VIN, ms};
use crate::engine::{Trace, closed, drive, refused};

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Refused(u8),
    Silent,
    Lost,
    Cancel,
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        prop::sample::select(vec![0x10, 0x22, 0x24, 0x31, 0x33, 0x35, 0x36, 0x72, 0x73, 0x7F])
            .prop_map(Wrong::Refused),
        Just(Wrong::Silent),
        Just(Wrong::Lost),
        Just(Wrong::Cancel),
    ]
}

fn event(command: &Command, wrong: Wrong) -> Option<Event> {
    Some(match (command, wrong) {
        (_, Wrong::Cancel) | (Command::Sleep { .. }, _) => return None,
        (Command::Send { request, .. }, Wrong::Refused(nrc)) => {
            Event::Answered(Err(refused(request.service(), Nrc::from(nrc))))
        }
        (Command::Send { request, .. }, Wrong::Silent) => {
            let service = request.service();
            let timeout = UdsError::Timeout {
                service,
                wait: Wait::P2,
                waited: ms(50),
                attempts: 1,
            };
            Event::Answered(Err(Failure::Uds(timeout)))
        }
        (Command::Send { request, .. }, Wrong::Lost) => Event::Answered(Err(closed(request))),
        (Command::Connect { .. }, _) => Event::NotConnected {
            detail: "nobody".to_owned(),
        },
        (Command::AskKey { .. }, _) => Event::Key(Err(SignerError {
            detail: "away".to_owned(),
        })),
        (Command::JournalIntent(_) | Command::JournalConfirmed(_), _) => {
            Event::Journaled(Err("disk full".to_owned()))
        }
    })
}

const fn is_write(request: &Request) -> bool {
    matches!(
        request.service(),
        Service::WriteDataByIdentifier
            | Service::RequestDownload
            | Service::TransferData
            | Service::RequestTransferExit
            | Service::RoutineControl
            | Service::ClearDiagnosticInformation
    )
}

fn check(outcome: &FinalOutcome, trace: &[Trace]) -> Result<(), TestCaseError> {
    let mut vin_on_this_connection = false;
    let mut part_on_this_connection = false;
    let mut intended = false;
    let mut blocks: Option<u8> = None;
    let mut last_write = None;
    let mut last_version = None;
    for (index, one) in trace.iter().enumerate() {
        match one {
            Trace::Connect => {
                (vin_on_this_connection, part_on_this_connection, blocks) = (false, false, None);
            }
            Trace::Intent(_) => intended = true,
            Trace::Sent(Request::ReadData { did: 0xF190 }) => vin_on_this_connection = true,
            Trace::Sent(Request::ReadData { did: 0xF187 }) => part_on_this_connection = true,
            Trace::Sent(Request::ReadData { did: 0xF189 }) => last_version = Some(index),
            Trace::Sent(request) if is_write(request) => {
                prop_assert!(
                    vin_on_this_connection && part_on_this_connection,
                    "a write before the comparison"
                );
                prop_assert!(intended, "a write before its intent");
                last_write = Some(index);
                if let Request::TransferData { counter, .. } = request {
                    prop_assert!(
                        blocks.is_some() || *counter == 1,
                        "a download went on over a new connection"
                    );
                    blocks = Some(*counter);
                }
            }
            _ => {}
        }
    }
    if outcome.verdict == Verdict::Passed {
        prop_assert!(
            last_version > last_write,
            "passed without a reading after the last write"
        );
    }
    if outcome.verdict == Verdict::Aborted {
        prop_assert_eq!(last_write, None, "aborted after a write");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_invariants_hold_with_faults_anywhere(faults in prop::collection::vec((0_usize..90, wrong()), 0..4)) {
        let mut number = 0;
        let mut cancel_wanted = false;
        let at = std::cell::Cell::new(false);
        let special = |command: &Command, _: &mut crate::engine::Table| {
            number += 1;
            let fault = faults.iter().find(|(place, _)| *place == number).map(|(_, wrong)| *wrong)?;
            if matches!(fault, Wrong::Cancel) {
                at.set(true);
            }
            event(command, fault)
        };
        let cancel = |_: &[Trace]| {
            cancel_wanted |= at.get();
            cancel_wanted
        };
        let (outcome, trace) = drive(FLASH, Mode::Run, special, cancel);
        check(&outcome, &trace)?;
        if faults.is_empty() {
            prop_assert_eq!(outcome.verdict, Verdict::Passed);
        }
    }
}

#[test]
fn each_single_fault_at_each_command_keeps_the_invariants() {
    let kinds = [
        Wrong::Refused(0x22),
        Wrong::Refused(0x72),
        Wrong::Silent,
        Wrong::Lost,
    ];
    for place in 1..80 {
        for kind in kinds {
            let mut number = 0;
            let special = |command: &Command, _: &mut crate::engine::Table| {
                number += 1;
                if number == place {
                    event(command, kind)
                } else {
                    None
                }
            };
            let (outcome, trace) = drive(FLASH, Mode::Run, special, |_| false);
            check(&outcome, &trace).unwrap_or_else(|error| panic!("{kind:?} at command {place}: {error}"));
            assert_ne!(outcome.reason_code, "internal", "{kind:?} at command {place}");
        }
    }
    assert_eq!(VIN.len(), 17);
}
