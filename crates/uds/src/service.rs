use core::fmt;

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident = $sid:literal, $iso:literal;)*) => {
        /// The services of ISO 14229-1 that this crate speaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Service { $($(#[$doc])* $name,)* }

        impl Service {
            /// All of them.
            pub const ALL: &'static [Service] = &[$(Service::$name,)*];

            /// Service identifier of the request.
            pub const fn sid(self) -> u8 {
                match self { $(Service::$name => $sid,)* }
            }

            /// Name in ISO 14229-1.
            pub const fn name(self) -> &'static str {
                match self { $(Service::$name => $iso,)* }
            }

            /// The service of a request's first byte.
            pub const fn from_sid(sid: u8) -> Option<Self> {
                match sid { $($sid => Some(Service::$name),)* _ => None }
            }
        }
    };
}

services! {
    /// 10
    DiagnosticSessionControl = 0x10, "DiagnosticSessionControl";
    /// 11
    EcuReset = 0x11, "ECUReset";
    /// 14
    ClearDiagnosticInformation = 0x14, "ClearDiagnosticInformation";
    /// 19
    ReadDtcInformation = 0x19, "ReadDTCInformation";
    /// 22
    ReadDataByIdentifier = 0x22, "ReadDataByIdentifier";
    /// 27
    SecurityAccess = 0x27, "SecurityAccess";
    /// 28
    CommunicationControl = 0x28, "CommunicationControl";
    /// 2E
    WriteDataByIdentifier = 0x2E, "WriteDataByIdentifier";
    /// 2F
    InputOutputControl = 0x2F, "InputOutputControlByIdentifier";
    /// 31
    RoutineControl = 0x31, "RoutineControl";
    /// 34
    RequestDownload = 0x34, "RequestDownload";
    /// 36
    TransferData = 0x36, "TransferData";
    /// 37
    RequestTransferExit = 0x37, "RequestTransferExit";
    /// 3E
    TesterPresent = 0x3E, "TesterPresent";
    /// 85
    ControlDtcSetting = 0x85, "ControlDTCSetting";
}

impl Service {
    /// First byte of a positive answer.
    pub const fn positive_sid(self) -> u8 {
        self.sid() | 0x40
    }

    /// Whether asking twice does the same as asking once, so that the client may ask again by itself.
    pub const fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::ReadDataByIdentifier | Self::ReadDtcInformation | Self::TesterPresent
        )
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X} {}", self.sid(), self.name())
    }
}

/// Diagnostic session, ISO 14229-1 service 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// 01
    Default,
    /// 02
    Programming,
    /// 03
    Extended,
    /// Any other: of the vehicle's manufacturer or the supplier.
    Other(u8),
}

impl Session {
    /// The sub-function on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Default => 0x01,
            Self::Programming => 0x02,
            Self::Extended => 0x03,
            Self::Other(code) => code & 0x7F,
        }
    }
}

impl From<u8> for Session {
    fn from(code: u8) -> Self {
        match code & 0x7F {
            0x01 => Self::Default,
            0x02 => Self::Programming,
            0x03 => Self::Extended,
            other => Self::Other(other),
        }
    }
}
