//! The bytes of a journal file: a header, then sealed frames until one isn't whole. `docs/format/journal.md` has them one by one.
//!
//! A frame counts only when it opens with the file's key and follows on the one before. What a crash left of the last
//! one was never confirmed to anybody. [`parse_frame`] looks at a frame without any key; only [`FileSeal`] opens it.

use lifeboat_postgres::wal_file::{Segment, SegmentNumber, SegmentSize};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::{Result as SealResult, SPOOL_SALT_BYTES, SpoolFileKey, SpoolKeys, SpoolSeal};

/// What every version begins with, and the number of this one.
const MAGIC: [u8; 7] = *b"lbwaljr";
const VERSION: u8 = b'2';
const FRAME_MAGIC: u32 = 0x4C41_5746;
/// Length of the header.
pub(crate) const HEADER_BYTES: usize = 128;
/// Where its checksum begins.
const HEADER_SUM_AT: usize = 112;
/// Length of what stands before a frame's log.
pub(crate) const FRAME_HEAD_BYTES: usize = 48;
/// Length of what a frame says in plain text: sealed with it, so that none of it can be changed.
const SAID_BYTES: usize = 16;
/// Frames begin at multiples of it.
pub(crate) const ALIGNMENT: usize = 8;

/// Of which segment a file holds the log, and whose key seals it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose log it is.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// Which one.
    pub segment: Segment,
    /// The id of the repository whose key seals it.
    pub repository: [u8; 16],
    /// Random; the file's key comes from it.
    pub salt: [u8; SPOOL_SALT_BYTES],
}

/// Why a file is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Too short, or it begins otherwise.
    #[error("it doesn't begin as a spool's file does")]
    NotAJournal,
    /// Another Lifeboat wrote it.
    #[error("it is of format {}, and this lifeboat reads format 2", .0.escape_ascii())]
    Version(u8),
    /// Its header contradicts itself.
    #[error("its header is damaged")]
    Damaged,
    /// Another repository's key seals it.
    #[error("it is sealed for repository {found:032x}, not for {ours:032x}")]
    OtherRepository {
        /// Whose it is.
        found: u128,
        /// Whose we have the key of.
        ours: u128,
    },
    /// It lies where it doesn't belong.
    #[error("it is of another cluster, or of another segment")]
    Elsewhere,
    /// Damage, not the end of a write: whole frames come after it.
    #[error("a frame at byte {at} is damaged, and what follows it was acknowledged too")]
    Broken {
        /// Where it begins.
        at: u64,
    },
}

fn checksum(bytes: &[u8]) -> [u8; HEADER_BYTES - HEADER_SUM_AT] {
    blake3::hash(bytes).as_bytes().first_chunk().copied().unwrap_or_default()
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl Header {
    /// The first bytes of a file.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..7].copy_from_slice(&MAGIC);
        bytes[7] = VERSION;
        bytes[8..16].copy_from_slice(&self.system_id.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment_size.bytes().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.segment.number.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.segment.timeline.0.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.repository);
        bytes[64..96].copy_from_slice(&self.salt);
        let sum = checksum(&bytes[..HEADER_SUM_AT]);
        bytes[HEADER_SUM_AT..].copy_from_slice(&sum);
        bytes
    }

    /// Reads them.
    ///
    /// # Errors
    /// When they aren't those of a journal, or are of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        match bytes.strip_prefix(&MAGIC).and_then(|rest| rest.first()) {
            Some(&VERSION) => {}
            Some(&other) => return Err(FormatError::Version(other)),
            None => return Err(FormatError::NotAJournal),
        }
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(FormatError::NotAJournal)?;
        if header[HEADER_SUM_AT..] != checksum(&header[..HEADER_SUM_AT]) {
            return Err(FormatError::Damaged);
        }
        let number = |at| word(header, at).map(u64::from_le_bytes).ok_or(FormatError::Damaged);
        let segment_size = SegmentSize::new(number(16)?).map_err(|_| FormatError::Damaged)?;
        let timeline = word(header, 32).map(u32::from_le_bytes).ok_or(FormatError::Damaged)?;
        let segment = Segment { timeline: TimelineId(timeline), number: SegmentNumber(number(24)?) };
        if segment.number.0.checked_add(1).and_then(|next| next.checked_mul(segment_size.bytes())).is_none() {
            return Err(FormatError::Damaged);
        }
        let repository = word(header, 48).ok_or(FormatError::Damaged)?;
        let salt = word(header, 64).ok_or(FormatError::Damaged)?;
        Ok(Self { system_id: SystemId(number(8)?), segment_size, segment, repository, salt })
    }

    /// What seals and opens the frames of the file with this header.
    ///
    /// # Errors
    /// When this machine can't derive keys.
    pub(crate) fn seal(&self, keys: &SpoolKeys) -> SealResult<FileSeal> {
        Ok(FileSeal { key: keys.of_file(&self.salt)?, header: self.encode() })
    }
}

