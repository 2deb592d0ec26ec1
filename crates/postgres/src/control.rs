//! `global/pg_control`: what a cluster is, and where its recovery begins.
//!
//! The server rewrites the file while it runs, without a lock that others could take, so a copy can be torn: the
//! checksum is always verified, and [`read`] tries again when it doesn't fit.
//!
//! A restored cluster must not start without its `backup_label`: it would recover from a checkpoint that is too late
//! and be corrupt without a word. [`invalidate_checkpoint`] makes such a start fail, and harms no start with a label.
//!
//! Source: `src/include/catalog/pg_control.h` of 14 to 18, laid out by the compilers of 64-bit little-endian machines.

use crate::little_endian::{u8_at, u32_at, u64_at};
use crate::wal_file::SegmentSize;
use crate::{Lsn, MajorVersion, SystemId, TimelineId};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many bytes the file has. Most of them are zero.
pub const CONTROL_FILE_BYTES: usize = 8192;

/// A position at which no checkpoint can be: inside the first segment, which no cluster writes. It does look like the
/// place of a record, since PostgreSQL checks that much even when it won't read it.
const NO_CHECKPOINT: Lsn = Lsn(0xDEAD);

const CHECKPOINT_OFFSET: usize = 32;

/// Reading a torn file again: 20 times with 10 ms between. A write takes microseconds.
const READS_MAX: u32 = 20;
const READ_PAUSE: Duration = Duration::from_millis(10);

/// The content of `pg_control`, without what belongs to PostgreSQL alone (nonce, unlogged LSN, C type sizes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// Which cluster this is.
    pub system_id: SystemId,
    /// The format of the file: 1300, 1700 or 1800.
    pub control_version: u32,
    /// The format of the catalogs. Names the directory inside tablespaces.
    pub catalog_version: u32,
    /// What the server was doing when it last wrote the file.
    pub state: ClusterState,
    /// When it was written, in seconds since 1970.
    pub modified_unix_seconds: i64,
    /// The record of the latest checkpoint.
    pub checkpoint: Lsn,
    /// What that record says.
    pub latest_checkpoint: Checkpoint,
    /// Replay must reach this before the cluster is consistent; 0 on a primary.
    pub min_recovery_point: Lsn,
    /// The timeline of `min_recovery_point`; 0 on a primary.
    pub min_recovery_timeline: TimelineId,
    /// Set while recovering a backup: where it began.
    pub backup_start: Lsn,
    /// Set while recovering a backup of a standby: where it ended.
    pub backup_end: Lsn,
    /// Recovery waits for the record that ends the backup.
    pub backup_end_required: bool,
    /// The settings that a standby must match.
    pub settings: ControlSettings,
    /// Bytes in a page; 8192 unless built otherwise.
    pub block_bytes: u32,
    /// Pages in each file of a large relation; 131072 (1 GiB) unless built otherwise.
    pub blocks_per_relation_segment: u32,
    /// Bytes in a page of the log; 8192 unless built otherwise.
    pub wal_block_bytes: u32,
    /// Bytes in a segment of the log.
    pub wal_segment_size: SegmentSize,
    /// 0: pages have no checksums. 1: they do.
    pub data_checksum_version: u32,
    /// Is C's `char` signed where the cluster was made? Only from PostgreSQL 18 on; before, it isn't recorded.
    pub default_char_signed: Option<bool>,
}

/// What the checkpoint record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Replay starts here.
    pub redo: Lsn,
    /// The timeline it is on.
    pub timeline: TimelineId,
    /// Differs from `timeline` when it began that timeline.
    pub previous_timeline: TimelineId,
    /// Was every page logged whole at its first change? Backups need it.
    pub full_page_writes: bool,
    /// The next transaction: epoch in the high half, 32-bit number in the low one.
    pub next_full_xid: u64,
    /// The next object id.
    pub next_oid: u32,
    /// The next group of row lockers.
    pub next_multixact: u32,
    /// Where its members go.
    pub next_multixact_offset: u32,
    /// The oldest transaction that any row may still name.
    pub oldest_xid: u32,
    /// In which database.
    pub oldest_xid_database: u32,
    /// The oldest group of row lockers that any row may still name.
    pub oldest_multixact: u32,
    /// In which database.
    pub oldest_multixact_database: u32,
    /// When it began, in seconds since 1970.
    pub time_unix_seconds: i64,
    /// The oldest and newest transactions whose commit time is kept; 0 when none is.
    pub commit_timestamp_xids: (u32, u32),
    /// The oldest transaction still running; 0 for a checkpoint at shutdown.
    pub oldest_active_xid: u32,
}

