use core::time::Duration;

use crate::nrc::Nrc;
use crate::parameter::{DtcSetting, IoControl, ResetKind, RoutineAction};
use crate::reader::{DecodeError, Reader};
use crate::request::{Request, SUPPRESS};
use crate::service::{Service, Session};

/// First byte of a negative answer.
const NEGATIVE: u8 = 0x7F;

/// The times a server promises in its answer to 10, ISO 14229-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTiming {
    /// P2: the first answer, in milliseconds.
    pub p2_ms: u16,
    /// P2*: the answer after a 78, in units of 10 ms.
    pub p2_star_10ms: u16,
}

impl SessionTiming {
    /// P2 as a duration.
    pub const fn p2(self) -> Duration {
        Duration::from_millis(self.p2_ms as u64)
    }

    /// P2* as a duration.
    pub const fn p2_star(self) -> Duration {
        Duration::from_millis((self.p2_star_10ms as u64).saturating_mul(10))
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DtcRecord {
    /// Diagnostic trouble code, 24 bits.
    pub code: u32,
    /// Status bits, ISO 14229-1 annex D.
    pub status: u8,
}

/// One answer of ISO 14229-1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// 7F
    Negative {
        /// Service identifier of the request refused.
        service: u8,
        /// Why.
        nrc: Nrc,
    },
    /// 50
    SessionControl {
        /// The session now active.
        session: Session,
        /// P2 and P2*.
        timing: SessionTiming,
    },
    /// 51
    EcuReset {
        /// The kind of reset.
        kind: ResetKind,
        /// Seconds until the ECU sleeps, only with kind 04.
        power_down_s: Option<u8>,
    },
    /// 54
    ClearDtcs,
    /// 59 02
    Dtcs {
        /// Status bits that the server supports.
        availability_mask: u8,
        /// The faults.
        records: Vec<DtcRecord>,
    },
    /// 62
    Data {
        /// Data identifier.
        did: u16,
        /// Raw value.
        data: Vec<u8>,
    },
    /// 67 with an odd level; a seed of zeros says that the level is unlocked already.
    Seed {
        /// Odd.
        level: u8,
        /// The seed.
        seed: Vec<u8>,
    },
    /// 67 with an even level: unlocked.
    KeyAccepted {
        /// Even.
        level: u8,
    },
    /// 68
    CommunicationControl {
        /// The sub-function.
        control: u8,
    },
    /// 6E
    WriteData {
        /// Data identifier.
        did: u16,
    },
    /// 6F
    InputOutputControl {
        /// Data identifier.
        did: u16,
        /// What was done.
        control: IoControl,
        /// State now.
        state: Vec<u8>,
    },
    /// 71
    Routine {
        /// Start, stop or results.
        action: RoutineAction,
        /// Routine identifier.
        id: u16,
        /// Status record, raw.
        status: Vec<u8>,
    },
    /// 74
    DownloadAccepted {
        /// The longest 36 request in bytes, service identifier and counter included.
        max_block_length: u64,
    },
    /// 76
    TransferData {
        /// The counter answered.
        counter: u8,
        /// Parameter record.
        record: Vec<u8>,
    },
    /// 77
    TransferExit {
        /// Parameter record.
        record: Vec<u8>,
    },
    /// 7E
    TesterPresent,
    /// C5
    ControlDtcSetting {
        /// On or off.
        setting: DtcSetting,
    },
}

impl Response {
    /// The bytes on the wire, as a server sends them.
    pub fn encode(&self) -> Vec<u8> {
        let positive = |service: Service| vec![service.positive_sid()];
        match self {
            Self::Negative { service, nrc } => vec![NEGATIVE, *service, nrc.code()],
            Self::SessionControl { session, timing } => {
                let mut out = positive(Service::DiagnosticSessionControl);
                out.push(session.code());
                out.extend(timing.p2_ms.to_be_bytes());
                out.extend(timing.p2_star_10ms.to_be_bytes());
                out
            }
            Self::EcuReset { kind, power_down_s } => {
                let mut out = positive(Service::EcuReset);
                out.push(kind.code());
                out.extend(power_down_s);
                out
            }
            Self::ClearDtcs => positive(Service::ClearDiagnosticInformation),
            Self::Dtcs {
                availability_mask,
                records,
            } => {
                let mut out = positive(Service::ReadDtcInformation);
                out.extend([0x02, *availability_mask]);
                for record in records {
                    out.extend(record.code.to_be_bytes().into_iter().skip(1));
                    out.push(record.status);
                }
                out
            }
            Self::Data { did, data } => with_word(Service::ReadDataByIdentifier, *did, data),
            Self::Seed { level, seed } => {
                let mut out = positive(Service::SecurityAccess);
                out.push(*level);
                out.extend(seed);
                out
            }
            Self::KeyAccepted { level } => vec![Service::SecurityAccess.positive_sid(), *level],
            Self::CommunicationControl { control } => {
                vec![Service::CommunicationControl.positive_sid(), *control]
            }
            Self::WriteData { did } => with_word(Service::WriteDataByIdentifier, *did, &[]),
            Self::InputOutputControl { did, control, state } => {
                let mut out = with_word(Service::InputOutputControl, *did, &[control.code()]);
                out.extend(state);
                out
            }
            Self::Routine { action, id, status } => {
                let mut out = positive(Service::RoutineControl);
                out.push(action.code());
                out.extend(id.to_be_bytes());
                out.extend(status);
                out
            }
            Self::DownloadAccepted { max_block_length } => {
                let bytes = max_block_length.to_be_bytes();
                let digits: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
                let mut out = positive(Service::RequestDownload);
                out.push(u8::try_from(digits.len()).unwrap_or(8) << 4);
                out.extend(digits);
                out
            }
            Self::TransferData { counter, record } => {
                let mut out = positive(Service::TransferData);
                out.push(*counter);
                out.extend(record);
                out
            }
            Self::TransferExit { record } => {
                let mut out = positive(Service::RequestTransferExit);
                out.extend(record);
                out
            }
            Self::TesterPresent => vec![Service::TesterPresent.positive_sid(), 0x00],
            Self::ControlDtcSetting { setting } => {
                vec![Service::ControlDtcSetting.positive_sid(), setting.code()]
            }
        }
    }

