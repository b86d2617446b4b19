use crate::parameter::{DtcSetting, IoControl, ResetKind, RoutineAction};
use crate::reader::{DecodeError, Reader};
use crate::service::{Service, Session};

/// Bit of a sub-function that asks the server to stay silent on success.
pub(crate) const SUPPRESS: u8 = 0x80;

/// One request of ISO 14229-1.
///
/// `suppress` sets the bit 80 of the sub-function: on success the server stays silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// 10
    SessionControl {
        /// The session asked for.
        session: Session,
        /// No positive answer wanted.
        suppress: bool,
    },
    /// 11
    EcuReset {
        /// The kind of reset.
        kind: ResetKind,
        /// No positive answer wanted.
        suppress: bool,
    },
    /// 14
    ClearDtcs {
        /// Group, 24 bits; `0xFF_FFFF` is all.
        group: u32,
    },
    /// 19 02
    ReadDtcsByStatus {
        /// Faults with any of these status bits.
        mask: u8,
    },
    /// 22 with one identifier: the answer to several carries no lengths and cannot be cut without a table.
    ReadData {
        /// Data identifier.
        did: u16,
    },
    /// 27 with an odd level.
    RequestSeed {
        /// Odd, 01 to 7D.
        level: u8,
        /// Record sent along, mostly empty.
        record: Vec<u8>,
    },
    /// 27 with an even level. The key is never logged by this crate.
    SendKey {
        /// Even: the seed's level plus one.
        level: u8,
        /// The key.
        key: Vec<u8>,
    },
    /// 28
    CommunicationControl {
        /// 00 enables both directions, 01 disables sending, 03 disables both.
        control: u8,
        /// 01 is normal communication.
        communication_type: u8,
        /// No positive answer wanted.
        suppress: bool,
    },
    /// 2E
    WriteData {
        /// Data identifier.
        did: u16,
        /// Raw value, at least one byte.
        data: Vec<u8>,
    },
    /// 2F
    InputOutputControl {
        /// Data identifier of the input or output.
        did: u16,
        /// What is done.
        control: IoControl,
        /// Wanted state and mask.
        state: Vec<u8>,
    },
    /// 31
    Routine {
        /// Start, stop or results.
        action: RoutineAction,
        /// Routine identifier.
        id: u16,
        /// Option record.
        option: Vec<u8>,
    },
    /// 34 with format byte 44: four bytes each of address and size.
    RequestDownload {
        /// Data format: 00 is neither compressed nor encrypted.
        format: u8,
        /// Memory address.
        address: u32,
        /// Size in bytes, uncompressed.
        size: u32,
    },
    /// 36
    TransferData {
        /// Block sequence counter: 1 at first, FF is followed by 00.
        counter: u8,
        /// The block.
        data: Vec<u8>,
    },
    /// 37
    TransferExit {
        /// Parameter record.
        record: Vec<u8>,
    },
    /// 3E 00 or 3E 80
    TesterPresent {
        /// No positive answer wanted.
        suppress: bool,
    },
    /// 85
    ControlDtcSetting {
        /// On or off.
        setting: DtcSetting,
        /// No positive answer wanted.
        suppress: bool,
    },
}

impl Request {
    /// 22
    pub const fn read(did: u16) -> Self {
        Self::ReadData { did }
    }

    /// 2E
    pub fn write(did: u16, data: impl Into<Vec<u8>>) -> Self {
        Self::WriteData {
            did,
            data: data.into(),
        }
    }

    /// 10 with an answer.
    pub const fn session(session: Session) -> Self {
        Self::SessionControl {
            session,
            suppress: false,
        }
    }

    /// 31 01
    pub fn start_routine(id: u16, option: impl Into<Vec<u8>>) -> Self {
        Self::Routine {
            action: RoutineAction::Start,
            id,
            option: option.into(),
        }
    }

    /// 31 03
    pub const fn routine_results(id: u16) -> Self {
        Self::Routine {
            action: RoutineAction::Results,
            id,
            option: Vec::new(),
        }
    }

    /// The service asked for.
    pub const fn service(&self) -> Service {
        match self {
            Self::SessionControl { .. } => Service::DiagnosticSessionControl,
            Self::EcuReset { .. } => Service::EcuReset,
            Self::ClearDtcs { .. } => Service::ClearDiagnosticInformation,
            Self::ReadDtcsByStatus { .. } => Service::ReadDtcInformation,
            Self::ReadData { .. } => Service::ReadDataByIdentifier,
            Self::RequestSeed { .. } | Self::SendKey { .. } => Service::SecurityAccess,
            Self::CommunicationControl { .. } => Service::CommunicationControl,
            Self::WriteData { .. } => Service::WriteDataByIdentifier,
            Self::InputOutputControl { .. } => Service::InputOutputControl,
            Self::Routine { .. } => Service::RoutineControl,
            Self::RequestDownload { .. } => Service::RequestDownload,
            Self::TransferData { .. } => Service::TransferData,
            Self::TransferExit { .. } => Service::RequestTransferExit,
            Self::TesterPresent { .. } => Service::TesterPresent,
            Self::ControlDtcSetting { .. } => Service::ControlDtcSetting,
        }
    }

