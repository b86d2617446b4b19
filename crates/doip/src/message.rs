use crate::codes::{ActivationCode, ActivationType, DiagnosticNackCode, HeaderNackCode};

/// Version sent: ISO 13400-2:2012, which entities of 2012 and 2019 understand.
pub const PROTOCOL_VERSION: u8 = 0x02;
/// Version of ISO 13400-2:2019, accepted.
const VERSION_2019: u8 = 0x03;
/// Version for vehicle identification by a tester that does not know the vehicle's.
const VERSION_ANY: u8 = 0xFF;

/// Length of the generic header in bytes.
pub const HEADER_LENGTH: usize = 8;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Version and inverse version do not belong together or are unknown.
    #[error("incorrect pattern: version {version:02X}, inverse {inverse:02X}")]
    Pattern {
        /// First byte.
        version: u8,
        /// Second byte.
        inverse: u8,
    },
    /// The payload type is unknown.
    #[error("unknown payload type {0:04X}")]
    UnknownType(u16),
    /// The payload is longer than the limit.
    #[error("payload of {length} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Announced length in bytes.
        length: u32,
        /// The limit in bytes.
        limit: u32,
    },
    /// The length does not fit the payload type.
    #[error("payload type {payload_type:04X} cannot be {length} bytes long")]
    Length {
        /// The payload type.
        payload_type: u16,
        /// Announced length in bytes.
        length: usize,
    },
    /// The bytes end before the message does.
    #[error("the message is incomplete")]
    Incomplete,
}

impl DecodeError {
    /// The negative acknowledgement that an entity owes.
    pub const fn nack(self) -> HeaderNackCode {
        match self {
            Self::Pattern { .. } => HeaderNackCode::IncorrectPattern,
            Self::UnknownType(_) => HeaderNackCode::UnknownPayloadType,
            Self::TooLarge { .. } => HeaderNackCode::MessageTooLarge,
            Self::Length { .. } | Self::Incomplete => HeaderNackCode::InvalidPayloadLength,
        }
    }

    /// Whether the stream cannot be followed any further, so that the connection has to be closed.
    pub const fn closes(self) -> bool {
        matches!(
            self,
            Self::Pattern { .. } | Self::Length { .. } | Self::Incomplete
        )
    }
}

/// What an entity says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VehicleAnnouncement {
    /// Vehicle identification number, 17 characters of ASCII.
    pub vin: [u8; 17],
    /// Logical address of the entity.
    pub logical_address: u16,
    /// Entity identification, mostly its MAC address.
    pub eid: [u8; 6],
    /// Group identification.
    pub gid: [u8; 6],
    /// 00: routing activation is enough; 10: central security first.
    pub further_action: u8,
    /// 00: VIN and GID are synchronised; 10: not yet. Absent in old entities.
    pub sync_status: Option<u8>,
}

impl VehicleAnnouncement {
    /// The VIN as text, if it is text.
    pub fn vin_text(&self) -> Option<&str> {
        core::str::from_utf8(&self.vin).ok()
    }
}

/// One message of ISO 13400-2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// 0000
    HeaderNack(HeaderNackCode),
    /// 0001
    IdentificationRequest,
    /// 0002
    IdentificationRequestByEid([u8; 6]),
    /// 0003
    IdentificationRequestByVin([u8; 17]),
    /// 0004
    Announcement(VehicleAnnouncement),
    /// 0005
    ActivationRequest {
        /// Logical address of the tester.
        source: u16,
        /// What is activated.
        activation: ActivationType,
        /// Bytes of the manufacturer.
        oem: Option<[u8; 4]>,
    },
    /// 0006
    ActivationResponse {
        /// Logical address of the tester.
        tester: u16,
        /// Logical address of the entity.
        entity: u16,
        /// The outcome.
        code: ActivationCode,
        /// Bytes of the manufacturer.
        oem: Option<[u8; 4]>,
    },
    /// 0007
    AliveCheckRequest,
    /// 0008
    AliveCheckResponse {
        /// Logical address of the tester.
        source: u16,
    },
    /// 4001
    EntityStatusRequest,
    /// 4002
    EntityStatusResponse {
        /// 00 gateway, 01 node.
        node_type: u8,
        /// Most sockets.
        max_sockets: u8,
        /// Sockets in use.
        open_sockets: u8,
        /// Longest message in bytes.
        max_data_size: Option<u32>,
    },
    /// 4003
    PowerModeRequest,
    /// 4004
    PowerModeResponse {
        /// 00 not ready, 01 ready, 02 not supported.
        mode: u8,
    },
    /// 8001
    Diagnostic {
        /// Logical address of the sender.
        source: u16,
        /// Logical address of the receiver.
        target: u16,
        /// The UDS message, not empty.
        data: Vec<u8>,
    },
    /// 8002; `source` is the ECU.
    DiagnosticAck {
        /// Logical address of the ECU.
        source: u16,
        /// Logical address of the tester.
        target: u16,
        /// 00.
        code: u8,
        /// Begin of the message acknowledged, may be empty.
        previous: Vec<u8>,
    },
    /// 8003; `source` is the ECU.
    DiagnosticNack {
        /// Logical address of the ECU.
        source: u16,
        /// Logical address of the tester.
        target: u16,
        /// Why.
        code: DiagnosticNackCode,
        /// Begin of the message refused, may be empty.
        previous: Vec<u8>,
    },
}

