//! Segments that recovery will ask for next, loaded while it replays the last one.
//!
//! A background process loads them into the spool; the next `restore_command` finds them there without key or network.
//! A loaded segment is believed only when its content has the checksum in its mark, and belongs to the cluster that is
//! being recovered. Only whole segments are loaded. `pg_rewind` walks backwards: it is served without any of this.

use super::archive::WalArchive;
use super::error::{Result, WalError};
use super::fetch::{self, FetchOptions};
use super::push::segments_in_memory;
use super::spool::{self, Spool, clear_older_than, read_stable, replace};
use futures::StreamExt;
use lifeboat_postgres::SystemId;
use lifeboat_postgres::wal::inspect_segment_start;
use lifeboat_postgres::wal_file::{SegmentName, SegmentSize, WalFileName};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How many segments are loaded ahead, when the caller has no other wish.
pub const PREFETCH_SEGMENTS: usize = 8;
const ROOM: &str = "fetch";
/// What nobody came for by then was loaded for another recovery.
const AGE_MAX: Duration = Duration::from_secs(3600);
const PARALLEL: usize = 4;

/// What a prefetcher did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrefetchOutcome {
    /// Another one is at work.
    Busy,
    /// Loaded this many, until the archive's end or the queue's.
    Loaded(usize),
}

/// Gives out a segment that was loaded ahead: writes it to `destination` and forgets it.
/// False when there is none that can be trusted: then ask the archive. `system_id`: of the cluster in recovery, when
/// the caller knows it.
pub fn take_prefetched(name: &str, destination: &Path, spool: &Spool, system_id: Option<SystemId>) -> Result<bool> {
    let Ok(segment) = name.parse::<SegmentName>() else { return Ok(false) };
    let (path, mark) = paths(&spool.path(ROOM), segment);
    let modified = std::fs::metadata(&mark).and_then(|metadata| metadata.modified());
    let fresh = modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < AGE_MAX));
    if !fresh {
        return Ok(false);
    }
    let Ok(content) = read_stable(&path) else { return Ok(false) };
    let belongs = inspect_segment_start(&content)
        .is_ok_and(|header| header.check(segment, system_id.unwrap_or(header.system_id)).is_ok());
    let trusted = belongs && spool.mark_matches(&mark, &content);
    if trusted {
        replace(destination, &content, false)?;
    }
    let _ = std::fs::remove_file(&mark);
    let _ = std::fs::remove_file(&path);
    Ok(trusted)
}

/// Loads the segments after `last`, at most `count` and 256 MiB of them. Ends at the first that isn't archived, or when
/// so many wait already. An error of the archive ends it, too: recovery will meet it itself and decide.
pub async fn prefetch(archive: &WalArchive, last: SegmentName, spool: &Spool, count: usize) -> Result<PrefetchOutcome> {
    let room = spool.room(ROOM)?;
    let Some(_seat) = spool::only_one(&spool.path("prefetch.lock"))? else { return Ok(PrefetchOutcome::Busy) };
    clear_older_than(&room, AGE_MAX);
    let names = plan(last, archive.segment_size, count)?;
    // What lies before was served, or will never be asked for: recovery goes forward.
    forget_others(&room, &names);
    let missing: Vec<SegmentName> = names.into_iter().filter(|name| !paths(&room, *name).1.exists()).collect();
    let parallel = segments_in_memory(archive.segment_size, PARALLEL);
    let loads = missing.into_iter().map(|name| async move {
        let content = fetch::content(archive, WalFileName::Segment(name), FetchOptions::default()).await;
        (name, content)
    });
    let mut loads = futures::stream::iter(loads).buffered(parallel);
    let mut loaded = 0;
    while let Some((name, content)) = loads.next().await {
        let Some((content, None)) = content? else { break };
        let (path, mark) = paths(&room, name);
        replace(&path, &content, false)?;
        spool.leave_mark(&mark, &content)?;
        loaded += 1;
    }
    Ok(PrefetchOutcome::Loaded(loaded))
}

/// The names that come after `last`.
fn plan(last: SegmentName, size: SegmentSize, count: usize) -> Result<Vec<SegmentName>> {
    let segment = last.with_size(size).map_err(WalError::from)?;
    let following = std::iter::successors(Some(segment.next()), |segment| Some(segment.next()));
    Ok(following.take(segments_in_memory(size, count)).map(|segment| segment.name(size)).collect())
}

fn paths(room: &Path, name: SegmentName) -> (PathBuf, PathBuf) {
    (room.join(name.to_string()), room.join(format!("{name}.mark")))
}

fn forget_others(room: &Path, wanted: &[SegmentName]) {
    let Ok(entries) = std::fs::read_dir(room) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let segment = name.strip_suffix(".mark").unwrap_or(&name).parse::<SegmentName>();
        if segment.is_ok_and(|segment| !wanted.contains(&segment)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_crosses_logs_and_stays_small() {
        let last: SegmentName = "0000000100000003000000FE".parse().unwrap();
        let names: Vec<String> =
            plan(last, SegmentSize::default(), 3).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["0000000100000003000000FF", "000000010000000400000000", "000000010000000400000001"]);
        let large = SegmentSize::new(64 << 20).unwrap();
        let last = "000000010000000300000001".parse().unwrap();
        assert_eq!(plan(last, large, 8).unwrap().len(), 4);
        assert!(plan("000000010000000300000040".parse().unwrap(), large, 8).is_err());
    }
}
