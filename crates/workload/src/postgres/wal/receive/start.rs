//! Where to begin: after the last byte that is archived on the server's own path.

use super::super::inventory::Inventory;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::wal_file::{Segment, SegmentSize};
use lifeboat_postgres::{Lsn, TimelineId};

/// A position on a timeline: everything before it is stored, back to the start of its segment at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub timeline: TimelineId,
    pub stored: Lsn,
}

/// From an archive that a former run, or `archive_command`, has filled. `otherwise` is where the server can begin.
pub(crate) fn first(inventory: &Inventory, history: &TimelineHistory, otherwise: Lsn) -> Position {
    let end = inventory.end_along(history).map_or(otherwise, |(_, end)| end);
    let timeline = history.timeline_at(end);
    let segment = Segment::containing(timeline, end, inventory.segment_size);
    // A `.partial` is no part that others can be joined to: then the segment is received from its start.
    Position { timeline, stored: inventory.tails_end(segment).min(end) }
}

/// How far a location has the log from `from` on, the start of a segment, in a form that parts can be joined to.
pub(crate) fn continued(inventory: &Inventory, history: &TimelineHistory, from: Lsn) -> Lsn {
    let end = inventory.covered_along(history, from);
    let segment = Segment::containing(history.timeline_at(end), end, inventory.segment_size);
    inventory.tails_end(segment).min(end).max(from)
}

/// Where the server can begin, whatever is archived.
pub(crate) fn at_slot(history: &TimelineHistory, size: SegmentSize, otherwise: Lsn) -> Position {
    let timeline = history.timeline_at(otherwise);
    Position { timeline, stored: Segment::containing(timeline, otherwise, size).start(size) }
}

/// After a connection was lost, or a timeline ended. `position` is what was stored before; the server may have become
/// another one since, which left the timeline before that position.
pub(crate) fn again(position: Position, history: &TimelineHistory, size: SegmentSize, otherwise: Lsn) -> Position {
    let stored = match history.span(position.timeline) {
        Some((_, Some(end))) => position.stored.min(end),
        Some((_, None)) => position.stored,
        None => otherwise,
    };
    let timeline = history.timeline_at(stored);
    if timeline == position.timeline {
        return Position { timeline, stored };
    }
    // A timeline's first segment begins with its parent's bytes: all of it is received.
    Position { timeline, stored: Segment::containing(timeline, stored, size).start(size) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::SystemId;
    use lifeboat_repository::LogEntry;

    const SIZE: u64 = 16 << 20;

    fn history() -> TimelineHistory {
        TimelineHistory::parse(TimelineId(2), b"1\t0/3000100\tpromoted\n").unwrap()
    }

    fn archived(names: &[&str]) -> Inventory {
        let entry = |name: &&str| LogEntry {
            group: String::new(),
            name: (*name).to_owned(),
            content_id: String::new(),
            stored_bytes: 1,
            locations: Vec::new(),
        };
        Inventory::build(SystemId(1), SegmentSize::default(), names.iter().map(entry).collect())
    }

    fn position(timeline: u32, stored: u64) -> Position {
        Position { timeline: TimelineId(timeline), stored: Lsn(stored) }
    }

    #[test]
    fn the_first_start_goes_on_where_the_archive_ends() {
        let otherwise = Lsn(7 * SIZE + 5);
        let one = TimelineHistory::without_ancestors(TimelineId(1));
        for (names, history, expected) in [
            (&[][..], &one, position(1, 7 * SIZE)),
            (&["000000010000000000000002"], &one, position(1, 3 * SIZE)),
            (
                &["000000010000000000000002", "000000010000000000000003.00000000.00000080"],
                &one,
                position(1, 3 * SIZE + 128),
            ),
            (&["000000010000000000000003.00000010.00000080"], &one, position(1, 7 * SIZE)),
            (&["000000010000000000000003"], &history(), position(2, 3 * SIZE)),
            (&["000000010000000000000002"], &history(), position(1, 3 * SIZE)),
            (&["000000010000000000000002", "000000020000000000000003"], &history(), position(2, 4 * SIZE)),
        ] {
            assert_eq!(first(&archived(names), history, otherwise), expected, "{names:?}");
        }
    }

    #[test]
    fn what_a_location_holds_counts_up_to_its_first_gap() {
        let one = TimelineHistory::without_ancestors(TimelineId(1));
        for (names, expected) in [
            (&[][..], 2 * SIZE),
            (&["000000010000000000000002", "000000010000000000000003.00000000.00000080"], 3 * SIZE + 0x80),
            (&["000000010000000000000002", "000000010000000000000004"], 3 * SIZE),
            (&["000000010000000000000002.00000000.00000080", "000000010000000000000003"], 2 * SIZE + 0x80),
            (&["000000010000000000000003"], 2 * SIZE),
            (&["000000010000000000000002.00000010.00000080"], 2 * SIZE),
        ] {
            assert_eq!(continued(&archived(names), &one, Lsn(2 * SIZE)), Lsn(expected), "{names:?}");
        }
    }

    #[test]
    fn after_a_break_it_follows_the_server_that_is_there_now() {
        let size = SegmentSize::default();
        let otherwise = Lsn(9 * SIZE);
        for (before, expected) in [
            (position(1, 3 * SIZE + 0x80), position(1, 3 * SIZE + 0x80)),
            (position(1, 3 * SIZE + 0x100), position(2, 3 * SIZE)),
            (position(1, 5 * SIZE), position(2, 3 * SIZE)),
            (position(2, 5 * SIZE + 7), position(2, 5 * SIZE + 7)),
            (position(5, 5 * SIZE), position(2, 9 * SIZE)),
        ] {
            assert_eq!(again(before, &history(), size, otherwise), expected, "{before:?}");
        }
    }
}
