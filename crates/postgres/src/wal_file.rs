//! The files of the write-ahead log: how they are numbered, named, and where in the log each begins.
//!
//! A name carries three numbers: timeline, "log" (the high half of a position) and segment within that log. How many
//! segments a log has depends on the segment size, so a name alone is not a position: whoever wants the position must
//! say the size, and a name that cannot exist with that size is refused.
//!
//! Not here: what is inside a segment (see [`crate::wal`]).
//!
//! Source: `src/include/access/xlog_internal.h` of PostgreSQL.

use crate::{Lsn, TimelineId};
use std::fmt;
use std::str::FromStr;

/// The longest name that PostgreSQL hands to `archive_command` (`MAX_XFN_CHARS` is 40; the documentation promises 64).
pub const NAME_LENGTH_MAX: usize = 64;

const MIB: u32 = 1 << 20;

/// The size of a segment, chosen by `initdb --wal-segsize`: a power of two from 1 MiB to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(u32);

/// A name or a size that PostgreSQL never gives to a file of its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalFileError {
    /// Not a name that `archive_command` can receive.
    #[error("{name:?} is not the name of a WAL segment, partial segment, timeline history or backup history file")]
    Name {
        /// The start of what was given.
        name: String,
    },
    /// Not a power of two from 1 MiB to 1 GiB.
    #[error("{bytes} bytes is not a WAL segment size (a power of two from 1 MiB to 1 GiB)")]
    Size {
        /// What was given.
        bytes: u64,
    },
    /// The name belongs to a cluster with smaller segments.
    #[error("WAL segment {name} cannot exist with segments of {size} bytes")]
    BeyondSize {
        /// The whole name.
        name: String,
        /// The segment size in use, in bytes.
        size: u32,
    },
}

impl SegmentSize {
    /// The size in bytes, when PostgreSQL would accept it.
    pub fn new(bytes: u64) -> Result<Self, WalFileError> {
        match u32::try_from(bytes) {
            Ok(size) if size.is_power_of_two() && (MIB..=1024 * MIB).contains(&size) => Ok(Self(size)),
            _ => Err(WalFileError::Size { bytes }),
        }
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0)
    }

    /// How many segments share one "log" number: 256 for 16 MiB, 4096 for 1 MiB, 4 for 1 GiB.
    pub fn segments_per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }

    /// How far into its segment the position lies.
    pub fn offset_of(self, lsn: Lsn) -> u64 {
        lsn.0 & (self.bytes() - 1)
    }
}

impl Default for SegmentSize {
    /// 16 MiB: what `initdb` uses when not told otherwise.
    fn default() -> Self {
        Self(16 * MIB)
    }
}

impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 / MIB)
    }
}

/// The count of segments since the beginning of the log: position divided by segment size.
/// Meaningless without the size it was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The segment that holds the byte at `lsn`.
    pub fn containing(lsn: Lsn, size: SegmentSize) -> Self {
        Self(lsn.0 / size.bytes())
    }

    /// The position of its first byte; the last possible position when there is no such segment.
    pub fn start(self, size: SegmentSize) -> Lsn {
        Lsn(self.0.saturating_mul(size.bytes()))
    }
}

/// One segment of one timeline. Ordered by timeline first, as PostgreSQL's names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The timeline that wrote it.
    pub timeline: TimelineId,
    /// Which one, counted with the cluster's segment size.
    pub number: SegmentNumber,
}

impl Segment {
    /// The segment of `timeline` that holds the byte at `lsn`.
    ///
    /// The *end* of a record or backup that lies exactly on a boundary is the first byte of the next segment: for
    /// "the last segment that is needed" ask with [`Segment::ending_at`].
    pub fn containing(timeline: TimelineId, lsn: Lsn, size: SegmentSize) -> Self {
        Self { timeline, number: SegmentNumber::containing(lsn, size) }
    }

    /// The segment that holds the byte *before* `end`: the last one needed to replay up to `end`.
    pub fn ending_at(timeline: TimelineId, end: Lsn, size: SegmentSize) -> Self {
        Self::containing(timeline, Lsn(end.0.saturating_sub(1)), size)
    }

    /// The position of its first byte.
    pub fn start(self, size: SegmentSize) -> Lsn {
        self.number.start(size)
    }

    /// The position after its last byte.
    pub fn end(self, size: SegmentSize) -> Lsn {
        self.start(size).saturating_add(size.bytes())
    }

    /// The one that follows on the same timeline.
    pub fn next(self) -> Self {
        Self { number: SegmentNumber(self.number.0.saturating_add(1)), ..self }
    }

    /// The one before on the same timeline; none before the first.
    pub fn previous(self) -> Option<Self> {
        Some(Self { number: SegmentNumber(self.number.0.checked_sub(1)?), ..self })
    }

