//! Timeline history files: by which timelines, and over which positions, a timeline descends from the first.
//!
//! A promotion or a point-in-time recovery starts a new timeline and writes `<timeline>.history`. Recovery follows that
//! path and no other, so "is this backup on the way to that target" is answered here, as PostgreSQL answers it.
//!
//! Not here: choosing a timeline, or fetching the files.
//!
//! Source: `src/backend/access/transam/timeline.c`.

use crate::{Lsn, TimelineId};
use std::fmt::Write as _;

/// The most a history file may hold: about 10 000 promotions.
pub const HISTORY_BYTES_MAX: usize = 1 << 20;

/// A timeline and all it descends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    /// The timeline whose history this is.
    pub timeline: TimelineId,
    /// What it descends from, oldest first. Empty for the first timeline, which has no file.
    pub ancestors: Vec<Ancestor>,
}

/// One line of the file: a timeline that was left, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// The timeline that was left.
    pub timeline: TimelineId,
    /// The position where the next one begins. The byte *at* this position is the next one's.
    pub switched_at: Lsn,
    /// What PostgreSQL noted, such as `no recovery target specified`. For people; not valid UTF-8 becomes `�`.
    pub reason: String,
}

/// A history file that PostgreSQL would refuse, too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Larger than [`HISTORY_BYTES_MAX`].
    #[error("history of timeline {timeline} has {bytes} bytes, more than any history file")]
    TooLarge {
        /// Whose history.
        timeline: TimelineId,
        /// Its length.
        bytes: usize,
    },
    /// Not `timeline`, `position`, `reason`.
    #[error("history of timeline {timeline}, line {line}: {text:?} is not a timeline and a position")]
    Line {
        /// Whose history.
        timeline: TimelineId,
        /// From 1.
        line: usize,
        /// The start of the line.
        text: String,
    },
    /// A child's number must be greater than its parent's.
    #[error("history of timeline {timeline}, line {line}: timeline {found} is not greater than the one before")]
    Order {
        /// Whose history.
        timeline: TimelineId,
        /// From 1.
        line: usize,
        /// The number out of order.
        found: u32,
    },
    /// The file of a timeline can only name smaller ones.
    #[error("history of timeline {timeline} names timeline {found} as its ancestor")]
    NotAnAncestor {
        /// Whose history.
        timeline: TimelineId,
        /// The last ancestor in the file.
        found: TimelineId,
    },
}

impl TimelineHistory {
    /// A timeline that descends from nothing: timeline 1, or one whose history file doesn't exist.
    pub fn without_ancestors(timeline: TimelineId) -> Self {
        Self { timeline, ancestors: Vec::new() }
    }