impl Message {
    const fn payload_type(&self) -> u16 {
        match self {
            Self::HeaderNack(_) => 0x0000,
            Self::IdentificationRequest => 0x0001,
            Self::IdentificationRequestByEid(_) => 0x0002,
            Self::IdentificationRequestByVin(_) => 0x0003,
            Self::Announcement(_) => 0x0004,
            Self::ActivationRequest { .. } => 0x0005,
            Self::ActivationResponse { .. } => 0x0006,
            Self::AliveCheckRequest => 0x0007,
            Self::AliveCheckResponse { .. } => 0x0008,
            Self::EntityStatusRequest => 0x4001,
            Self::EntityStatusResponse { .. } => 0x4002,
            Self::PowerModeRequest => 0x4003,
            Self::PowerModeResponse { .. } => 0x4004,
            Self::Diagnostic { .. } => 0x8001,
            Self::DiagnosticAck { .. } => 0x8002,
            Self::DiagnosticNack { .. } => 0x8003,
        }
    }

    /// The bytes on the wire, header included.
    pub fn encode(&self) -> Vec<u8> {
        let payload = self.payload();
        // A payload above 4 GiB cannot be built on the machines that this runs on.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(payload.len().saturating_add(HEADER_LENGTH));
        let version = match self {
            Self::IdentificationRequest
            | Self::IdentificationRequestByEid(_)
            | Self::IdentificationRequestByVin(_) => VERSION_ANY,
            _ => PROTOCOL_VERSION,
        };
        out.extend([version, !version]);
        out.extend(self.payload_type().to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend(payload);
        out
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::HeaderNack(code) => out.push(code.code()),
            Self::IdentificationRequest
            | Self::AliveCheckRequest
            | Self::EntityStatusRequest
            | Self::PowerModeRequest => {}
            Self::IdentificationRequestByEid(eid) => out.extend(eid),
            Self::IdentificationRequestByVin(vin) => out.extend(vin),
            Self::Announcement(vehicle) => {
                out.extend(vehicle.vin);
                out.extend(vehicle.logical_address.to_be_bytes());
                out.extend(vehicle.eid);
                out.extend(vehicle.gid);
                out.push(vehicle.further_action);
                out.extend(vehicle.sync_status);
            }
            Self::ActivationRequest {
                source,
                activation,
                oem,
            } => {
                out.extend(source.to_be_bytes());
                out.push(activation.code());
                out.extend([0; 4]);
                out.extend(oem.iter().flatten());
            }
            Self::ActivationResponse {
                tester,
                entity,
                code,
                oem,
            } => {
                out.extend(tester.to_be_bytes());
                out.extend(entity.to_be_bytes());
                out.push(code.code());
                out.extend([0; 4]);
                out.extend(oem.iter().flatten());
            }
            Self::AliveCheckResponse { source } => out.extend(source.to_be_bytes()),
            Self::EntityStatusResponse {
                node_type,
                max_sockets,
                open_sockets,
                max_data_size,
            } => {
                out.extend([*node_type, *max_sockets, *open_sockets]);
                out.extend(max_data_size.iter().flat_map(|size| size.to_be_bytes()));
            }
            Self::PowerModeResponse { mode } => out.push(*mode),
            Self::Diagnostic { source, target, data } => {
                out.extend(source.to_be_bytes());
                out.extend(target.to_be_bytes());
                out.extend(data);
            }
            Self::DiagnosticAck {
                source,
                target,
                code,
                previous,
            } => {
                out.extend(source.to_be_bytes());
                out.extend(target.to_be_bytes());
                out.push(*code);
                out.extend(previous);
            }
            Self::DiagnosticNack {
                source,
                target,
                code,
                previous,
            } => {
                out.extend(source.to_be_bytes());
                out.extend(target.to_be_bytes());
                out.push(code.code());
                out.extend(previous);
            }
        }
        out
    }

