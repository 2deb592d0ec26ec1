//! What is known for sure of each file that is still coming: appended, synced, and read again when the mount comes back.
//!
//! Promise: a block that a record calls local was durable in its file before the record was written; so whatever is lost
//! with the power, a block is either here or is fetched again, and never half of both.
//!
//! The format: a block with `LBMOUNT1`, then frames: a header of length, checksum, number and its own checksum, records, zeros up to
//! the next block. Only the last frame can be torn, because none is written before the one in front of it is durable; and a header
//! lies in one sector, so it is whole or not there. Anything else that doesn't read is damage, and refused.

mod open;

pub use open::{Journal, is_full};

use std::io;
use std::ops::Range;

const MAGIC: &[u8; 8] = b"LBMOUNT1";
/// Frames begin at multiples of this.
const ALIGNMENT_BYTES: usize = 4096;
/// Length of the records, their CRC-32C, number of the frame, CRC-32C of these three.
const HEADER_BYTES: usize = 16;
/// More at once is damage.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

const FILE: u8 = 1;
const LOCAL: u8 = 2;
const SHORTENING: u8 = 3;
const SHORTENED: u8 = 4;

/// The number of a file that comes bit by bit.
pub type FileNumber = u32;

/// One thing that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// There is such a file, and it has so many bytes, none of which is here.
    File {
        /// Its number.
        number: FileNumber,
        /// Which of the directories it is in.
        root: u32,
        /// Its size in bytes.
        bytes: u64,
    },
    /// These blocks of it are here.
    Local {
        /// Its number.
        number: FileNumber,
        /// Block numbers.
        blocks: Range<u64>,
    },
    /// It is about to be cut to so many bytes: what lay behind them will never be fetched.
    Shortening {
        /// Its number.
        number: FileNumber,
        /// What is left, in bytes.
        bytes: u64,
    },
    /// It was cut, durably.
    Shortened {
        /// Its number.
        number: FileNumber,
    },
}

/// Why a journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Two would each write where the other one does.
    #[error("another process serves it")]
    Busy,
    /// It isn't what was written.
    #[error("the journal of the mount is damaged at byte {at}")]
    Damaged {
        /// Offset of the frame.
        at: usize,
    },
}

impl Record {
    /// Of which file it is.
    pub fn number(&self) -> FileNumber {
        match self {
            Self::File { number, .. }
            | Self::Local { number, .. }
            | Self::Shortening { number, .. }
            | Self::Shortened { number } => *number,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, number, first, second) = match self {
            Self::File { number, root, bytes } => (FILE, *number, u64::from(*root), *bytes),
            Self::Local { number, blocks } => (LOCAL, *number, blocks.start, blocks.end),
            Self::Shortening { number, bytes } => (SHORTENING, *number, *bytes, 0),
            Self::Shortened { number } => (SHORTENED, *number, 0, 0),
        };
        out.push(kind);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&second.to_le_bytes());
    }

    /// A record of exactly [`RECORD_BYTES`].
    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = FileNumber::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
        let first = u64::from_le_bytes(bytes.get(5..13)?.try_into().ok()?);
        let second = u64::from_le_bytes(bytes.get(13..21)?.try_into().ok()?);
        match *bytes.first()? {
            FILE => Some(Self::File { number, root: first.try_into().ok()?, bytes: second }),
            LOCAL if first < second => Some(Self::Local { number, blocks: first..second }),
            SHORTENING if second == 0 => Some(Self::Shortening { number, bytes: first }),
            SHORTENED if (first, second) == (0, 0) => Some(Self::Shortened { number }),
            _ => None,
        }
    }
}

const RECORD_BYTES: usize = 21;

/// A frame, filled up to the next block.
fn frame(number: u32, records: &[Record]) -> Vec<u8> {
    let mut body = Vec::with_capacity(records.len() * RECORD_BYTES);
    records.iter().for_each(|record| record.encode(&mut body));
    let mut out = Vec::with_capacity((HEADER_BYTES + body.len()).next_multiple_of(ALIGNMENT_BYTES));
    for word in [body.len() as u32, crc32c::crc32c(&body), number] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out.extend_from_slice(&body);
    out.resize(out.len().next_multiple_of(ALIGNMENT_BYTES), 0);
    out
}

/// The first block.
fn first_block() -> Vec<u8> {
    let mut block = MAGIC.to_vec();
    block.resize(ALIGNMENT_BYTES, 0);
    block
}

/// What the header of a frame says.
struct Header {
    body_bytes: usize,
    checksum: u32,
    number: u32,
}

impl Header {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let header = bytes.get(at..at.checked_add(HEADER_BYTES)?)?;
        let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let (body_bytes, checksum, number) = (word(0)? as usize, word(4)?, word(8)?);
        let is_right = crc32c::crc32c(&header[..12]) == word(12)?
            && (1..=FRAME_BYTES_MAX).contains(&body_bytes)
            && body_bytes.is_multiple_of(RECORD_BYTES);
        is_right.then_some(Self { body_bytes, checksum, number })
    }

    /// Where the frame behind this one begins.
    fn next(&self, at: usize) -> usize {
        (at + HEADER_BYTES + self.body_bytes).next_multiple_of(ALIGNMENT_BYTES)
    }

    fn records(&self, bytes: &[u8], at: usize) -> Option<Vec<Record>> {
        let body = bytes.get(at + HEADER_BYTES..at + HEADER_BYTES + self.body_bytes)?;
        let is_right = crc32c::crc32c(body) == self.checksum;
        is_right.then(|| body.chunks(RECORD_BYTES).map(Record::decode).collect())?
    }
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Its records, in order.
    pub records: Vec<Record>,
    /// How many frames these were in.
    pub frames: u32,
    /// Where the next frame goes. What lies there was torn by a crash.
    pub end: usize,
}