/// The settings recorded for standbys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the server setting of the same name.
pub struct ControlSettings {
    pub wal_level: WalLevel,
    pub wal_log_hints: bool,
    pub max_connections: u32,
    pub max_worker_processes: u32,
    pub max_wal_senders: u32,
    pub max_prepared_transactions: u32,
    pub max_locks_per_transaction: u32,
    pub track_commit_timestamp: bool,
}

/// How much is written to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalLevel {
    /// Too little for backups.
    Minimal,
    /// Enough for backups and standbys.
    Replica,
    /// Enough for logical decoding, too.
    Logical,
}

/// What the server was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// Never started yet.
    StartingUp,
    /// Stopped in order: needs no recovery.
    ShutDown,
    /// A standby, stopped in order.
    ShutDownInRecovery,
    /// Stopping.
    ShuttingDown,
    /// Replaying after a crash.
    InCrashRecovery,
    /// A standby, or replaying from the archive.
    InArchiveRecovery,
    /// A primary.
    InProduction,
}

/// Bytes that are no control file of a supported version, or not a whole one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The file couldn't be read.
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Fewer bytes than the format has.
    #[error("control file ends after {bytes} bytes")]
    TooShort {
        /// How many there are.
        bytes: usize,
    },
    /// Another version's format, another byte order, or no control file at all.
    #[error("control file has format {found}, which no supported version of PostgreSQL writes")]
    Version {
        /// What it says.
        found: u32,
    },
    /// Damaged, or torn by a write at the same moment.
    #[error("control file is damaged: checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// What it says.
        found: u32,
        /// What its bytes give.
        expected: u32,
    },
    /// The checksum is right, yet a value is impossible.
    #[error("control file says {field} is {value}")]
    Value {
        /// The name, as `pg_controldata` has it.
        field: &'static str,
        /// The number found.
        value: u64,
    },
}

impl ControlFile {
    /// Reads the content of `pg_control`. More bytes than the format has are ignored, as PostgreSQL does.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlError> {
        let crc_offset = verified(bytes)?;
        let bytes = &bytes[..crc_offset];
        decode(bytes).ok_or(ControlError::TooShort { bytes: bytes.len() })?
    }

    /// The version that made the cluster, by the formats it wrote. None for a version before 14, or one between
    /// releases, whose catalogs no released version reads.
    pub fn major_version(&self) -> Option<MajorVersion> {
        match (self.control_version, self.catalog_version) {
            (1300, 202_107_181) => Some(MajorVersion::V14),
            (1300, 202_209_061) => Some(MajorVersion::V15),
            (1300, 202_307_071) => Some(MajorVersion::V16),
            (1700, 202_406_281) => Some(MajorVersion::V17),
            (1800, 202_506_291) => Some(MajorVersion::V18),
            _ => None,
        }
    }

    /// Do pages carry checksums?
    pub fn has_page_checksums(&self) -> bool {
        self.data_checksum_version > 0
    }

    /// Was this made by [`invalidate_checkpoint`], and not yet recovered from a label?
    pub fn is_checkpoint_invalidated(&self) -> bool {
        self.checkpoint == NO_CHECKPOINT
    }
}

/// Reads the control file of a cluster that may be running.
///
/// Bytes whose checksum doesn't fit are read again, until they fit, or the same wrong ones came twice in a row (that is
/// damage, not a write under way), or 20 times. Blocks for up to 0.2 s then; call it where blocking is allowed.
pub fn read(data_directory: &Path) -> Result<ControlFile, ControlError> {
    ControlFile::parse(&read_bytes(data_directory)?)
}

