macro_rules! codes {
    ($(#[$meta:meta])* $enum:ident { $($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $enum {
            $($(#[$doc])* $name,)*
            /// A code without a name here.
            Other(u8),
        }

        impl $enum {
            /// Every code that has a name here.
            pub const NAMED: &'static [Self] = &[$(Self::$name,)*];

            /// The code on the wire.
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* Self::Other(code) => code }
            }

            /// Its meaning.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Other(_) => "reserved or of the manufacturer" }
            }
        }

        impl From<u8> for $enum {
            fn from(code: u8) -> Self {
                match code { $($code => Self::$name,)* other => Self::Other(other) }
            }
        }

        impl core::fmt::Display for $enum {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{:02X} {}", self.code(), self.meaning())
            }
        }
    };
}

codes! {
    /// Code of a generic negative acknowledgement: what is wrong with a header.
    HeaderNackCode {
        /// The synchronisation pattern is wrong; the connection is closed.
        IncorrectPattern = 0x00, "incorrect pattern format";
        /// The payload type is unknown; the message is skipped.
        UnknownPayloadType = 0x01, "unknown payload type";
        /// Longer than the receiver takes; the message is skipped.
        MessageTooLarge = 0x02, "message too large";
        /// No memory now; the message is skipped.
        OutOfMemory = 0x03, "out of memory";
        /// The length does not fit the payload type; the connection is closed.
        InvalidPayloadLength = 0x04, "invalid payload length";
    }
}

codes! {
    /// Code of a routing activation response.
    ActivationCode {
        /// The source address is unknown.
        UnknownSource = 0x00, "denied: unknown source address";
        /// Every socket is in use.
        AllSocketsInUse = 0x01, "denied: all sockets in use";
        /// Another source address is active on this socket.
        DifferentSource = 0x02, "denied: another source address is active on this socket";
        /// The source address is active on another socket.
        SourceInUse = 0x03, "denied: source address in use on another socket";
        /// Authentication is missing.
        AuthenticationMissing = 0x04, "denied: authentication missing";
        /// Confirmation was rejected.
        ConfirmationRejected = 0x05, "denied: confirmation rejected";
        /// The activation type is unknown.
        UnsupportedType = 0x06, "denied: unsupported activation type";
        /// TLS is required.
        TlsRequired = 0x07, "denied: TLS required";
        /// Routing is active.
        Success = 0x10, "routing activated";
        /// Routing will be active after confirmation in the vehicle.
        ConfirmationRequired = 0x11, "confirmation required";
    }
}

codes! {
    /// Type of a routing activation request.
    ActivationType {
        /// 00
        Default = 0x00, "default";
        /// 01
        WwhObd = 0x01, "regulated (WWH-OBD)";
        /// E0
        CentralSecurity = 0xE0, "central security";
    }
}

codes! {
    /// Code of a negative acknowledgement of a diagnostic message.
    DiagnosticNackCode {
        /// The source address is not activated on this socket.
        InvalidSource = 0x02, "invalid source address";
        /// No ECU has this address.
        UnknownTarget = 0x03, "unknown target address";
        /// Too long for the ECU.
        TooLarge = 0x04, "diagnostic message too large";
        /// No memory now.
        OutOfMemory = 0x05, "out of memory";
        /// The ECU cannot be reached.
        TargetUnreachable = 0x06, "target unreachable";
        /// The network behind the entity is unknown.
        UnknownNetwork = 0x07, "unknown network";
        /// The transport protocol behind the entity failed.
        TransportProtocol = 0x08, "transport protocol error";
    }
}
