//! The pieces of a shared log: head, then content.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Content length, CRC-32C of the rest, tag, folder, file: little endian.
const HEAD: usize = 17;
/// Longer content is none of ours.
const MOST: usize = 64 * 1024 * 1024;
const READ_AHEAD: usize = 4 * 1024 * 1024;

/// What a piece says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// A folder of this name; its number is the count of those before.
    Folder = 1,
    /// A file of this name in the folder; its number is the count of those before.
    Create = 2,
    /// Bytes at the end of a file.
    Append = 3,
    /// `FROM/TO` in the folder.
    Rename = 4,
    /// The name leaves the folder.
    Remove = 5,
}

impl Tag {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Folder,
            Self::Create,
            Self::Append,
            Self::Rename,
            Self::Remove,
        ]
        .into_iter()
        .find(|tag| *tag as u8 == byte)
    }
}

/// A piece as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) tag: Tag,
    pub(super) folder: u32,
    pub(super) file: u32,
    pub(super) content: Vec<u8>,
    /// Place of the content in the log.
    pub(super) content_at: u64,
}

pub(super) fn encode(into: &mut Vec<u8>, tag: Tag, folder: u32, file: u32, content: &[u8]) {
    let mut rest = [0; HEAD - 8];
    rest[0] = tag as u8;
    rest[1..5].copy_from_slice(&folder.to_le_bytes());
    rest[5..9].copy_from_slice(&file.to_le_bytes());
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    into.extend_from_slice(&len);
    into.extend_from_slice(&crc(len, &rest, content).to_le_bytes());
    into.extend_from_slice(&rest);
    into.extend_from_slice(content);
}

fn crc(len: [u8; 4], rest: &[u8], content: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&len), rest);
    crc32c::crc32c_append(head, content)
}

/// Reads pieces in order; ends at the first that is not whole.
pub(super) struct Reader<'a> {
    file: &'a File,
    size: u64,
    at: u64,
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a File) -> io::Result<Self> {
        Ok(Self {
            size: file.metadata()?.len(),
            file,
            at: 0,
            ahead: Vec::new(),
            ahead_at: 0,
        })
    }

    /// After the last whole piece.
    pub(super) fn end(&self) -> u64 {
        self.at
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        let Some(head) = self.bytes(self.at, HEAD)? else {
            return Ok(None);
        };
        let word = |from: usize| -> Option<[u8; 4]> { head.get(from..from + 4)?.try_into().ok() };
        let (Some(len), Some(sum)) = (word(0), word(4)) else {
            return Ok(None);
        };
        let (tag, rest) = (head.get(8).copied().and_then(Tag::of), head.get(8..HEAD));
        let numbers = word(9)
            .map(u32::from_le_bytes)
            .zip(word(13).map(u32::from_le_bytes));
        let (Some(tag), Some(rest), Some((folder, file))) = (tag, rest.map(<[u8]>::to_vec), numbers) else {
            return Ok(None);
        };
        let size = u32::from_le_bytes(len) as usize;
        let content_at = self.at + HEAD as u64;
        if size > MOST {
            return Ok(None);
        }
        let Some(content) = self.bytes(content_at, size)? else {
            return Ok(None);
        };
        if crc(len, &rest, content).to_le_bytes() != sum {
            return Ok(None);
        }
        let content = content.to_vec();
        self.at = content_at + size as u64;
        Ok(Some(Piece {
            tag,
            folder,
            file,
            content,
            content_at,
        }))
    }

    /// So many bytes at a place; none past the end.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if at + len as u64 > self.size {
            return Ok(None);
        }
        let held = at >= self.ahead_at && at + len as u64 <= self.ahead_at + self.ahead.len() as u64;
        if !held {
            let left = usize::try_from(self.size - at).unwrap_or(usize::MAX);
            self.ahead.resize(len.max(READ_AHEAD).min(left), 0);
            self.ahead_at = at;
            self.file.read_exact_at(&mut self.ahead, at)?;
        }
        let from = usize::try_from(at - self.ahead_at).unwrap_or(usize::MAX);
        Ok(self.ahead.get(from..from.saturating_add(len)))
    }
}