/// The verified bytes of the file, for a copy: the same care as [`read`].
pub fn read_bytes(data_directory: &Path) -> Result<Vec<u8>, ControlError> {
    let path = data_directory.join("global/pg_control");
    let read = || bytes_of(&path).map_err(|source| ControlError::Read { path: path.clone(), source });
    settled(read, || std::thread::sleep(READ_PAUSE))
}

/// Reads until the bytes are right, or wrong in the same way twice.
fn settled(
    mut read: impl FnMut() -> Result<Vec<u8>, ControlError>,
    mut pause: impl FnMut(),
) -> Result<Vec<u8>, ControlError> {
    let mut before: Option<Vec<u8>> = None;
    let mut reads = 0;
    loop {
        let bytes = read()?;
        reads += 1;
        match ControlFile::parse(&bytes) {
            Ok(_) => return Ok(bytes),
            Err(error) if reads >= READS_MAX || before.as_ref() == Some(&bytes) => return Err(error),
            Err(_) => before = Some(bytes),
        }
        pause();
    }
}

fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::with_capacity(CONTROL_FILE_BYTES);
    std::fs::File::open(path)?.take(CONTROL_FILE_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same control file with a checkpoint that can't be found, and a right checksum.
///
/// PostgreSQL takes the checkpoint from `backup_label` and starts as always; without the label it stops with "could not
/// locate a valid checkpoint record" instead of recovering from the wrong place. The idea is pgBackRest's.
pub fn invalidate_checkpoint(bytes: &[u8]) -> Result<Vec<u8>, ControlError> {
    let crc_offset = verified(bytes)?;
    let mut changed = bytes.to_vec();
    changed[CHECKPOINT_OFFSET..CHECKPOINT_OFFSET + 8].copy_from_slice(&NO_CHECKPOINT.0.to_le_bytes());
    let crc = crc32c::crc32c(&changed[..crc_offset]);
    changed[crc_offset..crc_offset + 4].copy_from_slice(&crc.to_le_bytes());
    Ok(changed)
}

/// Checks format and checksum; returns where the checksum is, which is after all fields.
fn verified(bytes: &[u8]) -> Result<usize, ControlError> {
    let too_short = ControlError::TooShort { bytes: bytes.len() };
    let Some(version) = u32_at(bytes, 8) else { return Err(too_short) };
    let crc_offset = match version {
        1300 | 1700 => 288,
        // One more `bool`, before a nonce without alignment.
        1800 => 292,
        found => return Err(ControlError::Version { found }),
    };
    let Some(found) = u32_at(bytes, crc_offset) else { return Err(too_short) };
    let expected = crc32c::crc32c(&bytes[..crc_offset]);
    if found == expected { Ok(crc_offset) } else { Err(ControlError::Checksum { found, expected }) }
}

fn decode(bytes: &[u8]) -> Option<Result<ControlFile, ControlError>> {
    let number = |offset| u32_at(bytes, offset);
    let lsn = |offset| u64_at(bytes, offset).map(Lsn);
    let flag = |offset| u8_at(bytes, offset).map(|byte| byte != 0);
    let wrong = |field, value: u32| Some(Err(ControlError::Value { field, value: value.into() }));

    let Some(state) = cluster_state(number(16)?) else { return wrong("the cluster state", number(16)?) };
    let Some(wal_level) = wal_level(number(172)?) else { return wrong("wal_level", number(172)?) };
    let Ok(wal_segment_size) = SegmentSize::new(number(228)?.into()) else {
        return wrong("bytes per WAL segment", number(228)?);
    };
    for (offset, field, max) in [(216, "database block size", 32_768), (224, "WAL block size", 65_536)] {
        let size = number(offset)?;
        if !size.is_power_of_two() || size < 512 || size > max {
            return wrong(field, size);
        }
    }
    if number(220)? == 0 {
        return wrong("blocks per segment of large relation", 0);
    }
    let control_version = number(8)?;
    Some(Ok(ControlFile {
        system_id: SystemId(u64_at(bytes, 0)?),
        control_version,
        catalog_version: number(12)?,
        state,
        modified_unix_seconds: u64_at(bytes, 24)?.cast_signed(),
        checkpoint: lsn(CHECKPOINT_OFFSET)?,
        latest_checkpoint: checkpoint(bytes.get(40..128)?)?,
        min_recovery_point: lsn(136)?,
        min_recovery_timeline: TimelineId(number(144)?),
        backup_start: lsn(152)?,
        backup_end: lsn(160)?,
        backup_end_required: flag(168)?,
        settings: ControlSettings {
            wal_level,
            wal_log_hints: flag(176)?,
            max_connections: number(180)?,
            max_worker_processes: number(184)?,
            max_wal_senders: number(188)?,
            max_prepared_transactions: number(192)?,
            max_locks_per_transaction: number(196)?,
            track_commit_timestamp: flag(200)?,
        },
        block_bytes: number(216)?,
        blocks_per_relation_segment: number(220)?,
        wal_block_bytes: number(224)?,
        wal_segment_size,
        data_checksum_version: number(252)?,
        default_char_signed: if control_version >= 1800 { Some(flag(256)?) } else { None },
    }))
}

/// The struct `CheckPoint`. Versions that added `wal_level` to it put it where there was padding.
fn checkpoint(bytes: &[u8]) -> Option<Checkpoint> {
    let number = |offset| u32_at(bytes, offset);
    Some(Checkpoint {
        redo: Lsn(u64_at(bytes, 0)?),
        timeline: TimelineId(number(8)?),
        previous_timeline: TimelineId(number(12)?),
        full_page_writes: u8_at(bytes, 16)? != 0,
        next_full_xid: u64_at(bytes, 24)?,
        next_oid: number(32)?,
        next_multixact: number(36)?,
        next_multixact_offset: number(40)?,
        oldest_xid: number(44)?,
        oldest_xid_database: number(48)?,
        oldest_multixact: number(52)?,
        oldest_multixact_database: number(56)?,
        time_unix_seconds: u64_at(bytes, 64)?.cast_signed(),
        commit_timestamp_xids: (number(72)?, number(76)?),
        oldest_active_xid: number(80)?,
    })
}

fn cluster_state(number: u32) -> Option<ClusterState> {
    Some(match number {
        0 => ClusterState::StartingUp,
        1 => ClusterState::ShutDown,
        2 => ClusterState::ShutDownInRecovery,
        3 => ClusterState::ShuttingDown,
        4 => ClusterState::InCrashRecovery,
        5 => ClusterState::InArchiveRecovery,
        6 => ClusterState::InProduction,
        _ => return None,
    })
}

fn wal_level(number: u32) -> Option<WalLevel> {
    Some(match number {
        0 => WalLevel::Minimal,
        1 => WalLevel::Replica,
        2 => WalLevel::Logical,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = include_bytes!("../tests/decoders/fixtures/17/pg_control.running");

    /// What `settled` says to a file whose reads give `versions` one after the other, and after how many reads.
    fn outcome(versions: impl IntoIterator<Item = Vec<u8>>) -> (bool, usize) {
        let (mut versions, mut reads) = (versions.into_iter(), 0);
        let read = || {
            reads += 1;
            Ok(versions.next().expect("read too often"))
        };
        let right = settled(read, || {}).is_ok();
        (right, reads)
    }

    fn torn(round: u8) -> Vec<u8> {
        let mut bytes = GOOD.to_vec();
        bytes[200] = bytes[200].wrapping_add(round + 1);
        bytes
    }

    #[test]
    fn a_torn_read_is_tried_again_and_damage_is_not() {
        assert_eq!(outcome([GOOD.to_vec()]), (true, 1));
        assert_eq!(outcome([torn(0), torn(1), Vec::new(), GOOD.to_vec()]), (true, 4));
        assert_eq!(outcome([torn(0), torn(1), torn(1)]), (false, 3));
        assert_eq!(outcome((0..100).map(torn)), (false, READS_MAX as usize));
    }
}