    /// Reads the content of `<timeline>.history`.
    ///
    /// Positions may decrease from one line to the next: PostgreSQL names the *target* timeline as the parent even when
    /// recovery stopped before reaching it. The newest timeline that covers a position is the one that counts.
    pub fn parse(timeline: TimelineId, bytes: &[u8]) -> Result<Self, HistoryError> {
        if bytes.len() > HISTORY_BYTES_MAX {
            return Err(HistoryError::TooLarge { timeline, bytes: bytes.len() });
        }
        let mut ancestors: Vec<Ancestor> = Vec::new();
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = index + 1;
            let text = String::from_utf8_lossy(raw);
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let ancestor = ancestor(text).ok_or_else(|| HistoryError::Line {
                timeline,
                line,
                text: text.chars().take(80).collect(),
            })?;
            let before = ancestors.last().map_or(0, |last| last.timeline.0);
            if ancestor.timeline.0 <= before {
                return Err(HistoryError::Order { timeline, line, found: ancestor.timeline.0 });
            }
            ancestors.push(ancestor);
        }
        match ancestors.last() {
            Some(last) if last.timeline >= timeline => {
                Err(HistoryError::NotAnAncestor { timeline, found: last.timeline })
            }
            _ => Ok(Self { timeline, ancestors }),
        }
    }

    /// The file's content, as PostgreSQL would write it (without the empty lines it puts between ancestors).
    pub fn to_file(&self) -> String {
        self.ancestors.iter().fold(String::new(), |mut file, ancestor| {
            let reason: String = ancestor.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(file, "{}\t{}\t{}", ancestor.timeline, ancestor.switched_at, reason.trim());
            file
        })
    }

    /// The history that one of the ancestors must have had. None when it is no ancestor, or the first, which has none.
    pub fn of_ancestor(&self, timeline: TimelineId) -> Option<Self> {
        let place =
            self.ancestors.iter().position(|ancestor| ancestor.timeline == timeline).filter(|place| *place > 0)?;
        Some(Self { timeline, ancestors: self.ancestors[..place].to_vec() })
    }

    /// The history of the timeline that begins at `switched_at` of this one.
    /// None when the new number isn't greater.
    pub fn child(&self, timeline: TimelineId, switched_at: Lsn, reason: &str) -> Option<Self> {
        let mut ancestors = self.ancestors.clone();
        ancestors.push(Ancestor { timeline: self.timeline, switched_at, reason: reason.to_owned() });
        (timeline > self.timeline).then_some(Self { timeline, ancestors })
    }

    /// The timeline that the byte at `lsn` comes from when recovery follows this history.
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        let newest_first = self.spans().rev();
        newest_first
            .filter(|(_, begin, _)| *begin <= lsn)
            .map(|(timeline, ..)| timeline)
            .next()
            .unwrap_or(self.timeline)
    }

    /// Is the byte at `lsn` of `timeline` on the path? For the start of a record, a checkpoint, a segment.
    pub fn contains(&self, timeline: TimelineId, lsn: Lsn) -> bool {
        self.timeline_at(lsn) == timeline
    }

    /// Is the *end* position `lsn` of `timeline` on the path? For where a backup or a record ends: the switch point
    /// itself still counts, because all that lies before it is shared.
    pub fn contains_end(&self, timeline: TimelineId, lsn: Lsn) -> bool {
        self.span(timeline).is_some_and(|(begin, end)| begin <= lsn && end.is_none_or(|end| lsn <= end))
    }

    /// From where to where `timeline` is on the path: its first byte, and the byte after its last (none: it goes on).
    /// None when it isn't on the path at all, or over no byte.
    pub fn span(&self, timeline: TimelineId) -> Option<(Lsn, Option<Lsn>)> {
        let (_, begin, end) = self.spans().find(|(candidate, ..)| *candidate == timeline)?;
        end.is_none_or(|end| begin <= end).then_some((begin, end))
    }

    /// Every timeline of the path, oldest first, with the bytes it stands for.
    fn spans(&self) -> impl DoubleEndedIterator<Item = (TimelineId, Lsn, Option<Lsn>)> {
        let mut spans = Vec::with_capacity(self.ancestors.len() + 1);
        let begin = self.ancestors.last().map_or(Lsn(0), |last| last.switched_at);
        spans.push((self.timeline, begin, None));
        let mut end: Option<Lsn> = None;
        for (index, ancestor) in self.ancestors.iter().enumerate().rev() {
            let begin = index.checked_sub(1).map_or(Lsn(0), |before| self.ancestors[before].switched_at);
            // A newer timeline that begins earlier takes the bytes from all before it.
            let nearest = end.map_or(ancestor.switched_at, |end| end.min(ancestor.switched_at));
            end = Some(nearest);
            spans.push((ancestor.timeline, begin, end));
        }
        spans.reverse();
        spans.into_iter()
    }
}