/// Reads a journal. What a crash tore off at the end is left out.
pub fn parse(bytes: &[u8]) -> Result<Parsed, JournalError> {
    if bytes.get(..ALIGNMENT_BYTES) != Some(&first_block()) {
        return Err(JournalError::Damaged { at: 0 });
    }
    parse_frames(bytes, Parsed { records: Vec::new(), frames: 0, end: ALIGNMENT_BYTES })
}

/// Reads the frames behind what was read already.
fn parse_frames(bytes: &[u8], mut parsed: Parsed) -> Result<Parsed, JournalError> {
    while parsed.end < bytes.len() {
        let at = parsed.end;
        let Some(header) = Header::read(bytes, at) else {
            let is_absent = bytes.get(at..at + HEADER_BYTES).is_none_or(|header| header.iter().all(|byte| *byte == 0));
            return if is_absent && is_last(bytes, at) { Ok(parsed) } else { Err(JournalError::Damaged { at }) };
        };
        match header.records(bytes, at).filter(|_| header.number == parsed.frames) {
            Some(records) => parsed.records.extend(records),
            None if header.number == parsed.frames && is_last(bytes, at) => return Ok(parsed),
            None => return Err(JournalError::Damaged { at }),
        }
        (parsed.frames, parsed.end) = (parsed.frames + 1, header.next(at));
    }
    Ok(parsed)
}

/// Whether no frame begins behind `at`.
fn is_last(bytes: &[u8], at: usize) -> bool {
    (at + ALIGNMENT_BYTES..bytes.len()).step_by(ALIGNMENT_BYTES).all(|at| Header::read(bytes, at).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let number = any::<u32>();
        prop_oneof![
            (number, any::<u32>(), any::<u64>()).prop_map(|(number, root, bytes)| Record::File { number, root, bytes }),
            (number, 0..u64::MAX, 1u64..1 << 40).prop_map(|(number, start, length)| Record::Local {
                number,
                blocks: start..start.saturating_add(length)
            }),
            (number, any::<u64>()).prop_map(|(number, bytes)| Record::Shortening { number, bytes }),
            number.prop_map(|number| Record::Shortened { number }),
        ]
    }

    fn any_frames() -> impl Strategy<Value = Vec<Vec<Record>>> {
        prop::collection::vec(prop::collection::vec(any_record(), 1..8), 0..6)
    }

    fn bytes_of(frames: &[Vec<Record>]) -> Vec<u8> {
        let frames = frames.iter().zip(0..).flat_map(|(records, number)| frame(number, records));
        first_block().into_iter().chain(frames).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frames in any_frames()) {
            let bytes = bytes_of(&frames);
            let expected = Parsed { records: frames.concat(), frames: frames.len() as u32, end: bytes.len() };
            prop_assert_eq!(parse(&bytes).unwrap(), expected);
        }

        /// Cut anywhere, or with any sector of the last frame missing, what was durable before is there and nothing else.
        #[test]
        fn a_torn_end_costs_only_the_last_frame(
            frames in any_frames(),
            last in prop::collection::vec(any_record(), 1..600),
            cut in any::<prop::sample::Index>(),
            sector in any::<prop::sample::Index>(),
        ) {
            let before = bytes_of(&frames);
            let whole = [&before[..], &frame(frames.len() as u32, &last)].concat();
            let cut = &whole[..before.len() + cut.index(whole.len() - before.len())];
            let sector = before.len() / 512 + sector.index((whole.len() - before.len()) / 512);
            let mut absent = whole.clone();
            absent[sector * 512..][..512].fill(0);
            for torn in [cut, &absent] {
                let parsed = parse(torn).unwrap();
                if parsed.end == before.len() {
                    prop_assert_eq!(parsed.records, frames.concat());
                } else {
                    // What was cut off or zeroed were zeros.
                    prop_assert_eq!(parsed.records, [frames.concat(), last.clone()].concat());
                }
            }
        }

        /// A flipped bit costs at most the last frame, where it can't be told from a torn one, and is refused everywhere else.
        #[test]
        fn damage_is_refused(frames in any_frames(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = bytes_of(&frames);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            if let Ok(parsed) = parse(&bytes) {
                let all = frames.concat();
                let least = frames.len().saturating_sub(1);
                prop_assert!(parsed.records.len() >= frames[..least].concat().len(), "{} of {}", parsed.records.len(), all.len());
                prop_assert_eq!(&parsed.records[..], &all[..parsed.records.len()]);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[first_block(), bytes].concat());
        }
    }

    #[test]
    fn a_frame_that_is_missing_in_the_middle_is_refused() {
        let shortened = |number| vec![Record::Shortened { number }];
        let bytes = bytes_of(&[shortened(1), shortened(2), shortened(3)]);
        let second = 2 * ALIGNMENT_BYTES;
        let mut zeroed = bytes.clone();
        zeroed[second..][..ALIGNMENT_BYTES].fill(0);
        let mut damaged = bytes.clone();
        damaged[second + HEADER_BYTES + 3] ^= 1;
        for bytes in [zeroed, damaged, [&bytes[..second], &bytes[second + ALIGNMENT_BYTES..]].concat()] {
            assert!(matches!(parse(&bytes), Err(JournalError::Damaged { at }) if at == second));
        }
    }
}
