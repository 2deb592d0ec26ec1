//! Which part of a log no recovery point needs any more.
//!
//! A point needs the log from its start to its stop, or it can't be restored at all. One that *continues* needs all that
//! follows as well: from it every later moment can be reached. Histories are never given up: they are small, and recovery
//! chooses its way by them. Nor is the log of a cluster of which there never was a point: its first backup may be under way.
//!
//! Pure: what is stored and needed goes in, ranges of names come out.

use super::archive::{ArchivedName, TailName};
use lifeboat_postgres::wal_file::{SegmentName, SegmentSize, WalFileName};
use lifeboat_postgres::{Lsn, SystemId};
use lifeboat_repository::{LogEntry, LogRange};

/// What a recovery point needs of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogNeed {
    /// Of which cluster.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// From here ...
    pub start: Lsn,
    /// ... to here at least.
    pub stop: Lsn,
    /// Whether the point stays.
    pub is_kept: bool,
    /// Whether all that follows is needed too.
    pub continues: bool,
}

/// The files among `entries` that none of the points needs, as ranges in which nothing needed lies. `points` has those that
/// go as well: whose clusters are known.
pub fn unneeded(workload: &str, entries: &[LogEntry], points: &[LogNeed]) -> Vec<LogRange> {
    let mut sorted: Vec<&LogEntry> = entries.iter().collect();
    sorted.sort_by(|a, b| (&a.group, &a.name).cmp(&(&b.group, &b.name)));
    let mut ranges: Vec<LogRange> = Vec::new();
    let mut is_open = false;
    for entry in sorted {
        if !is_unneeded(entry, points) {
            is_open = false;
            continue;
        }
        match ranges.last_mut() {
            Some(range) if is_open && range.group == entry.group => range.last.clone_from(&entry.name),
            _ => ranges.push(LogRange {
                workload: workload.into(),
                group: entry.group.clone(),
                first: entry.name.clone(),
                last: entry.name.clone(),
            }),
        }
        is_open = true;
    }
    ranges
}

fn is_unneeded(entry: &LogEntry, points: &[LogNeed]) -> bool {
    let of_entry = || {
        let system_id = SystemId(entry.group.split_once('/')?.0.parse().ok()?);
        let segment_size = points.iter().find(|point| point.system_id == system_id)?.segment_size;
        let segment = segment_of(entry.name.parse().ok()?)?.with_size(segment_size).ok()?;
        Some((system_id, segment.start(segment_size), segment.end(segment_size)))
    };
    // What isn't understood is kept.
    let Some((system_id, start, end)) = of_entry() else { return false };
    let mut kept = points.iter().filter(|point| point.is_kept && point.system_id == system_id);
    // Positions only grow along the timelines that lead to a point; what another timeline has below is older, or a
    // branch that no point continues.
    !kept.any(|point| end > point.start && (point.continues || start <= point.stop))
}

fn segment_of(name: ArchivedName) -> Option<SegmentName> {
    match name {
        ArchivedName::File(WalFileName::Segment(segment) | WalFileName::Partial(segment))
        | ArchivedName::File(WalFileName::Backup { segment, .. })
        | ArchivedName::Tail(TailName { segment, .. }) => Some(segment),
        ArchivedName::File(WalFileName::History(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn entry(name: &str) -> LogEntry {
        let group = if name.ends_with(".history") { "7/history" } else { "7/00000001/00000000" };
        LogEntry {
            group: group.into(),
            name: name.into(),
            content_id: "0".repeat(32),
            stored_bytes: 1,
            locations: Vec::new(),
        }
    }

    /// Segments of 16 MiB, numbers 1 to 9, and what lies beside them.
    fn log() -> Vec<LogEntry> {
        let mut names: Vec<String> = (1..10).map(|number| format!("00000001000000000000000{number}")).collect();
        names.push("000000010000000000000002.00000028.backup".into());
        names.push("000000010000000000000009.00000000.00100000".into());
        names.push("00000002.history".into());
        names.push("something else".into());
        names.iter().map(|name| entry(name)).collect()
    }

    fn point(start: u64, stop: u64) -> LogNeed {
        let segment_size = SegmentSize::new(16 * MIB).unwrap();
        let (start, stop) = (Lsn(start * 16 * MIB + 40), Lsn(stop * 16 * MIB + 80));
        LogNeed { system_id: SystemId(7), segment_size, start, stop, is_kept: true, continues: true }
    }

    fn gone(points: &[LogNeed]) -> Vec<String> {
        let ranges = unneeded("shop", &log(), points);
        ranges.iter().map(|range| format!("{}..{}", &range.first[16..24], &range.last[16..24])).collect()
    }

    #[test]
    fn all_that_follows_the_oldest_point_stays() {
        assert_eq!(gone(&[point(4, 4), point(7, 7)]), ["00000001..00000003"]);
        assert_eq!(gone(&[point(1, 1)]), [""; 0]);
    }

    #[test]
    fn a_point_that_does_not_continue_keeps_its_own_part() {
        let old = LogNeed { continues: false, ..point(2, 3) };
        assert_eq!(gone(&[old, point(6, 6)]), ["00000001..00000001", "00000004..00000005"]);
    }

    #[test]
    fn points_that_go_keep_nothing_and_unknown_clusters_everything() {
        let going = LogNeed { is_kept: false, ..point(2, 3) };
        assert_eq!(gone(&[going, point(5, 5)]), ["00000001..00000004"]);
        assert_eq!(gone(&[going]), ["00000001..00000009"], "and the history stays");
        assert_eq!(gone(&[]), [""; 0]);
        assert_eq!(gone(&[LogNeed { system_id: SystemId(8), ..point(9, 9) }]), [""; 0]);
    }
}