fn ancestor(text: &str) -> Option<Ancestor> {
    let mut fields = text.splitn(3, char::is_whitespace);
    let number = fields.next().filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let timeline = TimelineId(number.parse().ok()?);
    let switched_at = fields.next()?.parse().ok()?;
    Some(Ancestor { timeline, switched_at, reason: fields.next().unwrap_or_default().trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# by hand\n1\t0/3000000\tno recovery target specified\n\n\
                        2\t0/5000000\tbefore transaction 800 at 2026-11-21\n";

    fn third() -> TimelineHistory {
        TimelineHistory::parse(TimelineId(3), FILE.as_bytes()).unwrap()
    }

    #[test]
    fn each_position_belongs_to_one_timeline_of_the_path() {
        for (lsn, timeline) in
            [(0, 1), (0x2FF_FFFF, 1), (0x300_0000, 2), (0x4FF_FFFF, 2), (0x500_0000, 3), (u64::MAX, 3)]
        {
            assert_eq!(third().timeline_at(Lsn(lsn)), TimelineId(timeline), "{lsn:X}");
            assert!(third().contains(TimelineId(timeline), Lsn(lsn)));
        }
        assert!(!third().contains(TimelineId(1), Lsn(0x300_0000)));
        assert!(third().contains_end(TimelineId(1), Lsn(0x300_0000)));
        assert!(!third().contains_end(TimelineId(1), Lsn(0x300_0001)));
        assert!(!third().contains_end(TimelineId(4), Lsn(0x300_0000)));
        assert_eq!(third().span(TimelineId(3)), Some((Lsn(0x500_0000), None)));
    }

    #[test]
    fn recovery_that_stopped_before_its_target_timeline_began_takes_bytes_from_older_ones() {
        let history = TimelineHistory::parse(TimelineId(3), b"1\t0/5000000\ta\n2\t0/3000000\tb\n").unwrap();
        assert_eq!(history.timeline_at(Lsn(0x2FF_FFFF)), TimelineId(1));
        assert_eq!(history.timeline_at(Lsn(0x400_0000)), TimelineId(3));
        assert_eq!(history.span(TimelineId(1)), Some((Lsn(0), Some(Lsn(0x300_0000)))));
        assert_eq!(history.span(TimelineId(2)), None);
        assert!(!history.contains_end(TimelineId(1), Lsn(0x400_0000)));
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(TimelineHistory::parse(TimelineId(3), third().to_file().as_bytes()), Ok(third()));
        let child = third().child(TimelineId(7), Lsn(0x600_0000), "at restore point \"x\"\n").unwrap();
        assert_eq!(child.timeline_at(Lsn(0x5FF_FFFF)), TimelineId(3));
        let read = TimelineHistory::parse(TimelineId(7), child.to_file().as_bytes()).unwrap();
        assert_eq!(read.ancestors[2].reason, "at restore point \"x\"");
        assert_eq!(third().child(TimelineId(3), Lsn(0), ""), None);
    }

    #[test]
    fn what_postgresql_refuses_is_refused() {
        let parse = |text: &str| TimelineHistory::parse(TimelineId(3), text.as_bytes());
        assert!(matches!(parse("1\n"), Err(HistoryError::Line { line: 1, .. })));
        assert!(matches!(parse("one\t0/1\tx\n"), Err(HistoryError::Line { .. })));
        assert!(matches!(parse("\n+1\t0/1\tx\n"), Err(HistoryError::Line { line: 2, .. })));
        assert!(matches!(parse("0\t0/1\tx\n"), Err(HistoryError::Order { .. })));
        assert!(matches!(parse("2\t0/1\tx\n1\t0/2\ty\n"), Err(HistoryError::Order { line: 2, found: 1, .. })));
        assert!(matches!(parse("2\t0/1\tx\n2\t0/2\ty\n"), Err(HistoryError::Order { .. })));
        assert!(matches!(parse("3\t0/1\tx\n"), Err(HistoryError::NotAnAncestor { .. })));
        assert!(matches!(parse(&" ".repeat(HISTORY_BYTES_MAX + 1)), Err(HistoryError::TooLarge { .. })));
        assert_eq!(parse(""), Ok(TimelineHistory::without_ancestors(TimelineId(3))));
    }
}