    /// Reads one whole message, as it arrives in a datagram.
    ///
    /// # Errors
    /// [`DecodeError`]; bytes after the message are an error of length.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (head, payload) = bytes.split_first_chunk().ok_or(DecodeError::Incomplete)?;
        let header = Header::decode(*head)?;
        let known = usize::try_from(header.length).is_ok_and(|length| length == payload.len());
        if !known {
            return Err(DecodeError::Length {
                payload_type: header.payload_type,
                length: payload.len(),
            });
        }
        Self::decode_payload(header.payload_type, payload)
    }

    pub(crate) fn decode_payload(payload_type: u16, payload: &[u8]) -> Result<Self, DecodeError> {
        let wrong = DecodeError::Length {
            payload_type,
            length: payload.len(),
        };
        if !is_known(payload_type) {
            return Err(DecodeError::UnknownType(payload_type));
        }
        let mut fields = Fields { rest: payload };
        let message = fields.message(payload_type).ok_or(wrong)?;
        if fields.rest.is_empty() {
            Ok(message)
        } else {
            Err(wrong)
        }
    }
}

pub(crate) const fn is_known(payload_type: u16) -> bool {
    matches!(payload_type, 0x0000..=0x0008 | 0x4001..=0x4004 | 0x8001..=0x8003)
}

/// The generic header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_type: u16,
    pub(crate) length: u32,
}

impl Header {
    /// # Errors
    /// [`DecodeError::Pattern`] only: whether type and length are acceptable is asked later.
    pub(crate) fn decode(bytes: [u8; HEADER_LENGTH]) -> Result<Self, DecodeError> {
        let [version, inverse, t0, t1, l0, l1, l2, l3] = bytes;
        let payload_type = u16::from_be_bytes([t0, t1]);
        // The version "any" is for identification only (types 0001 to 0003).
        let known = match version {
            PROTOCOL_VERSION | VERSION_2019 => true,
            VERSION_ANY => matches!(payload_type, 0x0001..=0x0003),
            _ => false,
        };
        if !known || inverse != !version {
            return Err(DecodeError::Pattern { version, inverse });
        }
        Ok(Self {
            payload_type,
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn word(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn tail(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.rest).to_vec()
    }

    #[expect(
        clippy::option_option,
        reason = "outside: too short; inside: the field may be left out"
    )]
    fn optional<const N: usize>(&mut self) -> Option<Option<[u8; N]>> {
        if self.rest.is_empty() {
            Some(None)
        } else {
            self.array().map(Some)
        }
    }

    fn message(&mut self, payload_type: u16) -> Option<Message> {
        Some(match payload_type {
            0x0000 => Message::HeaderNack(HeaderNackCode::from(self.byte()?)),
            0x0001 => Message::IdentificationRequest,
            0x0002 => Message::IdentificationRequestByEid(self.array()?),
            0x0003 => Message::IdentificationRequestByVin(self.array()?),
            0x0004 => Message::Announcement(VehicleAnnouncement {
                vin: self.array()?,
                logical_address: self.word()?,
                eid: self.array()?,
                gid: self.array()?,
                further_action: self.byte()?,
                sync_status: self.optional()?.map(|[byte]| byte),
            }),
            0x0005 => {
                let source = self.word()?;
                let activation = ActivationType::from(self.byte()?);
                let _reserved: [u8; 4] = self.array()?;
                Message::ActivationRequest {
                    source,
                    activation,
                    oem: self.optional()?,
                }
            }
            0x0006 => {
                let (tester, entity) = (self.word()?, self.word()?);
                let code = ActivationCode::from(self.byte()?);
                let _reserved: [u8; 4] = self.array()?;
                Message::ActivationResponse {
                    tester,
                    entity,
                    code,
                    oem: self.optional()?,
                }
            }
            0x0007 => Message::AliveCheckRequest,
            0x0008 => Message::AliveCheckResponse { source: self.word()? },
            0x4001 => Message::EntityStatusRequest,
            0x4002 => Message::EntityStatusResponse {
                node_type: self.byte()?,
                max_sockets: self.byte()?,
                open_sockets: self.byte()?,
                max_data_size: self.optional()?.map(u32::from_be_bytes),
            },
            0x4003 => Message::PowerModeRequest,
            0x4004 => Message::PowerModeResponse { mode: self.byte()? },
            0x8001 => {
                let (source, target) = (self.word()?, self.word()?);
                let data = self.tail();
                if data.is_empty() {
                    return None;
                }
                Message::Diagnostic { source, target, data }
            }
            0x8002 => Message::DiagnosticAck {
                source: self.word()?,
                target: self.word()?,
                code: self.byte()?,
                previous: self.tail(),
            },
            0x8003 => Message::DiagnosticNack {
                source: self.word()?,
                target: self.word()?,
                code: DiagnosticNackCode::from(self.byte()?),
                previous: self.tail(),
            },
            _ => return None,
        })
    }
}
