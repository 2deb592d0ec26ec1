//! The bytes of a journal file: a header, then frames until one isn't whole. `docs/format/journal.md` has them one by one.
//!
//! A frame counts only when its checksum is right and it follows on the one before. What a crash left of the last
//! one was never confirmed to anybody.

use lifeboat_postgres::wal_file::{Segment, SegmentNumber, SegmentSize};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};

const MAGIC: [u8; 8] = *b"lbwaljr1";
const FRAME_MAGIC: u32 = 0x4C41_5746;
/// Length of the header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Length of what stands before a frame's log.
pub(crate) const FRAME_HEAD_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 16;
/// Frames begin at multiples of it.
const ALIGNMENT: usize = 8;

/// Of which segment a file holds the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose log it is.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// Which one.
    pub segment: Segment,
}

/// Why a file is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Too short, or it begins otherwise.
    #[error("it doesn't begin as a journal does")]
    NotAJournal,
    /// Its header contradicts itself.
    #[error("its header is damaged")]
    Damaged,
}

fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl Header {
    /// The first bytes of a file.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.system_id.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment_size.bytes().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.segment.number.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.segment.timeline.0.to_le_bytes());
        let sum = checksum(&[&bytes[..48]]);
        bytes[48..].copy_from_slice(&sum);
        bytes
    }

    /// Reads them.
    ///
    /// # Errors
    /// When they aren't those of a journal.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(FormatError::NotAJournal)?;
        if header[..8] != MAGIC {
            return Err(FormatError::NotAJournal);
        }
        let number = |at| word(header, at).map(u64::from_le_bytes).ok_or(FormatError::Damaged);
        if header[48..] != checksum(&[&header[..48]]) {
            return Err(FormatError::Damaged);
        }
        let segment_size = SegmentSize::new(number(16)?).map_err(|_| FormatError::Damaged)?;
        let timeline = word(header, 32).map(u32::from_le_bytes).ok_or(FormatError::Damaged)?;
        let segment = Segment { timeline: TimelineId(timeline), number: SegmentNumber(number(24)?) };
        if segment.number.0.checked_add(1).and_then(|next| next.checked_mul(segment_size.bytes())).is_none() {
            return Err(FormatError::Damaged);
        }
        Ok(Self { system_id: SystemId(number(8)?), segment_size, segment })
    }
}

/// A frame, with what fills it up.
pub(crate) fn encode_frame(start: Lsn, log: &[u8]) -> Vec<u8> {
    let mut head = [0; FRAME_HEAD_BYTES - CHECKSUM_BYTES];
    head[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&u32::try_from(log.len()).unwrap_or(u32::MAX).to_le_bytes());
    head[8..].copy_from_slice(&start.0.to_le_bytes());
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + log.len() + ALIGNMENT);
    frame.extend_from_slice(&head);
    frame.extend_from_slice(&checksum(&[&head, log]));
    frame.extend_from_slice(log);
    frame.resize(frame.len().next_multiple_of(ALIGNMENT), 0);
    frame
}

/// The log of one frame at the beginning of `bytes`, and how many bytes the frame takes; `None` when there is no whole
/// one that begins at `expected` and ends at or before `limit`.
pub fn parse_frame(bytes: &[u8], expected: Lsn, limit: Lsn) -> Option<(&[u8], usize)> {
    let head = bytes.first_chunk::<FRAME_HEAD_BYTES>()?;
    let (said, sum) = head.split_at(FRAME_HEAD_BYTES - CHECKSUM_BYTES);
    let length = word(said, 4).map(u32::from_le_bytes)?;
    let start = word(said, 8).map(u64::from_le_bytes)?;
    if word(said, 0).map(u32::from_le_bytes)? != FRAME_MAGIC || start != expected.0 || length == 0 {
        return None;
    }
    if u64::from(length) > limit.bytes_since(expected) {
        return None;
    }
    let end = FRAME_HEAD_BYTES + usize::try_from(length).ok()?;
    let log = bytes.get(FRAME_HEAD_BYTES..end)?;
    let filled = end.next_multiple_of(ALIGNMENT);
    (sum == checksum(&[said, log]) && bytes.len() >= filled).then_some((log, filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn header() -> Header {
        let segment_size = SegmentSize::new(MIB).unwrap();
        let segment = Segment { timeline: TimelineId(2), number: SegmentNumber(3) };
        Header { system_id: SystemId(71), segment_size, segment }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = header().encode();
        assert_eq!(Header::parse(&bytes), Ok(header()));
        let frame = encode_frame(Lsn(3 * MIB), b"log of some length");
        assert_eq!(frame.len() % ALIGNMENT, 0);
        let limit = Lsn(4 * MIB);
        assert_eq!(parse_frame(&frame, Lsn(3 * MIB), limit), Some((&b"log of some length"[..], frame.len())));
        assert_eq!(parse_frame(&frame, Lsn(3 * MIB + 1), limit), None, "it doesn't follow");
        assert_eq!(parse_frame(&frame, Lsn(3 * MIB), Lsn(3 * MIB + 5)), None, "it goes beyond the segment");
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let bytes = header().encode();
        for at in 0..bytes.len() {
            let mut other = bytes;
            other[at] ^= 1;
            assert!(Header::parse(&other).is_err(), "byte {at} of the header");
            assert!(Header::parse(&bytes[..at]).is_err());
        }
        let frame = encode_frame(Lsn(3 * MIB), &[7; 16]);
        for at in 0..frame.len() {
            let mut other = frame.clone();
            other[at] ^= 1;
            assert_eq!(parse_frame(&other, Lsn(3 * MIB), Lsn(4 * MIB)), None, "byte {at} of a frame");
            assert_eq!(parse_frame(&frame[..at], Lsn(3 * MIB), Lsn(4 * MIB)), None, "cut at {at}");
        }
    }
}
