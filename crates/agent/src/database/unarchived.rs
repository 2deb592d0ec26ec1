//! Whole segments that nobody may have archived: a dead primary's archiver was behind, and a standby takes it for granted that what it received is
//! archived by its primary (with `archive_mode = on` PostgreSQL marks each as done). What is about to be promoted offers them all once more; for
//! `wal push` what is there already is a success.
//!
//! Not here: the segment in which a timeline ends. PostgreSQL itself archives that one, as `.partial`.

use lifeboat_failover::{History, Position};
use lifeboat_postgres::Lsn;
use lifeboat_postgres::wal_file::{SegmentName, SegmentSize};
use std::io;
use std::path::Path;

/// Whether the server archives with a program that takes the same file twice.
pub const ASKS_US: &str =
    "select current_setting('archive_mode') <> 'off' and current_setting('archive_command') ~ 'lifeboat.* wal push'";

/// Offers every whole segment of the path to `end`. Returns how many.
///
/// # Errors
/// When the directory of the log can't be read, or a mark not be changed.
pub fn offer(data_dir: &Path, size: SegmentSize, path: &History, end: Position) -> io::Result<usize> {
    let status = data_dir.join("pg_wal").join("archive_status");
    let mut count = 0;
    for entry in std::fs::read_dir(&status)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".done")) else { continue };
        if is_whole(name, size, path, end) {
            std::fs::rename(entry.path(), status.join(format!("{name}.ready")))?;
            count += 1;
        }
    }
    Ok(count)
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
        }
        let size = SegmentSize::new(1 << 20).unwrap();
        let path = History::default().forked(Lineage(1), 0).forked(Lineage(3), mib(3) + 77);
        let end = Position { lineage: Lineage(3), offset: mib(5) + 5 };
        assert_eq!(offer(directory.path(), size, &path, end).unwrap(), whole.len());
        for name in whole {
            assert!(status.join(format!("{name}.ready")).exists(), "{name}");
        }
        for name in others {
            assert!(status.join(format!("{name}.done")).exists(), "{name}");
        }
    }
}
