//! `restore_command`: puts an archived file where PostgreSQL wants it, or says that there is none.
//!
//! PostgreSQL ends recovery, and may promote, when it hears "not there". So that answer is given only when every
//! location said it. Silence is an error; damage is an error; two contents under one name are an error.
//!
//! A whole segment is always served. An incomplete one (a `.partial`, or the parts that a receiver stored) is served
//! under the full name only as the end of the timeline that recovery goes to ([`FetchOptions::incomplete_of`]), and
//! only when nothing of that timeline follows it. On the way to another timeline its tail may hold what the new
//! timeline never had; there the child's first segment carries the shared bytes. The rest of it is zeros.

use super::archive::{ArchivedName, TailName, WalArchive};
use super::error::{Result, WalError};
use super::facts;
use super::followed;
use super::inventory;
use super::listing::Listing;
use super::spool::replace;
use super::tails;
use futures::StreamExt;
use lifeboat_postgres::wal::inspect_segment_start;
use lifeboat_postgres::wal_file::{SegmentName, WalFileName};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::LogEntry;
use std::path::Path;

/// Parts of a segment that are read at the same time.
const PARTS_READ_AT_ONCE: usize = 16;
/// How often the locations are looked at while a receiver changes what is there.
const LOOKS_MAX: usize = 3;

/// What may be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchOptions {
    /// The timeline that recovery goes to, when its last, incomplete segment may be served. `None`: whole ones only.
    pub incomplete_of: Option<TimelineId>,
    /// Take the word of the locations that answer when others don't. For a disaster that is known.
    pub trust_reachable: bool,
    /// The timeline of the server that a standby follows: nothing is served that isn't on the way there ([`followed`]).
    pub follows: Option<TimelineId>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The file is at its destination.
    Found {
        /// Its length.
        bytes: u64,
        /// For an incomplete segment: how far its log goes.
        valid_to: Option<Lsn>,
    },
    /// Every location says that there is none.
    NotThere,
}

/// Writes the archived file of that name to `destination`, whole or not at all.
///
/// # Errors
/// When it could not be asked, when what is stored is damaged, and when it has two contents.
pub async fn fetch(
    archive: &WalArchive,
    name: &str,
    destination: &Path,
    options: FetchOptions,
) -> Result<FetchOutcome> {
    let name = name.parse()?;
    if let Some(follows) = options.follows
        && !followed::is_on_the_way(archive, name, follows).await?
    {
        return Ok(FetchOutcome::NotThere);
    }
    match content(archive, name, options).await? {
        Some((content, valid_to)) => {
            replace(destination, &content, false)?;
            Ok(FetchOutcome::Found { bytes: content.len() as u64, valid_to })
        }
        None => Ok(FetchOutcome::NotThere),
    }
}

/// The content of a file, and how far its log goes when it is incomplete.
pub(crate) async fn content(
    archive: &WalArchive,
    name: WalFileName,
    options: FetchOptions,
) -> Result<Option<(Vec<u8>, Option<Lsn>)>> {
    // A receiver removes parts when it has stored something longer in their place: then another look finds that.
    for _ in 1..LOOKS_MAX {
        match look(archive, name, options).await {
            Err(WalError::Repository(error)) if error.is_loss() => {}
            looked => return looked,
        }
    }
    look(archive, name, options).await
}

async fn look(
    archive: &WalArchive,
    name: WalFileName,
    options: FetchOptions,
) -> Result<Option<(Vec<u8>, Option<Lsn>)>> {
    let text = name.to_string();
    let listing = archive.list(&prefix_of(archive, name)).await?;
    if let Some(entry) = the_one(&listing, &text)? {
        let mut notes = Vec::new();
        let object = archive.repository.get_log(&archive.workload, entry, &mut notes).await?;
        for note in notes {
            tracing::warn!("{text} came from another location: {note}");
        }
        if let WalFileName::Segment(segment) = name {
            check(archive, segment, &object.bytes)?;
        }
        return Ok(Some((object.bytes, None)));
    }
    // It may lie in a location that didn't answer: then an incomplete one would end recovery too early.
    whole(&listing, &text, options)?;
    match name {
        WalFileName::Segment(segment) => incomplete(archive, segment, &listing, options).await,
        // PostgreSQL takes a history that isn't there for a timeline that nobody ever had, and uses its number again.
        WalFileName::History(timeline) => {
            let histories = archive.list("history/").await?;
            whole(&histories, &text, options)?;
            let implied = inventory::implied_history(archive, timeline, &histories).await?;
            Ok(implied.map(|history| (history.to_file().into_bytes(), None)))
        }
        _ => Ok(None),
    }
}

/// Whether every location was asked, or whoever asks does without. Then what isn't listed isn't there.
fn whole(listing: &Listing, name: &str, options: FetchOptions) -> Result<()> {
    if listing.silent.is_empty() || options.trust_reachable {
        return Ok(());
    }
    let reasons = listing.silent.iter().map(|(location, why)| format!("{location}: {why}")).collect();
    Err(WalError::CouldNotAsk { name: name.to_owned(), reasons })
}

