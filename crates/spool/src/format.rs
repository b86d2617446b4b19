//! Bytes on the disk. All numbers are little-endian.
//!
//! - A **segment** `{ordinal}-{spool}-{first seq}.seg`: its header twice, then records. A record is length
//!   (u32), CRC-32C over length, seq and content (u32), seq (u64), content.
//! - **`marks`**: the durable end after each sync. What lies below the last mark counted; only above it an
//!   incomplete write may be left out.

use fleet_domain::{Seq, SpoolId};
use uuid::Uuid;

use crate::types::Predecessor;

/// The version written, and the newest that can be read.
pub(crate) const VERSION: u16 = 1;
/// Bytes of one copy of a segment's header.
const HEADER_COPY: usize = 72;
/// Bytes of a segment's header: two copies, so that one flipped bit costs nothing.
pub(crate) const HEADER: usize = 2 * HEADER_COPY;
/// Bytes of a record beside its content.
pub(crate) const RECORD_HEAD: usize = 16;
/// Largest content of a record, bytes.
pub(crate) const MAX_CONTENT: usize = 1024 * 1024;
/// A record after damage is taken for one only when its seq is at most so far ahead.
const MAX_SKIP: u64 = 1_000_000;
/// Bytes of a mark.
pub(crate) const MARK: usize = 40;

const SEGMENT_MAGIC: &[u8; 8] = b"VDSSPOOL";
const MARK_MAGIC: &[u8; 4] = b"MARK";

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) ordinal: u64,
    pub(crate) spool: SpoolId,
    pub(crate) first_seq: Seq,
    pub(crate) predecessor: Option<Predecessor>,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(HEADER);
        copy.extend_from_slice(SEGMENT_MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&u16::from(self.predecessor.is_some()).to_le_bytes());
        copy.extend_from_slice(&self.ordinal.to_le_bytes());
        copy.extend_from_slice(self.spool.0.as_bytes());
        copy.extend_from_slice(&self.first_seq.to_le_bytes());
        let (spool, last_seq) = self
            .predecessor
            .map_or((Uuid::nil(), 0), |p| (p.spool.0, p.last_seq));
        copy.extend_from_slice(spool.as_bytes());
        copy.extend_from_slice(&last_seq.to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        copy.extend_from_within(..);
        copy
    }
}

/// A header as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundHeader {
    Known {
        header: Header,
        /// One of the two copies is damaged.
        damaged_copy: bool,
    },
    Newer(u16),
    Damaged,
}

pub(crate) fn find_header(file: &[u8]) -> FoundHeader {
    let first = decode_header(file, 0);
    let second = decode_header(file, HEADER_COPY);
    match (first, second) {
        (Some(Err(version)), _) | (None, Some(Err(version))) => FoundHeader::Newer(version),
        (Some(Ok(header)), other) => FoundHeader::Known {
            header,
            damaged_copy: other != Some(Ok(header)),
        },
        (None, Some(Ok(header))) => FoundHeader::Known {
            header,
            damaged_copy: true,
        },
        (None, None) => FoundHeader::Damaged,
    }
}

/// A copy that is whole; `Err` holds a version that is not known here.
fn decode_header(file: &[u8], at: usize) -> Option<Result<Header, u16>> {
    let copy = file.get(at..at.checked_add(HEADER_COPY)?)?;
    let (content, crc) = copy.split_at(HEADER_COPY - 4);
    if crc32c::crc32c(content).to_le_bytes() != crc || content.get(..8)? != SEGMENT_MAGIC {
        return None;
    }
    let version = u16_at(content, 8)?;
    if version > VERSION {
        return Some(Err(version));
    }
    let predecessor = if u16_at(content, 10)? == 0 {
        None
    } else {
        Some(Predecessor {
            spool: spool_at(content, 44)?,
            last_seq: u64_at(content, 60)?,
        })
    };
    Some(Ok(Header {
        ordinal: u64_at(content, 12)?,
        spool: spool_at(content, 20)?,
        first_seq: u64_at(content, 36)?,
        predecessor,
    }))
}

pub(crate) fn segment_name(ordinal: u64, spool: SpoolId, first_seq: Seq) -> String {
    format!("{ordinal:010}-{spool}-{first_seq:020}.seg")
}

