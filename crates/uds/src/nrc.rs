use core::fmt;

macro_rules! nrcs {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $iso:literal;)*) => {
        /// Negative response code, ISO 14229-1 annex A.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Nrc {
            $($(#[$doc])* $name,)*
            /// A code without a name here: reserved or of the vehicle's manufacturer.
            Other(u8),
        }

        impl Nrc {
            /// Every code that has a name here.
            pub const NAMED: &'static [Nrc] = &[$(Nrc::$name,)*];

            /// The code on the wire.
            pub const fn code(self) -> u8 {
                match self { $(Nrc::$name => $code,)* Nrc::Other(code) => code }
            }

            /// The name that ISO 14229-1 gives, or `other`.
            pub const fn name(self) -> &'static str {
                match self { $(Nrc::$name => $iso,)* Nrc::Other(_) => "other" }
            }
        }

        impl From<u8> for Nrc {
            fn from(code: u8) -> Self {
                match code { $($code => Nrc::$name,)* other => Nrc::Other(other) }
            }
        }
    };
}

nrcs! {
    /// The server refuses without saying why.
    GeneralReject = 0x10, "generalReject";
    /// The service is not implemented.
    ServiceNotSupported = 0x11, "serviceNotSupported";
    /// The sub-function is not implemented.
    SubFunctionNotSupported = 0x12, "subFunctionNotSupported";
    /// The length or the format of the request is wrong.
    IncorrectMessageLength = 0x13, "incorrectMessageLengthOrInvalidFormat";
    /// The answer does not fit the transport.
    ResponseTooLong = 0x14, "responseTooLong";
    /// Busy: nothing was done, ask again.
    BusyRepeatRequest = 0x21, "busyRepeatRequest";
    /// The state of the server forbids it.
    ConditionsNotCorrect = 0x22, "conditionsNotCorrect";
    /// A step that must come before is missing.
    RequestSequenceError = 0x24, "requestSequenceError";
    /// A sub-net component did not answer in time.
    NoResponseFromSubnetComponent = 0x25, "noResponseFromSubnetComponent";
    /// A failure prevents the action.
    FailurePreventsExecution = 0x26, "failurePreventsExecutionOfRequestedAction";
    /// A parameter is outside its range or unknown.
    RequestOutOfRange = 0x31, "requestOutOfRange";
    /// The security level is not unlocked.
    SecurityAccessDenied = 0x33, "securityAccessDenied";
    /// Authentication is required.
    AuthenticationRequired = 0x34, "authenticationRequired";
    /// The key is wrong.
    InvalidKey = 0x35, "invalidKey";
    /// Too many wrong keys.
    ExceededNumberOfAttempts = 0x36, "exceedNumberOfAttempts";
    /// A delay after wrong keys is still running.
    RequiredTimeDelayNotExpired = 0x37, "requiredTimeDelayNotExpired";
    /// Upload or download refused.
    UploadDownloadNotAccepted = 0x70, "uploadDownloadNotAccepted";
    /// The transfer was stopped.
    TransferDataSuspended = 0x71, "transferDataSuspended";
    /// Erasing or programming failed.
    GeneralProgrammingFailure = 0x72, "generalProgrammingFailure";
    /// The block counter is wrong.
    WrongBlockSequenceCounter = 0x73, "wrongBlockSequenceCounter";
    /// The request is accepted, the answer comes later.
    ResponsePending = 0x78, "requestCorrectlyReceived-ResponsePending";
    /// The sub-function is not available in this session.
    SubFunctionNotSupportedInActiveSession = 0x7E, "subFunctionNotSupportedInActiveSession";
    /// The service is not available in this session.
    ServiceNotSupportedInActiveSession = 0x7F, "serviceNotSupportedInActiveSession";
    /// Engine speed too high.
    RpmTooHigh = 0x81, "rpmTooHigh";
    /// Engine speed too low.
    RpmTooLow = 0x82, "rpmTooLow";
    /// The engine runs.
    EngineIsRunning = 0x83, "engineIsRunning";
    /// The engine does not run.
    EngineIsNotRunning = 0x84, "engineIsNotRunning";
    /// The engine has not run long enough.
    EngineRunTimeTooLow = 0x85, "engineRunTimeTooLow";
    /// Temperature too high.
    TemperatureTooHigh = 0x86, "temperatureTooHigh";
    /// Temperature too low.
    TemperatureTooLow = 0x87, "temperatureTooLow";
    /// The vehicle is too fast.
    VehicleSpeedTooHigh = 0x88, "vehicleSpeedTooHigh";
    /// The vehicle is too slow.
    VehicleSpeedTooLow = 0x89, "vehicleSpeedTooLow";
    /// The supply voltage is too high.
    VoltageTooHigh = 0x92, "voltageTooHigh";
    /// The supply voltage is too low.
    VoltageTooLow = 0x93, "voltageTooLow";
    /// A resource needed is temporarily not available.
    ResourceTemporarilyNotAvailable = 0x94, "resourceTemporarilyNotAvailable";
}

impl fmt::Display for Nrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X} {}", self.code(), self.name())
    }
}