    /// Its name in `pg_wal`, and in the archive.
    pub fn name(self, size: SegmentSize) -> SegmentName {
        let per_log = size.segments_per_log();
        SegmentName {
            timeline: self.timeline,
            // Positions have 64 bits, so the log number of a segment that exists has at most 32.
            log: u32::try_from(self.number.0 / per_log).unwrap_or(u32::MAX),
            segment: u32::try_from(self.number.0 % per_log).unwrap_or(u32::MAX),
        }
    }
}

/// The 24 hexadecimal digits that name a segment: three numbers whose position depends on the segment size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The timeline that wrote it.
    pub timeline: TimelineId,
    /// The high half of its position.
    pub log: u32,
    /// Which segment within that half.
    pub segment: u32,
}

impl SegmentName {
    /// Which segment that is with segments of `size`; refused when the last number is too large for that size.
    pub fn with_size(self, size: SegmentSize) -> Result<Segment, WalFileError> {
        let per_log = size.segments_per_log();
        if u64::from(self.segment) >= per_log {
            return Err(WalFileError::BeyondSize { name: self.to_string(), size: size.0 });
        }
        let number = SegmentNumber(u64::from(self.log) * per_log + u64::from(self.segment));
        Ok(Segment { timeline: self.timeline, number })
    }

    /// The position of its first byte with segments of `size`.
    pub fn start_lsn(self, size: SegmentSize) -> Result<Lsn, WalFileError> {
        Ok(self.with_size(size)?.start(size))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.0, self.log, self.segment)
    }
}

impl FromStr for SegmentName {
    type Err = WalFileError;

    fn from_str(text: &str) -> Result<Self, WalFileError> {
        segment_name(text).ok_or_else(|| not_a_name(text))
    }
}

/// What `archive_command` and `restore_command` deal with, recognised by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalFileName {
    /// A complete segment.
    Segment(SegmentName),
    /// The last, incomplete segment of a timeline that ended. It never stands in for the complete one.
    Partial(SegmentName),
    /// The history of that timeline. Recovery chooses its path by these: never overwrite one.
    History(TimelineId),
    /// What PostgreSQL archives beside the segment where a backup began.
    Backup {
        /// The segment where the backup began.
        segment: SegmentName,
        /// How many bytes into it.
        offset: u32,
    },
}

impl WalFileName {
    /// The timeline in the name.
    pub fn timeline(self) -> TimelineId {
        match self {
            Self::Segment(segment) | Self::Partial(segment) | Self::Backup { segment, .. } => segment.timeline,
            Self::History(timeline) => timeline,
        }
    }