/// Ordinal, spool and first position of a segment's name.
pub(crate) fn parse_segment_name(name: &str) -> Option<(u64, SpoolId, Seq)> {
    let stem = name.strip_suffix(".seg")?;
    let (ordinal, rest) = stem.split_once('-')?;
    let (spool, first) = rest.rsplit_once('-')?;
    let parsed = (ordinal.parse().ok()?, spool.parse().ok()?, first.parse().ok()?);
    (segment_name(parsed.0, parsed.1, parsed.2) == name).then_some(parsed)
}

/// A record's bytes.
pub(crate) fn encode_record(seq: Seq, content: &[u8]) -> Option<Vec<u8>> {
    if content.len() > MAX_CONTENT {
        return None;
    }
    let len = u32::try_from(content.len()).ok()?.to_le_bytes();
    let mut record = Vec::with_capacity(RECORD_HEAD + content.len());
    record.extend_from_slice(&len);
    record.extend_from_slice(&record_crc(len, seq, content).to_le_bytes());
    record.extend_from_slice(&seq.to_le_bytes());
    record.extend_from_slice(content);
    Some(record)
}

fn record_crc(len: [u8; 4], seq: Seq, content: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), &seq.to_le_bytes());
    crc32c::crc32c_append(crc, content)
}

/// Seq and content length of the whole record at `at`, when its seq is in the range.
fn decode_record(file: &[u8], at: usize, least: Seq, most: Seq) -> Option<(Seq, usize)> {
    let head = file.get(at..at.checked_add(RECORD_HEAD)?)?;
    let len = usize::try_from(u32_at(head, 0)?).ok()?;
    let seq = u64_at(head, 8)?;
    if len > MAX_CONTENT || !(least..=most).contains(&seq) {
        return None;
    }
    let content = file.get(at + RECORD_HEAD..at.checked_add(RECORD_HEAD + len)?)?;
    (record_crc(*head.first_chunk()?, seq, content) == u32_at(head, 4)?).then_some((seq, len))
}

/// The content of a record that was read alone, when it is the one expected.
pub(crate) fn check_record(record: &[u8], seq: Seq) -> Option<&[u8]> {
    let (_, len) = decode_record(record, 0, seq, seq)?;
    let content = record.get(RECORD_HEAD..)?;
    (content.len() == len).then_some(content)
}

/// A record found in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) seq: Seq,
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// Bytes of a segment that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    /// First position that might have stood there.
    pub(crate) from: Seq,
    /// Position of the next whole record; none at the end of the file.
    pub(crate) next: Option<Seq>,
}

/// Finds every whole record. After damage it looks for the next one byte by byte.
pub(crate) fn scan(file: &[u8], first_seq: Seq) -> (Vec<Found>, Vec<Bad>) {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    let (mut at, mut expected) = (HEADER.min(file.len()), first_seq);
    while at < file.len() {
        let most = expected.saturating_add(MAX_SKIP);
        let next = (at..file.len()).find_map(|offset| {
            decode_record(file, offset, expected, most).map(|(seq, len)| (offset, seq, len))
        });
        let (offset, next_seq) = next.map_or((file.len(), None), |(offset, seq, _)| (offset, Some(seq)));
        if offset > at || next_seq.is_some_and(|seq| seq > expected) {
            bad.push(Bad {
                offset: at,
                bytes: offset - at,
                from: expected,
                next: next_seq,
            });
        }
        let Some((offset, seq, len)) = next else { break };
        found.push(Found { seq, offset, len });
        at = offset + RECORD_HEAD + len;
        expected = seq + 1;
    }
    (found, bad)
}

/// A durable end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) spool: SpoolId,
    pub(crate) seq: Seq,
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MARK);
        bytes.extend_from_slice(MARK_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(self.spool.0.as_bytes());
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(entry: &[u8]) -> Option<Self> {
        let content = entry.get(..MARK - 4)?;
        let whole = crc32c::crc32c(content) == u32_at(entry, MARK - 4)? && content.get(..4)? == MARK_MAGIC;
        whole.then_some(Self {
            spool: spool_at(content, 12)?,
            seq: u64_at(content, 28)?,
        })
    }
}

/// The whole marks of a file and where its first damage is.
pub(crate) fn decode_marks(file: &[u8]) -> (Vec<Mark>, Option<usize>) {
    let (mut marks, mut damage) = (Vec::new(), None);
    for (index, entry) in file.chunks(MARK).enumerate() {
        match Mark::decode(entry) {
            Some(mark) => marks.push(mark),
            None => damage = damage.or(Some(index * MARK)),
        }
    }
    (marks, damage)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

fn spool_at(bytes: &[u8], at: usize) -> Option<SpoolId> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|b| SpoolId(Uuid::from_bytes(*b)))
}