/// A frame as it lies there, not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    said: [u8; SAID_BYTES],
    seal: SpoolSeal,
    /// The log in it, sealed.
    pub sealed: &'a [u8],
    /// How many bytes the frame takes.
    pub taken_bytes: usize,
}

/// Seals and opens the frames of one file. Each is sealed together with the file's header and with its own place.
#[derive(Debug)]
pub(crate) struct FileSeal {
    key: SpoolFileKey,
    header: [u8; HEADER_BYTES],
}

impl FileSeal {
    /// A frame, with what fills it up. Never the same bytes twice.
    pub(crate) fn frame(&self, start: Lsn, log: &[u8]) -> SealResult<Vec<u8>> {
        let mut said = [0; SAID_BYTES];
        said[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        said[4..8].copy_from_slice(&u32::try_from(log.len()).unwrap_or(u32::MAX).to_le_bytes());
        said[8..].copy_from_slice(&start.0.to_le_bytes());
        let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + log.len() + ALIGNMENT);
        frame.resize(FRAME_HEAD_BYTES, 0);
        frame.extend_from_slice(log);
        let seal = self.key.seal(&self.about(&said), &mut frame[FRAME_HEAD_BYTES..])?;
        frame[..16].copy_from_slice(&said);
        frame[16..28].copy_from_slice(&seal.nonce);
        frame[32..48].copy_from_slice(&seal.tag);
        frame.resize(frame.len().next_multiple_of(ALIGNMENT), 0);
        Ok(frame)
    }

    /// The log in a frame; `None` when it isn't what was sealed for this place of this file.
    pub(crate) fn open(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        self.key.open(&frame.seal, &self.about(&frame.said), frame.sealed)
    }

    fn about(&self, said: &[u8; SAID_BYTES]) -> [u8; HEADER_BYTES + SAID_BYTES] {
        let mut about = [0; HEADER_BYTES + SAID_BYTES];
        about[..HEADER_BYTES].copy_from_slice(&self.header);
        about[HEADER_BYTES..].copy_from_slice(said);
        about
    }
}

/// The frame at the beginning of `bytes`; `None` when none is there that begins at `expected` and ends at or before `limit`.
pub fn parse_frame(bytes: &[u8], expected: Lsn, limit: Lsn) -> Option<Frame<'_>> {
    let said = word::<SAID_BYTES>(bytes, 0)?;
    let length = word(&said, 4).map(u32::from_le_bytes)?;
    let start = word(&said, 8).map(u64::from_le_bytes)?;
    if word(&said, 0).map(u32::from_le_bytes)? != FRAME_MAGIC || start != expected.0 || length == 0 {
        return None;
    }
    if u64::from(length) > limit.bytes_since(expected) || word::<4>(bytes, 28)? != [0; 4] {
        return None;
    }
    let end = FRAME_HEAD_BYTES + usize::try_from(length).ok()?;
    let taken_bytes = end.next_multiple_of(ALIGNMENT);
    if bytes.len() < taken_bytes {
        return None;
    }
    let seal = SpoolSeal { nonce: word(bytes, 16)?, tag: word(bytes, 32)? };
    Some(Frame { said, seal, sealed: bytes.get(FRAME_HEAD_BYTES..end)?, taken_bytes })
}

