//! Lineages as PostgreSQL's timelines: the path to the present one, and how the next one gets the number that was reserved for it.
//!
//! PostgreSQL takes the first number above its own for which there is no history file (`findNewestTimeLine`). Numbers that were reserved by
//! others and came to nothing are therefore filled with a file that says so; nobody archives these.

use super::end_of_log;
use lifeboat_failover::{Fork, History, Lineage};
use lifeboat_postgres::{Lsn, TimelineId};
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

/// More numbers than this are not skipped: something is wrong.
const SKIPPED_MAX: u32 = 1_000;

/// The path to `lineage`.
pub fn history(data_dir: &Path, lineage: Lineage) -> History {
    let path = end_of_log::history(data_dir, TimelineId(lineage.0));
    let mut start = 0;
    let mut forks = Vec::with_capacity(path.ancestors.len() + 1);
    for ancestor in &path.ancestors {
        forks.push(Fork { lineage: Lineage(ancestor.timeline.0), start });
        start = ancestor.switched_at.0;
    }
    forks.push(Fork { lineage, start });
    History::new(forks)
}

/// Makes `next` the first free number after `present`.
///
/// # Errors
/// When `next` was used already, or is too far away.
pub fn reserve(data_dir: &Path, present: Lineage, at: u64, next: Lineage) -> io::Result<()> {
    let file = |lineage: u32| data_dir.join("pg_wal").join(format!("{lineage:08X}.history"));
    if next <= present || next.0 - present.0 > SKIPPED_MAX || file(next.0).exists() {
        return Err(io::Error::other(format!("lineage {} can't follow lineage {}", next.0, present.0)));
    }
    let wal = data_dir.join("pg_wal");
    let owner = std::fs::metadata(&wal)?;
    for between in present.0 + 1..next.0 {
        let path = file(between);
        if path.exists() {
            continue;
        }
        let before = end_of_log::history(data_dir, TimelineId(present.0));
        let skipped = before.child(TimelineId(between), Lsn(at), "reserved by another member, not used here");
        let text = skipped.map(|history| history.to_file()).unwrap_or_default();
        let aside = wal.join(format!("{between:08X}.history.lifeboat"));
        std::fs::write(&aside, text)?;
        use std::os::unix::fs::MetadataExt;
        chown(&aside, Some(owner.uid()), Some(owner.gid()))?;
        std::fs::File::open(&aside)?.sync_all()?;
        std::fs::rename(&aside, &path)?;
    }
    std::fs::File::open(&wal)?.sync_all()
}

/// The newest timeline that has a file with the byte before `end` in it: where a standby has got to.
pub fn newest_with(
    data_dir: &Path,
    size: lifeboat_postgres::wal_file::SegmentSize,
    end: u64,
    at_least: Lineage,
) -> Lineage {
    use lifeboat_postgres::wal_file::{Segment, SegmentNumber};
    let number = SegmentNumber::containing(Lsn(end.saturating_sub(1)), size);
    let Ok(entries) = std::fs::read_dir(data_dir.join("pg_wal")) else { return at_least };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<lifeboat_postgres::wal_file::SegmentName>().ok())
        .filter_map(|name| name.with_size(size).ok())
        .filter(|segment: &Segment| segment.number == number)
        .map(|segment| Lineage(segment.timeline.0))
        .fold(at_least, Lineage::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_between_are_filled_and_used_ones_refused() {
        let directory = tempfile::tempdir().unwrap();
        let wal = directory.path().join("pg_wal");
        std::fs::create_dir(&wal).unwrap();
        std::fs::write(wal.join("00000002.history"), "1\t0/100\tx\n").unwrap();
        reserve(directory.path(), Lineage(2), 0x500, Lineage(5)).unwrap();
        for between in [3, 4] {
            let path = history(directory.path(), Lineage(between));
            let forks: Vec<_> = path.forks().iter().map(|fork| (fork.lineage.0, fork.start)).collect();
            assert_eq!(forks, [(1, 0), (2, 0x100), (between, 0x500)]);
        }
        assert!(!wal.join("00000005.history").exists());
        reserve(directory.path(), Lineage(2), 0x500, Lineage(3)).expect_err("used");
        reserve(directory.path(), Lineage(2), 0x500, Lineage(2)).expect_err("the present one");
    }
}
