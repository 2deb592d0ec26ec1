//! What a standby may read that follows a server of a known timeline.
//!
//! Promise: it is led nowhere but there. PostgreSQL takes every number in the archive above its own for a timeline to go to, one after the other to
//! the last that there is, and replays a timeline to the end of what is archived of it. Others may have archived beside the one that is followed: a
//! copy that was promoted elsewhere, or a primary that wrote on after the cluster had left it. So histories are told up to that timeline only, those
//! beside the way only when the numbers go on to that timeline, and of an older timeline the segments that end before it was left.
//!
//! "Not there" is no harm here: a standby asks the server next, and then the archive again.

use super::archive::WalArchive;
use super::error::Result;
use super::fetch::{FetchOptions, content};
use lifeboat_postgres::TimelineId;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::wal_file::WalFileName;

/// More numbers between two timelines aren't asked for.
const NUMBERS_MAX: u32 = 1_000;

/// Whether a file lies on the way, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    On,
    Off,
    /// The history of the timeline that is followed tells.
    Asks,
}

/// Of that file, on the way to `follows`.
pub fn way_to(name: WalFileName, follows: TimelineId) -> Way {
    let timeline = match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => segment.timeline,
        WalFileName::History(timeline) => timeline,
        WalFileName::Backup { .. } => return Way::On,
    };
    match timeline.cmp(&follows) {
        std::cmp::Ordering::Greater => Way::Off,
        std::cmp::Ordering::Equal => Way::On,
        std::cmp::Ordering::Less => Way::Asks,
    }
}

pub(super) async fn is_on_the_way(archive: &WalArchive, name: WalFileName, follows: TimelineId) -> Result<bool> {
    match way_to(name, follows) {
        Way::On => return Ok(true),
        Way::Off => return Ok(false),
        Way::Asks => {}
    }
    // It is archived soon after the timeline began: until then nobody can tell what lies before it.
    let Some(path) = history(archive, follows).await? else { return Ok(false) };
    match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
            let end = archive.segment(segment)?.end(archive.segment_size);
            let left = path.span(segment.timeline).map(|(_, left)| left);
            // The segment in which it was left begins the next timeline too, there without what came after.
            Ok(left.is_some_and(|left| left.is_none_or(|left| end <= left)))
        }
        WalFileName::History(timeline) => Ok(path.ancestors.iter().any(|ancestor| ancestor.timeline == timeline)
            || leads_on(archive, timeline, follows).await?),
        WalFileName::Backup { .. } => Ok(true),
    }
}

/// Whether who goes on from this number finds every one to that which is followed.
async fn leads_on(archive: &WalArchive, from: TimelineId, follows: TimelineId) -> Result<bool> {
    if follows.0 - from.0 > NUMBERS_MAX {
        return Ok(false);
    }
    for between in from.0..follows.0 {
        if history(archive, TimelineId(between)).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn history(archive: &WalArchive, timeline: TimelineId) -> Result<Option<TimelineHistory>> {
    let found = content(archive, WalFileName::History(timeline), FetchOptions::default()).await?;
    found.map(|(bytes, _)| parse(timeline, &bytes)).transpose()
}

fn parse(timeline: TimelineId, bytes: &[u8]) -> Result<TimelineHistory> {
    let name = WalFileName::History(timeline).to_string();
    let damaged =
        |error: lifeboat_postgres::history::HistoryError| super::WalError::Damaged { name, what: error.to_string() };
    TimelineHistory::parse(timeline, bytes).map_err(damaged)
}
