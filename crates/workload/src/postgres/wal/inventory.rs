//! What of a cluster's log is archived: per timeline, from where to where, and what is missing in between.
//!
//! [`observe`] asks the locations; [`Inventory`] is a plain value that answers questions without asking again.
//! Incomplete pieces count: parts that a receiver stored of the segment that was being written, and the `.partial`
//! that PostgreSQL archives when a timeline ends.

use super::archive::{ArchivedName, TailName, WalArchive};
use super::error::{Result, WalError, describe};
use super::facts;
use super::listing::Listing;
use super::tails;
use lifeboat_postgres::history::{HISTORY_BYTES_MAX, TimelineHistory};
use lifeboat_postgres::wal_file::{Segment, SegmentName, SegmentNumber, SegmentSize, WalFileName};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::LogEntry;
use std::collections::{BTreeMap, BTreeSet};

/// The archived log of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Which cluster.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// What there is of each timeline that has any file but a history.
    pub timelines: BTreeMap<TimelineId, TimelineLog>,
    /// Every history that is archived and can be read; and those that nobody had time to archive, as far as descendants tell them.
    pub histories: BTreeMap<TimelineId, TimelineHistory>,
    /// Names with two contents: neither can be trusted until a person decides.
    pub conflicts: BTreeSet<String>,
    /// Objects that are no part of a log: their names, as stored.
    pub strangers: Vec<String>,
    /// Locations that didn't answer, and histories that can't be read: there may be more than is said here.
    pub silent: Vec<(String, String)>,
}

/// What is archived of one timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimelineLog {
    /// Whole segments.
    pub segments: BTreeMap<SegmentNumber, LogEntry>,
    /// `.partial` files.
    pub partials: BTreeMap<SegmentNumber, Partial>,
    /// Parts of segments, in order.
    pub tails: BTreeMap<SegmentNumber, Vec<(TailName, LogEntry)>>,
}

/// A `.partial` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// The object.
    pub entry: LogEntry,
    /// Where valid log ends in it, as far as its facts say.
    pub valid_to: Option<Lsn>,
}

/// A stretch of the log, first byte and the byte after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub from: Lsn,
    /// After the last byte.
    pub to: Lsn,
}

/// Asks every location for the whole log of the cluster.
pub async fn observe(archive: &WalArchive) -> Result<Inventory> {
    read(archive, archive.list("").await?).await
}

/// The same for a stretch of one timeline, and a little more on both sides. Histories are left out. For a question
/// that is asked often: a whole archive may have a million objects.
pub async fn observe_span(archive: &WalArchive, timeline: TimelineId, span: Span) -> Result<Inventory> {
    let mut whole = Listing::default();
    // Segments of one log, 4 GiB, lie together.
    for log in span.from.0 >> 32..=span.to.0 >> 32 {
        let listing = archive.list(&format!("{:08X}/{log:08X}/", timeline.0)).await?;
        whole.entries.extend(listing.entries);
        whole.silent.extend(listing.silent);
    }
    read(archive, whole).await
}

async fn read(archive: &WalArchive, listing: Listing) -> Result<Inventory> {
    let mut inventory = Inventory::build(archive.system_id, archive.segment_size, listing.entries.clone());
    inventory.silent = listing.silent;
    for entry in &listing.entries {
        if let Ok(ArchivedName::File(WalFileName::History(timeline))) = entry.name.parse() {
            match read_history(archive, entry, timeline).await {
                Ok(history) => drop(inventory.histories.insert(timeline, history)),
                Err(error) => inventory.silent.push((entry.name.clone(), describe(&error))),
            }
        }
    }
    let untold: BTreeSet<TimelineId> = inventory.histories.values().flat_map(ancestors).collect();
    let is_stored = |timeline: &TimelineId| listing.entries.iter().any(|entry| entry.name == history_name(*timeline));
    for timeline in untold.into_iter().filter(|timeline| !is_stored(timeline)) {
        inventory.histories.extend(implied(timeline, inventory.histories.values()).map(|history| (timeline, history)));
    }
    for log in inventory.timelines.values_mut() {
        for (number, partial) in &mut log.partials {
            if !log.segments.contains_key(number) {
                let facts = facts::facts_of(archive, &partial.entry).await;
                partial.valid_to = facts.ok().map(|facts| facts.end_of_valid);
            }
        }
    }
    Ok(inventory)
}