    /// The position of the first byte of the segment it names; none for a history.
    /// Refused when the cluster's segments are of another size.
    pub fn start_lsn(self, size: SegmentSize) -> Result<Option<Lsn>, WalFileError> {
        match self {
            Self::Segment(segment) | Self::Partial(segment) => segment.start_lsn(size).map(Some),
            Self::Backup { segment, offset } if u64::from(offset) < size.bytes() => segment.start_lsn(size).map(Some),
            Self::Backup { .. } => Err(WalFileError::BeyondSize { name: self.to_string(), size: size.0 }),
            Self::History(_) => Ok(None),
        }
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => write!(f, "{segment}"),
            Self::Partial(segment) => write!(f, "{segment}.partial"),
            Self::History(timeline) => write!(f, "{:08X}.history", timeline.0),
            Self::Backup { segment, offset } => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

impl FromStr for WalFileName {
    type Err = WalFileError;

    /// Only what PostgreSQL itself would write: upper case, full width, timeline not 0. No directory in front.
    fn from_str(text: &str) -> Result<Self, WalFileError> {
        parse(text).ok_or_else(|| not_a_name(text))
    }
}

fn parse(text: &str) -> Option<WalFileName> {
    if text.len() > NAME_LENGTH_MAX {
        return None;
    }
    match text.split_once('.') {
        None => segment_name(text).map(WalFileName::Segment),
        Some((name, "partial")) => segment_name(name).map(WalFileName::Partial),
        Some((name, "history")) => hexadecimal(name).filter(|n| *n > 0).map(|n| WalFileName::History(TimelineId(n))),
        Some((name, rest)) => {
            let offset = hexadecimal(rest.strip_suffix(".backup")?)?;
            Some(WalFileName::Backup { segment: segment_name(name)?, offset })
        }
    }
}

fn segment_name(text: &str) -> Option<SegmentName> {
    if text.len() != 24 || !text.is_ascii() {
        return None;
    }
    let timeline = TimelineId(hexadecimal(&text[..8])?);
    let name = SegmentName { timeline, log: hexadecimal(&text[8..16])?, segment: hexadecimal(&text[16..])? };
    // 1 MiB segments: 4096 in a log. More than that is not a name at any size.
    (timeline.0 > 0 && name.segment < 4096).then_some(name)
}

/// Exactly eight upper-case digits, as `%08X` prints them.
fn hexadecimal(text: &str) -> Option<u32> {
    let plain = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

fn not_a_name(text: &str) -> WalFileError {
    WalFileError::Name { name: text.chars().take(NAME_LENGTH_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(mib: u64) -> SegmentSize {
        SegmentSize::new(mib << 20).unwrap()
    }

    #[test]
    fn a_position_has_another_name_at_each_segment_size() {
        for (lsn, mib, name, start) in [
            ("0/3000028", 16, "000000010000000000000003", "0/3000000"),
            ("16/B374D848", 16, "0000000100000016000000B3", "16/B3000000"),
            ("16/B374D848", 1, "000000010000001600000B37", "16/B3700000"),
            ("16/B374D848", 64, "00000001000000160000002C", "16/B0000000"),
            ("16/B374D848", 1024, "000000010000001600000002", "16/80000000"),
            ("FFFFFFFF/FFFFFFFF", 16, "00000001FFFFFFFF000000FF", "FFFFFFFF/FF000000"),
        ] {
            let segment = Segment::containing(TimelineId(1), lsn.parse().unwrap(), size(mib));
            assert_eq!(segment.name(size(mib)).to_string(), name);
            assert_eq!(segment.start(size(mib)).to_string(), start);
            let parsed: SegmentName = name.parse().unwrap();
            assert_eq!(parsed.with_size(size(mib)), Ok(segment));
        }
    }

    #[test]
    fn the_end_on_a_boundary_belongs_to_the_segment_before() {
        let end = Lsn(0x300_0000);
        let name = |segment: Segment| segment.name(SegmentSize::default()).to_string();
        assert_eq!(name(Segment::ending_at(TimelineId(2), end, size(16))), "000000020000000000000002");
        assert_eq!(name(Segment::containing(TimelineId(2), end, size(16))), "000000020000000000000003");
        let last_of_log = Segment::containing(TimelineId(1), Lsn(0xFF00_0000), size(16));
        assert_eq!(name(last_of_log.next()), "000000010000000100000000");
        assert_eq!(last_of_log.next().previous(), Some(last_of_log));
        assert_eq!(Segment { timeline: TimelineId(1), number: SegmentNumber(0) }.previous(), None);
    }

    #[test]
    fn a_name_from_a_cluster_with_smaller_segments_is_refused() {
        let name: WalFileName = "000000010000000000000100".parse().unwrap();
        assert!(matches!(name.start_lsn(size(16)), Err(WalFileError::BeyondSize { .. })));
        assert_eq!(name.start_lsn(size(1)), Ok(Some(Lsn(0x1000_0000))));
        let backup: WalFileName = "000000010000000000000003.00200028.backup".parse().unwrap();
        assert!(backup.start_lsn(size(1)).is_err());
        assert_eq!(backup.start_lsn(size(16)), Ok(Some(Lsn(0x300_0000))));
    }

    #[test]
    fn every_kind_is_written_as_it_was_read() {
        for text in [
            "00000001000000160000000B",
            "00000001000000160000000B.partial",
            "0000000A.history",
            "00000001000000160000000B.00000028.backup",
        ] {
            assert_eq!(text.parse::<WalFileName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_postgresql_never_writes_is_refused_by_name() {
        for text in [
            "",
            "000000000000001600000001",
            "00000000.history",
            "00000001000000160000000b",
            "00000001000000160000000",
            "00000001000000160000000B0",
            "000000010000001600001000",
            "00000001000000160000000B.",
            "00000001000000160000000B.part",
            "00000001000000160000000B.partial.gz",
            "00000001000000160000000B.28.backup",
            "pg_wal/00000001000000160000000B",
            "../00000001.history",
            "00000001.history ",
            "+0000001.history",
            "0000000é000000160000000",
            "1.history",
        ] {
            let error = text.parse::<WalFileName>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        assert!("A".repeat(65).parse::<WalFileName>().is_err());
    }

    #[test]
    fn sizes_are_powers_of_two_from_one_mebibyte_to_one_gibibyte() {
        for bytes in [0, 1, 1 << 19, (1 << 20) + 1, 3 << 20, 1 << 31, 1 << 32, u64::MAX] {
            assert!(SegmentSize::new(bytes).is_err(), "{bytes}");
        }
        assert_eq!(SegmentSize::new(1 << 24), Ok(SegmentSize::default()));
        assert_eq!(size(1024).segments_per_log(), 4);
    }
}
