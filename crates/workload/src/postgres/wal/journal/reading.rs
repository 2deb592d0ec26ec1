//! What lies in a journal: which segments, and the log of each as far as it is whole.
//!
//! Frames are durable one after the other, so a frame that isn't whole is the end of what was acknowledged, unless a whole
//! one comes after it: then the file is damaged, and whoever reads it says so instead of losing the rest silently.

use super::super::archive::ClusterIdentity;
use super::super::error::{Result, WalError};
use super::format::{
    ALIGNMENT, FRAME_HEAD_BYTES, FileSeal, FormatError, HEADER_BYTES, Header, frame_start, parse_frame,
};
use lifeboat_postgres::wal_file::{Segment, SegmentName, WalFileName};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::SpoolKeys;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const ENDING: &str = "journal";
/// Larger is no file of ours: a segment of 1 GiB in frames of one byte each would be, and isn't written.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// A file of the journal, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalFile {
    /// Which segment it is of.
    pub segment: Segment,
    /// The log from the segment's first byte on.
    pub log: Vec<u8>,
    /// Length of the file up to the end of the last whole frame.
    pub used_bytes: u64,
    /// How it begins; `None` when a crash came before that.
    pub header: Option<Header>,
    /// Log that was acknowledged is missing after [`Self::log`].
    pub is_broken: bool,
}

/// The file of a segment.
pub(crate) fn path_of(directory: &Path, segment: Segment, cluster: ClusterIdentity) -> PathBuf {
    directory.join(format!("{}.{ENDING}", segment.name(cluster.segment_size)))
}

/// The segments of which a journal holds something, as they follow one another.
pub(crate) fn segments(directory: &Path, cluster: ClusterIdentity) -> Result<Vec<Segment>> {
    let mut found: Vec<Segment> = names(directory)?
        .iter()
        .filter_map(|name| name.strip_suffix(ENDING)?.strip_suffix('.')?.parse::<SegmentName>().ok())
        .filter_map(|name| name.with_size(cluster.segment_size).ok())
        .collect();
    found.sort_by_key(|segment| (segment.number, segment.timeline));
    Ok(found)
}

