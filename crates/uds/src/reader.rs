/// Why bytes are not a message of ISO 14229-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("the message is empty")]
    Empty,
    /// The message ends before a field.
    #[error("the message of service {service:02X} is too short: {length} bytes")]
    TooShort {
        /// First byte of the message.
        service: u8,
        /// Length of the message in bytes.
        length: usize,
    },
    /// Bytes are left over.
    #[error("the message of service {service:02X} is too long: {length} bytes")]
    TooLong {
        /// First byte of the message.
        service: u8,
        /// Length of the message in bytes.
        length: usize,
    },
    /// The first byte is no service of this crate.
    #[error("service {0:02X} is unknown")]
    UnknownService(u8),
    /// The sub-function is unknown.
    #[error("sub-function {sub_function:02X} of service {service:02X} is unknown")]
    UnknownSubFunction {
        /// First byte of the message.
        service: u8,
        /// Second byte of the message.
        sub_function: u8,
    },
    /// A field has a value that cannot be.
    #[error("a field of service {service:02X} is out of range")]
    OutOfRange {
        /// First byte of the message.
        service: u8,
    },
}

/// Reads fields from the front of one message.
pub(crate) struct Reader<'a> {
    service: u8,
    length: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<(u8, Self), DecodeError> {
        let (service, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
        Ok((
            *service,
            Self {
                service: *service,
                length: bytes.len(),
                rest,
            },
        ))
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let short = DecodeError::TooShort {
            service: self.service,
            length: self.length,
        };
        let (head, tail) = self.rest.split_at_checked(count).ok_or(short)?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn number(&mut self, count: usize) -> Result<u64, DecodeError> {
        if count > 8 {
            return Err(DecodeError::OutOfRange {
                service: self.service,
            });
        }
        Ok(self
            .take(count)?
            .iter()
            .fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn word(&mut self) -> Result<u16, DecodeError> {
        let pair = self.take(2)?.first_chunk().copied().unwrap_or_default();
        Ok(u16::from_be_bytes(pair))
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn rest(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.rest).to_vec()
    }

    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::TooLong {
            service: self.service,
            length: self.length,
        })
    }

    pub(crate) fn unknown_sub_function(&self, sub_function: u8) -> DecodeError {
        DecodeError::UnknownSubFunction {
            service: self.service,
            sub_function,
        }
    }

    pub(crate) fn out_of_range(&self) -> DecodeError {
        DecodeError::OutOfRange {
            service: self.service,
        }
    }
}
