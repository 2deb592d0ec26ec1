//! Whole segments that nobody may have archived: a dead primary's archiver was behind, and a standby takes it for granted that what it received is
//! archived by its primary (with `archive_mode = on` PostgreSQL marks each as done). What is about to be promoted offers them all once more; for
//! `wal push` what is there already is a success.
//!
//! A file that PostgreSQL has prepared under a later name, from one that it needed no more, may be marked as done too, where the log went on under
//! another timeline's name. It holds another part of the log than its name says, no archive takes it, and everything behind it would wait for ever.
//!
//! Not here: the segment in which a timeline ends. PostgreSQL itself archives that one, as `.partial`.

use lifeboat_failover::{History, Position};
use lifeboat_postgres::wal::inspect_segment_start;
use lifeboat_postgres::wal_file::{SegmentName, SegmentSize};
use lifeboat_postgres::{Lsn, SystemId};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Of a segment's beginning, in bytes: enough to say which it is.
const HEADER_BYTES: u64 = 64;

/// Whether the server archives with a program that takes the same file twice.
pub const ASKS_US: &str =
    "select current_setting('archive_mode') <> 'off' and current_setting('archive_command') ~ 'lifeboat.* wal push'";

/// Offers every whole segment of the path to `end`. Returns how many.
///
/// # Errors
/// When the directory of the log can't be read, or a mark not be changed.
pub fn offer(
    data_dir: &Path,
    (size, system_id): (SegmentSize, SystemId),
    path: &History,
    end: Position,
) -> io::Result<usize> {
    let log = data_dir.join("pg_wal");
    let status = log.join("archive_status");
    let mut count = 0;
    for entry in std::fs::read_dir(&status)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".done")) else { continue };
        if is_whole(name, size, path, end) && is_itself(&log, name, system_id) {
            std::fs::rename(entry.path(), status.join(format!("{name}.ready")))?;
            count += 1;
        }
    }
    Ok(count)
}

/// Whether the file holds what its name says.
fn is_itself(log: &Path, name: &str, system_id: SystemId) -> bool {
    let mut header = Vec::new();
    let read = File::open(log.join(name)).and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut header));
    let name = name.parse::<SegmentName>().ok().filter(|_| read.is_ok());
    let begins = inspect_segment_start(&header).ok();
    name.zip(begins).is_some_and(|(name, begins)| begins.check(name, system_id).is_ok())
}

/// Whether a file of that name holds nothing but what is on the path, to its last byte.
fn is_whole(name: &str, size: SegmentSize, path: &History, end: Position) -> bool {
    let segment = name.parse::<SegmentName>().ok().and_then(|name| name.with_size(size).ok());
    let Some(segment) = segment else { return false };
    let forks = path.forks();
    let Some(place) = forks.iter().position(|fork| fork.lineage.0 == segment.timeline.0) else { return false };
    let left_at = forks.get(place + 1).map_or(end.offset, |next| next.start.min(end.offset));
    segment.end(size) <= Lsn(left_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_failover::Lineage;

    const SYSTEM: SystemId = SystemId(7_711_246_107_313_402_139);
    const SIZE: u32 = 1 << 20;

    /// The first page's header of a segment, as PostgreSQL 15 on a little-endian machine writes it.
    fn header(timeline: u32, start: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(0xD110_u16.to_le_bytes());
        bytes.extend(0x0002_u16.to_le_bytes());
        bytes.extend(timeline.to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(SYSTEM.0.to_le_bytes());
        bytes.extend(SIZE.to_le_bytes());
        bytes.extend(8192_u32.to_le_bytes());
        bytes
    }

    #[test]
    fn whole_segments_of_the_path_are_offered_and_no_others() {
        let mib = |count: u64| count << 20;
        let directory = tempfile::tempdir().unwrap();
        let status = directory.path().join("pg_wal/archive_status");
        std::fs::create_dir_all(&status).unwrap();
        let whole = ["000000010000000000000001", "000000010000000000000002", "000000030000000000000003"];
        let others = [
            // Timeline 1 was left inside its fourth segment, 3 ends inside its sixth; 2 isn't on the path.
            "000000010000000000000003",
            "000000010000000000000004",
            "000000030000000000000005",
            "000000020000000000000002",
            "00000003.history",
        ];
        for name in whole.iter().chain(&others) {
            std::fs::write(status.join(format!("{name}.done")), "").unwrap();
            let number = |range: std::ops::Range<usize>| u32::from_str_radix(name.get(range).unwrap_or_default(), 16);
            if let (Ok(timeline), Ok(segment)) = (number(0..8), number(16..24)) {
                let path = directory.path().join("pg_wal").join(name);
                std::fs::write(path, header(timeline, mib(segment.into()))).unwrap();
            }
        }
        let size = SegmentSize::new(SIZE.into()).unwrap();
        // Prepared under that name, never written; and one that is gone.
        let stale = ["000000010000000000000000", "000000030000000000000004"];
        std::fs::write(directory.path().join("pg_wal").join(stale[0]), header(1, mib(9))).unwrap();
        for name in stale {
            std::fs::write(status.join(format!("{name}.done")), "").unwrap();
        }
        let path = History::default().forked(Lineage(1), 0).forked(Lineage(3), mib(3) + 77);
        let end = Position { lineage: Lineage(3), offset: mib(5) + 5 };
        assert_eq!(offer(directory.path(), (size, SYSTEM), &path, end).unwrap(), whole.len());
        for name in whole {
            assert!(status.join(format!("{name}.ready")).exists(), "{name}");
        }
        for name in others.into_iter().chain(stale) {
            assert!(status.join(format!("{name}.done")).exists(), "{name}");
        }
    }
}
