use crate::request::Request;

/// Bytes of a 36 request that are not data: service identifier and counter.
const OVERHEAD: u64 = 2;

/// Block sequence counter of service 36: 1 at first, FF is followed by 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCounter(u8);

impl BlockCounter {
    /// The first block's counter.
    pub const FIRST: Self = Self(1);

    /// The counter of the block after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The value on the wire.
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// Why an image cannot be transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The answer to 34 leaves no room for data.
    #[error("the ECU accepts blocks of {max_block_length} bytes: no room for data")]
    BlockTooSmall {
        /// `maxNumberOfBlockLength` of the answer.
        max_block_length: u64,
    },
    /// There is nothing to transfer.
    #[error("the image is empty")]
    EmptyImage,
}

/// An image cut into blocks as the answer to 34 allows.
///
/// The iterator gives the 36 requests in order. A transfer never goes on over a new connection: make a new one.
#[derive(Debug, Clone)]
pub struct Download<'a> {
    chunks: core::slice::Chunks<'a, u8>,
    counter: BlockCounter,
    block_length: usize,
    total_blocks: usize,
}

impl<'a> Download<'a> {
    /// Cuts `image`; `max_block_length` is the answer to 34 and includes service identifier and counter.
    ///
    /// # Errors
    /// [`TransferError`] when the image is empty or a block could carry nothing.
    pub fn new(image: &'a [u8], max_block_length: u64) -> Result<Self, TransferError> {
        let room = max_block_length.saturating_sub(OVERHEAD);
        let block_length = usize::try_from(room).unwrap_or(usize::MAX);
        if block_length == 0 {
            return Err(TransferError::BlockTooSmall { max_block_length });
        }
        if image.is_empty() {
            return Err(TransferError::EmptyImage);
        }
        Ok(Self {
            chunks: image.chunks(block_length),
            counter: BlockCounter::FIRST,
            block_length,
            total_blocks: image.len().div_ceil(block_length),
        })
    }

    /// Data bytes in a full block.
    pub const fn block_length(&self) -> usize {
        self.block_length
    }

    /// Number of blocks of the whole image.
    pub const fn total_blocks(&self) -> usize {
        self.total_blocks
    }
}

impl Iterator for Download<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let data = self.chunks.next()?.to_vec();
        let counter = self.counter.value();
        self.counter = self.counter.next();
        Some(Request::TransferData { counter, data })
    }
}