fn ancestors(history: &TimelineHistory) -> impl Iterator<Item = TimelineId> {
    history.ancestors.iter().map(|ancestor| ancestor.timeline)
}

fn history_name(timeline: TimelineId) -> String {
    WalFileName::History(timeline).to_string()
}

/// The history of a timeline whose primary died before it archived one: every descendant's begins with it. None when they don't agree.
fn implied<'a>(timeline: TimelineId, known: impl Iterator<Item = &'a TimelineHistory>) -> Option<TimelineHistory> {
    let mut told = known.filter_map(|history| history.of_ancestor(timeline));
    let first = told.next()?;
    told.all(|other| other == first).then_some(first)
}

/// The same, of the histories that are listed: for a timeline of which none is stored.
pub(super) async fn implied_history(
    archive: &WalArchive,
    timeline: TimelineId,
    histories: &Listing,
) -> Result<Option<TimelineHistory>> {
    let mut known = Vec::new();
    for entry in &histories.entries {
        if let Ok(ArchivedName::File(WalFileName::History(descendant))) = entry.name.parse()
            && descendant > timeline
        {
            known.push(read_history(archive, entry, descendant).await?);
        }
    }
    Ok(implied(timeline, known.iter()))
}

async fn read_history(archive: &WalArchive, entry: &LogEntry, timeline: TimelineId) -> Result<TimelineHistory> {
    let object = archive.repository.get_log(&archive.workload, entry, &mut Vec::new()).await?;
    let bytes = &object.bytes[..object.bytes.len().min(HISTORY_BYTES_MAX + 1)];
    let damaged = |what: String| WalError::Damaged { name: entry.name.clone(), what };
    TimelineHistory::parse(timeline, bytes).map_err(|error| damaged(error.to_string()))
}

impl Inventory {
    /// From a listing. Histories are not read here.
    pub fn build(system_id: SystemId, segment_size: SegmentSize, entries: Vec<LogEntry>) -> Self {
        let mut inventory = Self {
            system_id,
            segment_size,
            timelines: BTreeMap::new(),
            histories: BTreeMap::new(),
            conflicts: BTreeSet::new(),
            strangers: Vec::new(),
            silent: Vec::new(),
        };
        let mut contents: BTreeMap<String, String> = BTreeMap::new();
        for entry in entries {
            let known = contents.entry(entry.name.clone()).or_insert_with(|| entry.content_id.clone());
            if *known != entry.content_id {
                inventory.conflicts.insert(entry.name.clone());
            }
            inventory.add(entry);
        }
        inventory
    }

    fn add(&mut self, entry: LogEntry) {
        let number = |name: SegmentName| name.with_size(self.segment_size).ok().map(|segment| segment.number);
        let parsed: Option<ArchivedName> = entry.name.parse().ok();
        match parsed {
            Some(ArchivedName::File(WalFileName::Segment(name))) if number(name).is_some() => {
                if let Some(number) = number(name) {
                    self.log(name).segments.insert(number, entry);
                }
            }
            Some(ArchivedName::File(WalFileName::Partial(name))) if number(name).is_some() => {
                if let Some(number) = number(name) {
                    self.log(name).partials.insert(number, Partial { entry, valid_to: None });
                }
            }
            Some(ArchivedName::Tail(tail)) if number(tail.segment).is_some() => {
                if let Some(number) = number(tail.segment) {
                    let tails = self.log(tail.segment).tails.entry(number).or_default();
                    tails.push((tail, entry));
                    tails.sort_by_key(|(tail, _)| *tail);
                }
            }
            Some(ArchivedName::File(WalFileName::History(_) | WalFileName::Backup { .. })) => {}
            _ => self.strangers.push(entry.name),
        }
    }

    fn log(&mut self, name: SegmentName) -> &mut TimelineLog {
        self.timelines.entry(name.timeline).or_default()
    }

    /// The whole segment of that name.
    pub fn segment(&self, name: SegmentName) -> Option<&LogEntry> {
        let segment = name.with_size(self.segment_size).ok()?;
        self.timelines.get(&segment.timeline)?.segments.get(&segment.number)
    }