/// The position that a frame here says it begins at; `None` when nothing here begins as a frame does.
pub(crate) fn frame_start(bytes: &[u8]) -> Option<Lsn> {
    (word(bytes, 0).map(u32::from_le_bytes)? == FRAME_MAGIC).then_some(())?;
    word(bytes, 8).map(u64::from_le_bytes).map(Lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn header() -> Header {
        let segment_size = SegmentSize::new(MIB).unwrap();
        let segment = Segment { timeline: TimelineId(2), number: SegmentNumber(3) };
        Header { system_id: SystemId(71), segment_size, segment, repository: [9; 16], salt: [5; 32] }
    }

    fn seal() -> FileSeal {
        header().seal(&SpoolKeys::new([1; 32], [9; 16])).unwrap()
    }

    fn opened(seal: &FileSeal, bytes: &[u8], expected: u64, limit: u64) -> Option<Vec<u8>> {
        seal.open(&parse_frame(bytes, Lsn(expected), Lsn(limit))?)
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = header().encode();
        assert_eq!(Header::parse(&bytes), Ok(header()));
        let frame = seal().frame(Lsn(3 * MIB), b"log of some length").unwrap();
        assert_eq!(frame.len() % ALIGNMENT, 0);
        assert!(!frame.windows(4).any(|four| four == b"log "), "it can be read without the key");
        assert_eq!(opened(&seal(), &frame, 3 * MIB, 4 * MIB).unwrap(), b"log of some length");
        assert_eq!(parse_frame(&frame, Lsn(3 * MIB), Lsn(4 * MIB)).unwrap().taken_bytes, frame.len());
        assert_eq!(opened(&seal(), &frame, 3 * MIB + 1, 4 * MIB), None, "it doesn't follow");
        assert_eq!(opened(&seal(), &frame, 3 * MIB, 3 * MIB + 5), None, "it goes beyond the segment");
    }

    /// Guards: one nonce for what a crash left and for what came to its place.
    #[test]
    fn the_same_log_at_the_same_place_is_sealed_otherwise_each_time() {
        let frames: Vec<Vec<u8>> = (0..2).map(|_| seal().frame(Lsn(3 * MIB), &[0; 32]).unwrap()).collect();
        assert_ne!(frames[0][16..28], frames[1][16..28], "the nonce");
        assert_ne!(frames[0][48..], frames[1][48..], "the log");
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
        let frame = seal().frame(Lsn(3 * MIB), &[7; 16]).unwrap();
        for at in 0..frame.len() {
            let mut other = frame.clone();
            other[at] ^= 1;
            assert_eq!(opened(&seal(), &other, 3 * MIB, 4 * MIB), None, "byte {at} of a frame");
            assert_eq!(opened(&seal(), &frame[..at], 3 * MIB, 4 * MIB), None, "cut at {at}");
        }
    }

    #[test]
    fn a_frame_opens_in_its_own_place_only() {
        let frame = seal().frame(Lsn(3 * MIB), b"promised").unwrap();
        let keys = SpoolKeys::new([1; 32], [9; 16]);
        let segment = Segment { timeline: TimelineId(3), ..header().segment };
        for (what, other) in [
            ("another timeline", Header { segment, ..header() }),
            ("another cluster", Header { system_id: SystemId(72), ..header() }),
            ("another file", Header { salt: [6; 32], ..header() }),
            ("another repository", Header { repository: [8; 16], ..header() }),
        ] {
            assert_eq!(opened(&other.seal(&keys).unwrap(), &frame, 3 * MIB, 4 * MIB), None, "{what}");
        }
        let other = header().seal(&SpoolKeys::new([2; 32], [9; 16])).unwrap();
        assert_eq!(opened(&other, &frame, 3 * MIB, 4 * MIB), None, "another key");
    }

    #[test]
    fn other_versions_are_named() {
        let mut old = header().encode();
        old[7] = b'1';
        assert_eq!(Header::parse(&old[..64]), Err(FormatError::Version(b'1')));
        assert_eq!(FormatError::Version(b'1').to_string(), "it is of format 1, and this lifeboat reads format 2");
        assert_eq!(Header::parse(b"lbwal"), Err(FormatError::NotAJournal));
    }
}
