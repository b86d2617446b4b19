use crate::message::{DecodeError, HEADER_LENGTH, Header, Message, is_known};

/// Longest payload taken by default, in bytes: a UDS message of 64 KiB and its addresses.
pub const DEFAULT_MAX_PAYLOAD: u32 = 65_536 + 4;

/// Cuts a TCP stream into messages, however it is fragmented.
///
/// Memory is bounded: a message longer than the limit or of an unknown type is skipped while it arrives, not
/// kept.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    buffer: Vec<u8>,
    skip: u64,
    max_payload: u32,
    broken: Option<DecodeError>,
}

impl StreamDecoder {
    /// A decoder that takes payloads up to `max_payload` bytes.
    pub const fn new(max_payload: u32) -> Self {
        Self {
            buffer: Vec::new(),
            skip: 0,
            max_payload,
            broken: None,
        }
    }

    /// Takes what the socket gave.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        if self.skip > 0 {
            let count = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            bytes = bytes.get(count..).unwrap_or_default();
            self.skip = self.skip.saturating_sub(count as u64);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message; `Ok(None)` when more bytes are needed.
    ///
    /// # Errors
    /// [`DecodeError`]. When it [`closes`](DecodeError::closes) the stream, every later call gives the same
    /// error; otherwise the bad message is skipped and the next call goes on behind it.
    pub fn next_message(&mut self) -> Result<Option<Message>, DecodeError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let result = self.cut();
        if let Err(error) = result
            && error.closes()
        {
            self.broken = Some(error);
            self.buffer = Vec::new();
        }
        result
    }

    fn cut(&mut self) -> Result<Option<Message>, DecodeError> {
        let Some(head) = self.buffer.first_chunk::<HEADER_LENGTH>() else {
            // A wrong pattern is said at once, not when the sender completes its header.
            return match *self.buffer.as_slice() {
                [version, inverse, ..] if inverse != !version => {
                    Err(DecodeError::Pattern { version, inverse })
                }
                _ => Ok(None),
            };
        };
        let header = Header::decode(*head)?;
        if !is_known(header.payload_type) {
            self.skip_message(header);
            return Err(DecodeError::UnknownType(header.payload_type));
        }
        if header.length > self.max_payload {
            self.skip_message(header);
            return Err(DecodeError::TooLarge {
                length: header.length,
                limit: self.max_payload,
            });
        }
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let end = HEADER_LENGTH.saturating_add(length);
        let Some(payload) = self.buffer.get(HEADER_LENGTH..end) else {
            return Ok(None);
        };
        let message = Message::decode_payload(header.payload_type, payload)?;
        self.buffer.drain(..end);
        Ok(Some(message))
    }

    fn skip_message(&mut self, header: Header) {
        let whole = u64::from(header.length).saturating_add(HEADER_LENGTH as u64);
        let count = usize::try_from(whole)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        self.buffer.drain(..count);
        self.skip = whole.saturating_sub(count as u64);
    }
}

impl Default for StreamDecoder {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_PAYLOAD)
    }
}