/// The histories that wait to be shipped.
pub(crate) fn histories(directory: &Path) -> Result<Vec<TimelineId>> {
    let history = |name: &String| match name.parse() {
        Ok(WalFileName::History(timeline)) => Some(timeline),
        _ => None,
    };
    Ok(names(directory)?.iter().filter_map(history).collect())
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(WalError::file("list", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(WalError::file("list", directory))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

/// Removes the file of a segment that is shipped. That it is gone already is a success.
pub(crate) fn remove(directory: &Path, cluster: ClusterIdentity, segment: Segment) -> Result<()> {
    let path = path_of(directory, segment, cluster);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(WalError::file("remove", &path)(error)),
        _ => Ok(()),
    }
}

/// Reads the file of a segment. One of another cluster, or of another repository, is refused.
pub(crate) fn read(
    directory: &Path,
    cluster: ClusterIdentity,
    segment: Segment,
    keys: &SpoolKeys,
) -> Result<JournalFile> {
    let path = path_of(directory, segment, cluster);
    let failed = || WalError::file("read", &path);
    let file = File::open(&path).map_err(failed())?;
    let length = file.metadata().map_err(failed())?.len();
    if length > FILE_BYTES_MAX {
        let what = format!("{length} bytes are too many for a spool's file");
        return Err(WalError::Damaged { name: path.display().to_string(), what });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed())?;
    let refused = |source| WalError::SpoolFile { path: path.clone(), source };
    let Some(header) = header_of(&bytes, keys).map_err(refused)? else {
        return Ok(JournalFile { segment, log: Vec::new(), used_bytes: 0, header: None, is_broken: false });
    };
    let expected = ClusterIdentity { system_id: header.system_id, segment_size: header.segment_size };
    if (expected, header.segment) != (cluster, segment) {
        return Err(refused(FormatError::Elsewhere));
    }
    let seal = header.seal(keys)?;
    let (start, end) = (segment.start(cluster.segment_size), segment.end(cluster.segment_size));
    let (mut log, mut used) = (Vec::new(), HEADER_BYTES);
    while let Some((more, taken)) = bytes.get(used..).and_then(|rest| whole(&seal, rest, start, &log, end)) {
        log.extend_from_slice(&more);
        used += taken;
    }
    let reached = start.saturating_add(log.len() as u64);
    let is_broken = bytes.get(used..).is_some_and(|rest| holds_a_frame(&seal, rest, reached, end));
    Ok(JournalFile { segment, log, used_bytes: used as u64, header: Some(header), is_broken })
}

/// The log of the next frame, which follows on `log`, and how many bytes the frame takes.
fn whole(seal: &FileSeal, rest: &[u8], start: Lsn, log: &[u8], end: Lsn) -> Option<(Vec<u8>, usize)> {
    let frame = parse_frame(rest, start.saturating_add(log.len() as u64), end)?;
    Some((seal.open(&frame)?, frame.taken_bytes))
}

/// Whether a whole frame of later log lies anywhere here.
fn holds_a_frame(seal: &FileSeal, rest: &[u8], after: Lsn, end: Lsn) -> bool {
    (0..rest.len().saturating_sub(FRAME_HEAD_BYTES)).step_by(ALIGNMENT).any(|at| {
        let said = frame_start(&rest[at..]).filter(|start| *start > after);
        said.and_then(|start| parse_frame(&rest[at..], start, end)).is_some_and(|frame| seal.open(&frame).is_some())
    })
}

/// The header, when it is of this repository; `None` when a crash came between making the file and its first sync: then
/// nothing in it was ever confirmed.
fn header_of(bytes: &[u8], keys: &SpoolKeys) -> std::result::Result<Option<Header>, FormatError> {
    if bytes.iter().take(HEADER_BYTES).all(|byte| *byte == 0) {
        return Ok(None);
    }
    let header = Header::parse(bytes)?;
    let (found, ours) = (u128::from_be_bytes(header.repository), u128::from_be_bytes(keys.repository()));
    if found != ours {
        return Err(FormatError::OtherRepository { found, ours });
    }
    Ok(Some(header))
}

/// The clusters of which a workload's spool holds something; and why not all of it can be told, if so.
pub(crate) fn clusters(
    spool: &Path,
    workload: &str,
    keys: &SpoolKeys,
) -> Result<(Vec<ClusterIdentity>, Option<WalError>)> {
    let root = spool.join(workload);
    let (mut found, mut refused) = (Vec::new(), None);
    for name in names(&root)? {
        let Ok(system_id) = name.parse::<u64>() else { continue };
        match cluster_of(&root.join(&name), system_id, keys) {
            Ok(cluster) => found.extend(cluster),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Ok((found, refused))
}

/// Whose log a directory holds, by the first of its files that says so.
fn cluster_of(directory: &Path, system_id: u64, keys: &SpoolKeys) -> Result<Option<ClusterIdentity>> {
    let mut refused = None;
    for name in names(directory)?.iter().filter(|name| name.ends_with(ENDING)) {
        let path = directory.join(name);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut bytes)) {
            Ok(_) => {}
            // Whoever ships beside us was quicker.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(WalError::file("read", &path)(error)),
        }
        match header_of(&bytes, keys) {
            Ok(Some(Header { system_id: said, segment_size, .. })) if said.0 == system_id => {
                return Ok(Some(ClusterIdentity { system_id: said, segment_size }));
            }
            Ok(None) => {}
            Ok(Some(_)) => refused = Some(WalError::SpoolFile { path, source: FormatError::Elsewhere }),
            Err(source) => refused = Some(WalError::SpoolFile { path, source }),
        }
    }
    refused.map_or(Ok(None), Err)
}
