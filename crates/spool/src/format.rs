//! Bytes on the disk. All numbers are little-endian.
//!
//! - A **segment** `{ordinal}-{spool}-{first seq}.seg`: its header twice, then records. A record is length
//!   (u32), CRC-32C over length, seq and content (u32), seq (u64), content. The upper 11 bits of the length
//!   say how many positions before this one were not durable yet when it was written (since version 2), so
//!   that each group of records proves the group before it.
//! - **`marks`**: the durable end after each sync, itself not synced at once (ADR 0012). What lies below the
//!   last mark counted, and what a later record proves; only above both an incomplete write may be left out.

use fleet_domain::{Seq, SpoolId};
use uuid::Uuid;

use crate::types::Predecessor;

/// The version written, and the newest that can be read.
pub(crate) const VERSION: u16 = 2;
/// The last version whose records prove nothing of the ones before them.
const WITHOUT_PROOF: u16 = 1;
/// Bytes of one copy of a segment's header.
const HEADER_COPY: usize = 72;
/// Bytes of a segment's header: two copies, so that one flipped bit costs nothing.
pub(crate) const HEADER: usize = 2 * HEADER_COPY;
/// Bytes of a record beside its content.
pub(crate) const RECORD_HEAD: usize = 16;
/// Largest content of a record, bytes.
pub(crate) const MAX_CONTENT: usize = 1024 * 1024;
/// Bits of the length that are the length.
const LENGTH_BITS: u32 = 21;
/// So many positions or more before a record were not durable: it proves nothing.
const BEHIND_UNKNOWN: u32 = (1 << (32 - LENGTH_BITS)) - 1;
/// A segment is closed at this size whatever the settings say: places in it are kept as 32-bit numbers.
pub(crate) const MAX_SEGMENT: u64 = 1024 * 1024 * 1024;
/// A record after damage is taken for one only when its seq is at most so far ahead.
const MAX_SKIP: u64 = 1_000_000;
/// Positions above this are damage: no bench writes so many events, and sums of them stay in range.
pub(crate) const MAX_SEQ: Seq = i64::MAX.unsigned_abs();
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

/// Whether records of a segment with this version say what was durable before them.
pub(crate) fn proves(version: u16) -> bool {
    version > WITHOUT_PROOF
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
        version: u16,
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
        (Some(Ok((header, version))), other) => FoundHeader::Known {
            header,
            version,
            damaged_copy: other != Some(Ok((header, version))),
        },
        (None, Some(Ok((header, version)))) => FoundHeader::Known {
            header,
            version,
            damaged_copy: true,
        },
        (None, None) => FoundHeader::Damaged,
    }
}

/// A copy that is whole; `Err` holds a version that is not known here.
fn decode_header(file: &[u8], at: usize) -> Option<Result<(Header, u16), u16>> {
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
            last_seq: u64_at(content, 60).filter(|seq| *seq <= MAX_SEQ)?,
        })
    };
    let header = Header {
        ordinal: u64_at(content, 12)?,
        spool: spool_at(content, 20)?,
        first_seq: u64_at(content, 36)?,
        predecessor,
    };
    Some(Ok((header, version)))
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
    let whole = segment_name(parsed.0, parsed.1, parsed.2) == name;
    (whole && (1..=MAX_SEQ).contains(&parsed.2) && parsed.0 <= MAX_SEQ).then_some(parsed)
}

/// Writes a record's bytes to the end of `into`; says whether it is small enough. `durable` is the last durable
/// position of its spool.
#[must_use]
pub(crate) fn encode_record(seq: Seq, durable: Seq, content: &[u8], into: &mut Vec<u8>) -> bool {
    let Some(len) = u32::try_from(content.len())
        .ok()
        .filter(|_| content.len() <= MAX_CONTENT)
    else {
        return false;
    };
    let behind = u32::try_from(seq.saturating_sub(durable).saturating_sub(1)).unwrap_or(BEHIND_UNKNOWN);
    let word = (len | (behind.min(BEHIND_UNKNOWN) << LENGTH_BITS)).to_le_bytes();
    into.reserve(RECORD_HEAD + content.len());
    into.extend_from_slice(&word);
    into.extend_from_slice(&record_crc(word, seq, content).to_le_bytes());
    into.extend_from_slice(&seq.to_le_bytes());
    into.extend_from_slice(content);
    true
}