    /// The stretches of a timeline that are archived without a gap, in order. Incomplete pieces at their ends count.
    pub fn runs(&self, timeline: TimelineId) -> Vec<Span> {
        let mut runs: Vec<Span> = Vec::new();
        let Some(log) = self.timelines.get(&timeline) else { return runs };
        let numbers: BTreeSet<_> = log.segments.keys().chain(log.partials.keys()).chain(log.tails.keys()).collect();
        for number in numbers {
            let from = number.start(self.segment_size);
            let to = self.reach(Segment { timeline, number: *number });
            match runs.last_mut().filter(|last| last.to == from) {
                Some(last) => last.to = to,
                None if to > from => runs.push(Span { from, to }),
                None => {}
            }
        }
        runs
    }

    /// What is missing between the first and the last archived byte of a timeline.
    pub fn gaps(&self, timeline: TimelineId) -> Vec<Span> {
        let runs = self.runs(timeline);
        runs.windows(2).map(|pair| Span { from: pair[0].to, to: pair[1].from }).collect()
    }

    /// The end of what is archived without a gap on this timeline's own files from `from` on; `from` when nothing is.
    pub fn covered(&self, timeline: TimelineId, from: Lsn) -> Lsn {
        let run = self.runs(timeline).into_iter().find(|run| run.from <= from && from < run.to);
        run.map_or(from, |run| run.to)
    }

    /// The same along the path that recovery takes to `history`'s timeline.
    ///
    /// The first segment of a timeline begins with a copy of its parent's bytes, so a parent's last, incomplete segment
    /// isn't needed when the child's first one is there.
    pub fn covered_along(&self, history: &TimelineHistory, from: Lsn) -> Lsn {
        let path: Vec<TimelineId> =
            history.ancestors.iter().map(|ancestor| ancestor.timeline).chain([history.timeline]).collect();
        let mut reached = from;
        loop {
            let reach = path.iter().filter_map(|timeline| {
                let (begin, end) = history.span(*timeline)?;
                let segment = Segment::containing(*timeline, reached, self.segment_size);
                let begins = SegmentNumber::containing(begin, self.segment_size);
                let reach = self.reach(segment);
                (begins <= segment.number).then(|| end.map_or(reach, |end| end.min(reach)))
            });
            match reach.max().filter(|reach| *reach > reached) {
                Some(reach) => reached = reach,
                None => return reached,
            }
        }
    }

    /// The highest position that is archived on the path to `history`'s timeline, and the timeline whose file has it.
    /// There may be gaps before it.
    pub fn end_along(&self, history: &TimelineHistory) -> Option<(TimelineId, Lsn)> {
        self.timelines
            .keys()
            .filter_map(|timeline| {
                let (_, end) = history.span(*timeline)?;
                let reach = self.runs(*timeline).last()?.to;
                Some((*timeline, end.map_or(reach, |end| end.min(reach))))
            })
            .max_by_key(|(timeline, reach)| (*reach, *timeline))
    }

    /// How far a receiver's parts go from the segment's first byte on; its start when there are none.
    pub fn tails_end(&self, segment: Segment) -> Lsn {
        let start = segment.start(self.segment_size);
        let tails = self.timelines.get(&segment.timeline).and_then(|log| log.tails.get(&segment.number));
        let names: Vec<TailName> = tails.into_iter().flatten().map(|(tail, _)| *tail).collect();
        start.saturating_add(tails::reach(&names).into())
    }

    /// The history of a timeline; timeline 1 has none and needs none.
    pub fn history(&self, timeline: TimelineId) -> Option<TimelineHistory> {
        let known = self.histories.get(&timeline).cloned();
        known.or_else(|| (timeline.0 == 1).then(|| TimelineHistory::without_ancestors(timeline)))
    }

    /// How far a segment is archived from its first byte on; its start when not at all.
    fn reach(&self, segment: Segment) -> Lsn {
        let start = segment.start(self.segment_size);
        let Some(log) = self.timelines.get(&segment.timeline) else { return start };
        if log.segments.contains_key(&segment.number) {
            return segment.end(self.segment_size);
        }
        let by_tails = self.tails_end(segment);
        let by_partial = log.partials.get(&segment.number).and_then(|partial| partial.valid_to).unwrap_or(start);
        by_tails.max(by_partial).min(segment.end(self.segment_size))
    }
}