/// The prefix under which a file, and for a segment all that hangs on it, is listed.
fn prefix_of(archive: &WalArchive, name: WalFileName) -> String {
    let group = archive.group_of(ArchivedName::File(name));
    let group = group.split_once('/').map_or("", |(_, rest)| rest);
    format!("{group}/{name}")
}

/// The one object of that name.
fn the_one<'a>(listing: &'a Listing, name: &str) -> Result<Option<&'a LogEntry>> {
    let mut entries = listing.entries.iter().filter(|entry| entry.name == name);
    match (entries.next(), entries.next()) {
        (Some(_), Some(_)) => Err(WalError::TwoContents { name: name.to_owned() }),
        (entry, _) => Ok(entry),
    }
}

fn check(archive: &WalArchive, segment: SegmentName, bytes: &[u8]) -> Result<()> {
    let refused = |source| WalError::Segment { name: segment.to_string(), source };
    inspect_segment_start(bytes).and_then(|header| header.check(segment, archive.system_id)).map_err(refused)?;
    let (found, expected) = (bytes.len() as u64, archive.segment_size.bytes());
    if found != expected {
        return Err(WalError::Length { name: segment.to_string(), found, expected });
    }
    Ok(())
}

/// A segment of which only pieces are archived, when it may be served.
async fn incomplete(
    archive: &WalArchive,
    name: SegmentName,
    listing: &Listing,
    options: FetchOptions,
) -> Result<Option<(Vec<u8>, Option<Lsn>)>> {
    let segment = archive.segment(name)?;
    let (start, end) = (segment.start(archive.segment_size), segment.end(archive.segment_size));
    let assembled = assemble(archive, name, listing).await?;
    let tails_to = assembled.as_ref().map_or(start, |(_, reach)| start.saturating_add(*reach as u64));
    if let Some((content, _)) = assembled.as_ref().filter(|_| tails_to == end) {
        check(archive, name, content)?;
        return Ok(Some((content.clone(), None)));
    }
    if options.incomplete_of != Some(name.timeline) || follows(archive, name).await? {
        return Ok(None);
    }
    let partial = partial(archive, name, listing).await?;
    let (content, valid_to) = match (assembled, partial) {
        (Some((content, _)), Some((_, valid_to))) if tails_to >= valid_to => (content, tails_to),
        (_, Some((content, valid_to))) => (content, valid_to),
        (Some((content, _)), None) => (content, tails_to),
        (None, None) => return Ok(None),
    };
    check(archive, name, &content)?;
    Ok(Some((content, Some(valid_to))))
}

/// Is anything of the next segment archived? Then this one isn't the timeline's end but a gap.
async fn follows(archive: &WalArchive, name: SegmentName) -> Result<bool> {
    let next = archive.segment(name)?.next().name(archive.segment_size);
    let listing = archive.list(&prefix_of(archive, WalFileName::Segment(next))).await?;
    Ok(listing.entries.iter().any(|entry| {
        matches!(
            entry.name.parse(),
            Ok(ArchivedName::File(WalFileName::Segment(_) | WalFileName::Partial(_)) | ArchivedName::Tail(_))
        )
    }))
}

/// The parts of a segment laid together, and how many bytes from its start they cover.
async fn assemble(archive: &WalArchive, name: SegmentName, listing: &Listing) -> Result<Option<(Vec<u8>, usize)>> {
    let parts: Vec<(TailName, &LogEntry)> = listing
        .entries
        .iter()
        .filter_map(|entry| Some((entry.name.parse::<TailName>().ok()?, entry)))
        .filter(|(tail, _)| tail.segment == name && u64::from(tail.to) <= archive.segment_size.bytes())
        .collect();
    let names: Vec<TailName> = parts.iter().map(|(tail, _)| *tail).collect();
    let chosen = tails::chain(&names);
    if chosen.is_empty() {
        return Ok(None);
    }
    let length = usize::try_from(archive.segment_size.bytes()).unwrap_or_default();
    let (mut content, mut reached) = (vec![0; length], 0);
    let mut reads = Vec::with_capacity(chosen.len());
    for index in chosen {
        let (tail, entry) = parts[index];
        the_one(listing, &entry.name)?;
        reads.push(async move {
            let object = archive.repository.get_log(&archive.workload, entry, &mut Vec::new()).await;
            object.map(|object| (tail, object))
        });
    }
    let mut objects = futures::stream::iter(reads).buffered(PARTS_READ_AT_ONCE);
    while let Some(read) = objects.next().await {
        let (tail, object) = read?;
        if !tails::lay(&mut content, &mut reached, &tail, &object.bytes) {
            return Err(WalError::TwoContents { name: format!("part of {name}") });
        }
    }
    Ok(Some((content, reached)))
}

async fn partial(archive: &WalArchive, name: SegmentName, listing: &Listing) -> Result<Option<(Vec<u8>, Lsn)>> {
    let Some(entry) = the_one(listing, &format!("{name}.partial"))? else { return Ok(None) };
    let object = archive.repository.get_log(&archive.workload, entry, &mut Vec::new()).await?;
    let facts = match facts::parse_annex(&object.annex) {
        Some(facts) => facts,
        None => facts::facts_of(archive, entry).await?,
    };
    Ok(Some((object.bytes, facts.end_of_valid)))
}