fn record_crc(len: [u8; 4], seq: Seq, content: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), &seq.to_le_bytes());
    crc32c::crc32c_append(crc, content)
}

/// Seq, content length and durable position before it of the whole record at `at`, when its seq is in the
/// range.
fn decode_record(file: &[u8], at: usize, least: Seq, most: Seq) -> Option<(Seq, usize, Option<Seq>)> {
    let head = file.get(at..at.checked_add(RECORD_HEAD)?)?;
    let word = u32_at(head, 0)?;
    let len = usize::try_from(word & ((1 << LENGTH_BITS) - 1)).ok()?;
    let seq = u64_at(head, 8)?;
    if len > MAX_CONTENT || !(least..=most).contains(&seq) {
        return None;
    }
    let content = file.get(at + RECORD_HEAD..at.checked_add(RECORD_HEAD + len)?)?;
    let behind = word >> LENGTH_BITS;
    let durable = (behind != BEHIND_UNKNOWN)
        .then(|| seq.checked_sub(1 + u64::from(behind)))
        .flatten();
    (record_crc(*head.first_chunk()?, seq, content) == u32_at(head, 4)?).then_some((seq, len, durable))
}

/// The content of a record that was read alone, when it is the one expected.
pub(crate) fn check_record(record: &[u8], seq: Seq) -> Option<&[u8]> {
    let (_, len, _) = decode_record(record, 0, seq, seq)?;
    let content = record.get(RECORD_HEAD..)?;
    (content.len() == len).then_some(content)
}

/// Where a record lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) seq: Seq,
    pub(crate) offset: u32,
    /// Length of the content.
    pub(crate) len: u32,
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// By position.
    pub(crate) records: Vec<Place>,
    pub(crate) bad: Vec<Bad>,
    /// The highest position that some record says was durable before it.
    pub(crate) proven: Seq,
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
pub(crate) fn scan(file: &[u8], first_seq: Seq) -> Scanned {
    let mut scanned = Scanned::default();
    let (mut at, mut expected) = (HEADER.min(file.len()), first_seq);
    while at < file.len() {
        let most = expected.saturating_add(MAX_SKIP).min(MAX_SEQ);
        let next = (at..file.len()).find_map(|offset| {
            let (seq, len, durable) = decode_record(file, offset, expected, most)?;
            let place = Place {
                seq,
                offset: u32::try_from(offset).ok()?,
                len: u32::try_from(len).ok()?,
            };
            Some((offset, RECORD_HEAD + len, place, durable))
        });
        let offset = next.map_or(file.len(), |(offset, ..)| offset);
        let next_seq = next.map(|(_, _, place, _)| place.seq);
        if offset > at || next_seq.is_some_and(|seq| seq > expected) {
            scanned.bad.push(Bad {
                offset: at,
                bytes: offset - at,
                from: expected,
                next: next_seq,
            });
        }
        let Some((offset, bytes, place, durable)) = next else {
            break;
        };
        scanned.records.push(place);
        scanned.proven = scanned.proven.max(durable.unwrap_or(0));
        at = offset + bytes;
        expected = place.seq + 1;
    }
    scanned
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
        let seq = u64_at(content, 28).filter(|seq| *seq <= MAX_SEQ)?;
        whole.then_some(Self {
            spool: spool_at(content, 12)?,
            seq,
        })
    }
}

/// Where the file of marks is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadMarks {
    pub(crate) offset: usize,
    /// No whole mark comes after it: the last write may have been cut short.
    pub(crate) tail: bool,
}

/// The whole marks of a file and where its first damage is.
pub(crate) fn decode_marks(file: &[u8]) -> (Vec<Mark>, Option<BadMarks>) {
    let (mut marks, mut damage) = (Vec::new(), None::<BadMarks>);
    for (index, entry) in file.chunks(MARK).enumerate() {
        match (Mark::decode(entry), &mut damage) {
            (Some(mark), damage) => {
                marks.push(mark);
                if let Some(damage) = damage {
                    damage.tail = false;
                }
            }
            (None, Some(_)) => {}
            (None, damage) => {
                *damage = Some(BadMarks {
                    offset: index * MARK,
                    tail: true,
                });
            }
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