    /// Reads an answer, as a tester does.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no answer of these services.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (first, mut reader) = Reader::new(bytes)?;
        if first == NEGATIVE {
            let service = reader.byte()?;
            let nrc = Nrc::from(reader.byte()?);
            reader.finish()?;
            return Ok(Self::Negative { service, nrc });
        }
        let service = (first & 0x40 != 0)
            .then(|| Service::from_sid(first & !0x40))
            .flatten()
            .ok_or(DecodeError::UnknownService(first))?;
        let response = Self::decode_body(service, &mut reader)?;
        reader.finish()?;
        Ok(response)
    }

    fn decode_body(service: Service, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match service {
            Service::DiagnosticSessionControl => Self::SessionControl {
                session: Session::from(sub_function(reader)?),
                timing: SessionTiming {
                    p2_ms: reader.word()?,
                    p2_star_10ms: reader.word()?,
                },
            },
            Service::EcuReset => Self::EcuReset {
                kind: ResetKind::from(sub_function(reader)?),
                power_down_s: if reader.left() == 0 {
                    None
                } else {
                    Some(reader.byte()?)
                },
            },
            Service::ClearDiagnosticInformation => Self::ClearDtcs,
            Service::ReadDtcInformation => match reader.byte()? {
                0x02 => Self::decode_dtcs(reader)?,
                other => return Err(reader.unknown_sub_function(other)),
            },
            Service::ReadDataByIdentifier => Self::Data {
                did: reader.word()?,
                data: reader.rest(),
            },
            Service::SecurityAccess => match reader.byte()? {
                0x00 | 0x7F..=0xFF => return Err(reader.out_of_range()),
                level if level & 1 == 1 => Self::Seed {
                    level,
                    seed: reader.rest(),
                },
                level => Self::KeyAccepted { level },
            },
            Service::CommunicationControl => Self::CommunicationControl {
                control: sub_function(reader)?,
            },
            Service::WriteDataByIdentifier => Self::WriteData { did: reader.word()? },
            Service::InputOutputControl => {
                let did = reader.word()?;
                let code = reader.byte()?;
                let control = IoControl::decode(code, reader)?;
                Self::InputOutputControl {
                    did,
                    control,
                    state: reader.rest(),
                }
            }
            Service::RoutineControl => {
                let code = reader.byte()?;
                let action = RoutineAction::decode(code, reader)?;
                Self::Routine {
                    action,
                    id: reader.word()?,
                    status: reader.rest(),
                }
            }
            Service::RequestDownload => {
                let length = usize::from(reader.byte()? >> 4);
                if length == 0 {
                    return Err(reader.out_of_range());
                }
                Self::DownloadAccepted {
                    max_block_length: reader.number(length)?,
                }
            }
            Service::TransferData => Self::TransferData {
                counter: reader.byte()?,
                record: reader.rest(),
            },
            Service::RequestTransferExit => Self::TransferExit {
                record: reader.rest(),
            },
            Service::TesterPresent => match sub_function(reader)? {
                0x00 => Self::TesterPresent,
                other => return Err(reader.unknown_sub_function(other)),
            },
            Service::ControlDtcSetting => {
                let code = sub_function(reader)?;
                let setting = DtcSetting::decode(code, reader)?;
                Self::ControlDtcSetting { setting }
            }
        })
    }

    fn decode_dtcs(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let availability_mask = reader.byte()?;
        let mut records = Vec::new();
        while reader.left() > 0 {
            let code = u32::try_from(reader.number(3)?).unwrap_or_default();
            records.push(DtcRecord {
                code,
                status: reader.byte()?,
            });
        }
        Ok(Self::Dtcs {
            availability_mask,
            records,
        })
    }

    /// Whether this is the positive answer to that request: same service and the same echoed fields. An answer
    /// that is not belongs to an earlier request.
    pub fn answers(&self, request: &Request) -> bool {
        match (self, request) {
            (Self::SessionControl { session: a, .. }, Request::SessionControl { session: b, .. }) => {
                a.code() == b.code()
            }
            (Self::EcuReset { kind: a, .. }, Request::EcuReset { kind: b, .. }) => a.code() == b.code(),
            (Self::ClearDtcs, Request::ClearDtcs { .. })
            | (Self::Dtcs { .. }, Request::ReadDtcsByStatus { .. })
            | (Self::DownloadAccepted { .. }, Request::RequestDownload { .. })
            | (Self::TransferExit { .. }, Request::TransferExit { .. })
            | (Self::TesterPresent, Request::TesterPresent { .. }) => true,
            (Self::Data { did: a, .. }, Request::ReadData { did: b })
            | (Self::WriteData { did: a }, Request::WriteData { did: b, .. }) => a == b,
            (Self::Seed { level: a, .. }, Request::RequestSeed { level: b, .. })
            | (Self::KeyAccepted { level: a }, Request::SendKey { level: b, .. })
            | (Self::TransferData { counter: a, .. }, Request::TransferData { counter: b, .. }) => a == b,
            (Self::CommunicationControl { control: a }, Request::CommunicationControl { control: b, .. }) => {
                *a == b & !SUPPRESS
            }
            (
                Self::InputOutputControl {
                    did: a, control: b, ..
                },
                Request::InputOutputControl {
                    did: c, control: d, ..
                },
            ) => a == c && b == d,
            (Self::Routine { action: a, id: b, .. }, Request::Routine { action: c, id: d, .. }) => {
                a == c && b == d
            }
            (Self::ControlDtcSetting { setting: a }, Request::ControlDtcSetting { setting: b, .. }) => a == b,
            _ => false,
        }
    }
}

fn sub_function(reader: &mut Reader<'_>) -> Result<u8, DecodeError> {
    Ok(reader.byte()? & !SUPPRESS)
}

fn with_word(service: Service, word: u16, data: &[u8]) -> Vec<u8> {
    let mut out = vec![service.positive_sid()];
    out.extend(word.to_be_bytes());
    out.extend(data);
    out
}