    /// Whether the server stays silent on success.
    pub const fn is_suppressed(&self) -> bool {
        match self {
            Self::SessionControl { suppress, .. }
            | Self::EcuReset { suppress, .. }
            | Self::CommunicationControl { suppress, .. }
            | Self::TesterPresent { suppress }
            | Self::ControlDtcSetting { suppress, .. } => *suppress,
            _ => false,
        }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let bit = if self.is_suppressed() { SUPPRESS } else { 0 };
        let mut out = vec![self.service().sid()];
        match self {
            Self::SessionControl { session, .. } => out.push(session.code() | bit),
            Self::EcuReset { kind, .. } => out.push(kind.code() | bit),
            Self::ClearDtcs { group } => out.extend(group.to_be_bytes().into_iter().skip(1)),
            Self::ReadDtcsByStatus { mask } => out.extend([0x02, *mask]),
            Self::ReadData { did } => out.extend(did.to_be_bytes()),
            Self::RequestSeed { level, record: data } | Self::SendKey { level, key: data } => {
                out.push(level & !SUPPRESS);
                out.extend(data);
            }
            Self::CommunicationControl {
                control,
                communication_type,
                ..
            } => {
                out.extend([(control & !SUPPRESS) | bit, *communication_type]);
            }
            Self::WriteData { did, data } => {
                out.extend(did.to_be_bytes());
                out.extend(data);
            }
            Self::InputOutputControl { did, control, state } => {
                out.extend(did.to_be_bytes());
                out.push(control.code());
                out.extend(state);
            }
            Self::Routine { action, id, option } => {
                out.push(action.code());
                out.extend(id.to_be_bytes());
                out.extend(option);
            }
            Self::RequestDownload {
                format,
                address,
                size,
            } => {
                out.extend([*format, 0x44]);
                out.extend(address.to_be_bytes());
                out.extend(size.to_be_bytes());
            }
            Self::TransferData { counter, data } => {
                out.push(*counter);
                out.extend(data);
            }
            Self::TransferExit { record } => out.extend(record),
            Self::TesterPresent { .. } => out.push(bit),
            Self::ControlDtcSetting { setting, .. } => out.push(setting.code() | bit),
        }
        out
    }

    /// Reads a request, as a server does.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no request of these services. A download's address and size may have
    /// one to four bytes each.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (sid, mut reader) = Reader::new(bytes)?;
        let service = Service::from_sid(sid).ok_or(DecodeError::UnknownService(sid))?;
        let request = Self::decode_body(service, &mut reader)?;
        reader.finish()?;
        Ok(request)
    }

    fn decode_body(service: Service, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match service {
            Service::DiagnosticSessionControl => {
                let (code, suppress) = sub_function(reader)?;
                Self::SessionControl {
                    session: Session::from(code),
                    suppress,
                }
            }
            Service::EcuReset => {
                let (code, suppress) = sub_function(reader)?;
                Self::EcuReset {
                    kind: ResetKind::from(code),
                    suppress,
                }
            }
            Service::ClearDiagnosticInformation => Self::ClearDtcs {
                group: narrow(reader, 3)?,
            },
            Service::ReadDtcInformation => match reader.byte()? {
                0x02 => Self::ReadDtcsByStatus { mask: reader.byte()? },
                other => return Err(reader.unknown_sub_function(other)),
            },
            Service::ReadDataByIdentifier => Self::ReadData { did: reader.word()? },
            Service::SecurityAccess => match reader.byte()? {
                0x00 | 0x7F..=0xFF => return Err(reader.out_of_range()),
                level if level & 1 == 1 => Self::RequestSeed {
                    level,
                    record: reader.rest(),
                },
                level => Self::SendKey {
                    level,
                    key: reader.rest(),
                },
            },
            Service::CommunicationControl => {
                let (control, suppress) = sub_function(reader)?;
                Self::CommunicationControl {
                    control,
                    communication_type: reader.byte()?,
                    suppress,
                }
            }
            Service::WriteDataByIdentifier => {
                let did = reader.word()?;
                let first = reader.byte()?;
                let mut data = vec![first];
                data.extend(reader.rest());
                Self::WriteData { did, data }
            }
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
                    option: reader.rest(),
                }
            }
            Service::RequestDownload => {
                let format = reader.byte()?;
                let lengths = reader.byte()?;
                let address = narrow(reader, usize::from(lengths & 0x0F))?;
                let size = narrow(reader, usize::from(lengths >> 4))?;
                Self::RequestDownload {
                    format,
                    address,
                    size,
                }
            }
            Service::TransferData => Self::TransferData {
                counter: reader.byte()?,
                data: reader.rest(),
            },
            Service::RequestTransferExit => Self::TransferExit {
                record: reader.rest(),
            },
            Service::TesterPresent => match sub_function(reader)? {
                (0x00, suppress) => Self::TesterPresent { suppress },
                (other, _) => return Err(reader.unknown_sub_function(other)),
            },
            Service::ControlDtcSetting => {
                let (code, suppress) = sub_function(reader)?;
                let setting = DtcSetting::decode(code, reader)?;
                Self::ControlDtcSetting { setting, suppress }
            }
        })
    }
}

fn sub_function(reader: &mut Reader<'_>) -> Result<(u8, bool), DecodeError> {
    let byte = reader.byte()?;
    Ok((byte & !SUPPRESS, byte & SUPPRESS != 0))
}

/// A number of one to four bytes.
fn narrow(reader: &mut Reader<'_>, length: usize) -> Result<u32, DecodeError> {
    if !(1..=4).contains(&length) {
        return Err(reader.out_of_range());
    }
    u32::try_from(reader.number(length)?).map_err(|_| reader.out_of_range())
}
