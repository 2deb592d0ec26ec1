//! A receiver's journal: log that is durable on its own disk and not yet in a location.
//!
//! Promise: what [`Journal::append`] returned for survives a crash of this machine, and [`read`] gives it back, up to the last
//! byte. One file per segment, in order; one write and one sync for all that came meanwhile. Files that are shipped whole
//! are removed by who shipped them.
//!
//! Not encrypted: the files are for the account that runs the receiver, as the database's own are (0600). Not here:
//! shipping.

mod format;

pub use format::{FormatError, Header, parse_frame};

use super::archive::ClusterIdentity;
use super::error::{Result, WalError};
use super::spool::{only_one, replace};
use format::{FRAME_HEAD_BYTES, HEADER_BYTES, encode_frame};
use lifeboat_postgres::wal_file::{Segment, SegmentName, WalFileName};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const ENDING: &str = "journal";
const LOCK: &str = "lock";
/// How far ahead a file is filled with zeros, so that a sync writes data and nothing else.
const AHEAD_BYTES: u64 = 4 << 20;
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
}

/// The journal of one cluster, open for writing. One at a time.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    cluster: ClusterIdentity,
    state: Mutex<State>,
    _seat: File,
}

#[derive(Debug, Default)]
struct State {
    writer: Option<Writer>,
    /// What is known to be durable in the file that was written last: position and length of the file.
    confirmed: Option<(Segment, Lsn, u64)>,
}

#[derive(Debug)]
struct Writer {
    segment: Segment,
    end: Lsn,
    file: File,
    path: PathBuf,
    used_bytes: u64,
    filled_bytes: u64,
}

/// Where the journal of a cluster lies below a workload's spool.
pub(crate) fn directory(spool: &Path, workload: &str, system_id: SystemId) -> PathBuf {
    spool.join(workload).join(system_id.to_string())
}

impl Journal {
    /// Opens the journal, made when missing. Refused while another receiver writes it.
    pub(crate) fn open(spool: &Path, workload: &str, cluster: ClusterIdentity) -> Result<Self> {
        let directory = directory(spool, workload, cluster.system_id);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(WalError::file("create", &directory))?;
        sync_upwards(&directory, 3)?;
        let path = directory.join(LOCK);
        let seat = only_one(&path)?.ok_or_else(|| WalError::JournalInUse { path: directory.clone() })?;
        Ok(Self { directory, cluster, state: Mutex::default(), _seat: seat })
    }

    /// Where it lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The last position that is durable here, and its timeline; `None` when the journal is empty.
    pub(crate) fn end(&self) -> Result<Option<(TimelineId, Lsn)>> {
        let Some(last) = segments(&self.directory, self.cluster)?.pop() else { return Ok(None) };
        let file = read(&self.directory, self.cluster, last)?;
        let end = last.start(self.cluster.segment_size).saturating_add(file.log.len() as u64);
        Ok(Some((last.timeline, end)))
    }

    /// Makes log durable. It follows on what the journal has of its segment, or begins one; it lies in one segment.
    pub(crate) fn append(&self, timeline: TimelineId, start: Lsn, log: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let segment = Segment::containing(timeline, start, self.cluster.segment_size);
        // Taken out, and put back only when all went well: after a failed sync the system may forget that it failed, and
        // what was not confirmed is written again.
        let mut writer = match state.writer.take().filter(|writer| writer.segment == segment) {
            Some(writer) => writer,
            None => self.begin(segment, state.confirmed.filter(|confirmed| confirmed.0 == segment))?,
        };
        if writer.end != start {
            return Err(WalError::Internal(format!("journal of {segment:?} ends at {}, not at {start}", writer.end)));
        }
        let frame = encode_frame(start, log);
        let failed = |action| WalError::file(action, &writer.path);
        let end_bytes = writer.used_bytes + frame.len() as u64;
        if end_bytes > writer.filled_bytes {
            let ahead = vec![0; usize::try_from(AHEAD_BYTES).unwrap_or_default()];
            writer.file.write_all_at(&ahead, end_bytes).map_err(failed("write"))?;
            writer.filled_bytes = end_bytes + AHEAD_BYTES;
        }
        writer.file.write_all_at(&frame, writer.used_bytes).map_err(failed("write"))?;
        writer.file.sync_data().map_err(failed("sync"))?;
        writer.used_bytes = end_bytes;
        writer.end = start.saturating_add(log.len() as u64);
        state.confirmed = Some((segment, writer.end, writer.used_bytes));
        state.writer = Some(writer);
        Ok(())
    }

    /// The file of a segment: a new one, or the one that a former run left, less what isn't whole at its end.
    fn begin(&self, segment: Segment, confirmed: Option<(Segment, Lsn, u64)>) -> Result<Writer> {
        let path = path_of(&self.directory, segment, self.cluster);
        let failed = |action| WalError::file(action, &path);
        let known = match fs::symlink_metadata(&path) {
            Ok(_) => Some(read(&self.directory, self.cluster, segment)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("look at")(error)),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed("open"))?;
        let start = segment.start(self.cluster.segment_size);
        let (mut used_bytes, log_bytes) = known.map_or((0, 0), |known| (known.used_bytes, known.log.len() as u64));
        let mut end = start.saturating_add(log_bytes);
        if let Some((_, confirmed_end, confirmed_bytes)) = confirmed {
            (end, used_bytes) = (confirmed_end, confirmed_bytes);
        }
        // What a crash left behind the end could look like a frame some day.
        file.set_len(used_bytes).map_err(failed("cut"))?;
        let used_bytes = used_bytes.max(HEADER_BYTES as u64);
        let header = Header { system_id: self.cluster.system_id, segment_size: self.cluster.segment_size, segment };
        file.write_all_at(&header.encode(), 0).map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))?;
        sync_upwards(&self.directory, 1)?;
        Ok(Writer { segment, end, file, path, used_bytes, filled_bytes: used_bytes })
    }

    /// Keeps a timeline's history until it is shipped.
    pub(crate) fn keep_history(&self, timeline: TimelineId, content: &[u8]) -> Result<()> {
        replace(&self.directory.join(WalFileName::History(timeline).to_string()), content, true)
    }
}

/// Syncs a directory and so many above it.
fn sync_upwards(directory: &Path, levels: usize) -> Result<()> {
    for level in directory.ancestors().take(levels) {
        File::open(level).and_then(|opened| opened.sync_all()).map_err(WalError::file("sync", level))?;
    }
    Ok(())
}

fn path_of(directory: &Path, segment: Segment, cluster: ClusterIdentity) -> PathBuf {
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

/// Reads the file of a segment. One of another cluster is refused.
pub(crate) fn read(directory: &Path, cluster: ClusterIdentity, segment: Segment) -> Result<JournalFile> {
    let path = path_of(directory, segment, cluster);
    let failed = || WalError::file("read", &path);
    let file = File::open(&path).map_err(failed())?;
    let length = file.metadata().map_err(failed())?.len();
    let refused = |what: String| WalError::Damaged { name: path.display().to_string(), what };
    if length > FILE_BYTES_MAX {
        return Err(refused(format!("{length} bytes are too many for a journal")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed())?;
    // A crash between making the file and its first sync: nothing in it was ever confirmed.
    if bytes.iter().take(HEADER_BYTES).all(|byte| *byte == 0) {
        return Ok(JournalFile { segment, log: Vec::new(), used_bytes: 0 });
    }
    let header = Header::parse(&bytes).map_err(|error| refused(error.to_string()))?;
    if header != (Header { system_id: cluster.system_id, segment_size: cluster.segment_size, segment }) {
        return Err(refused("it is of another cluster, or of another segment".into()));
    }
    let (start, end) = (segment.start(cluster.segment_size), segment.end(cluster.segment_size));
    let (mut log, mut used) = (Vec::new(), HEADER_BYTES);
    while let Some(rest) = bytes.get(used..).filter(|rest| rest.len() > FRAME_HEAD_BYTES) {
        let expected = start.saturating_add(log.len() as u64);
        let Some((more, taken)) = parse_frame(rest, expected, end) else { break };
        log.extend_from_slice(more);
        used += taken;
    }
    Ok(JournalFile { segment, log, used_bytes: used as u64 })
}

/// The clusters of which a workload's spool holds something.
pub(crate) fn clusters(spool: &Path, workload: &str) -> Result<Vec<ClusterIdentity>> {
    let root = spool.join(workload);
    let mut found = Vec::new();
    for name in names(&root)? {
        let Ok(system_id) = name.parse::<u64>() else { continue };
        let directory = root.join(&name);
        for file in names(&directory)?.iter().filter(|name| name.ends_with(ENDING)) {
            let mut bytes = Vec::new();
            let path = directory.join(file);
            let read = File::open(&path).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut bytes));
            if let (Ok(_), Ok(header)) = (read, Header::parse(&bytes))
                && header.system_id.0 == system_id
            {
                found.push(ClusterIdentity { system_id: header.system_id, segment_size: header.segment_size });
                break;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::wal_file::SegmentSize;

    const MIB: u64 = 1 << 20;

    fn cluster() -> ClusterIdentity {
        ClusterIdentity { system_id: SystemId(71), segment_size: SegmentSize::new(MIB).unwrap() }
    }

    fn open(spool: &Path) -> Journal {
        Journal::open(spool, "shop", cluster()).unwrap()
    }

    #[test]
    fn what_is_appended_is_there_after_a_restart_and_can_be_gone_on_with() {
        let spool = tempfile::tempdir().unwrap();
        let journal = open(spool.path());
        let one = TimelineId(1);
        assert_eq!(journal.end().unwrap(), None);
        journal.append(one, Lsn(3 * MIB), b"first").unwrap();
        journal.append(one, Lsn(3 * MIB + 5), b"second").unwrap();
        assert!(matches!(Journal::open(spool.path(), "shop", cluster()), Err(WalError::JournalInUse { .. })));
        drop(journal);
        let journal = open(spool.path());
        assert_eq!(journal.end().unwrap(), Some((one, Lsn(3 * MIB + 11))));
        assert!(journal.append(one, Lsn(3 * MIB + 12), b"later").is_err(), "a hole");
        journal.append(one, Lsn(3 * MIB + 11), b"third").unwrap();
        journal.append(one, Lsn(4 * MIB), b"next").unwrap();
        let found = segments(journal.directory(), cluster()).unwrap();
        let logs: Vec<Vec<u8>> =
            found.iter().map(|segment| read(journal.directory(), cluster(), *segment).unwrap().log).collect();
        assert_eq!(logs, [b"firstsecondthird".to_vec(), b"next".to_vec()]);
        assert_eq!(clusters(spool.path(), "shop").unwrap(), [cluster()]);
    }

    #[test]
    fn what_a_crash_left_of_the_last_frame_is_no_log_and_is_written_over() {
        let spool = tempfile::tempdir().unwrap();
        let journal = open(spool.path());
        journal.append(TimelineId(1), Lsn(3 * MIB), b"whole").unwrap();
        let segment = segments(journal.directory(), cluster()).unwrap()[0];
        let path = path_of(journal.directory(), segment, cluster());
        let used = read(journal.directory(), cluster(), segment).unwrap().used_bytes;
        drop(journal);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let torn = encode_frame(Lsn(3 * MIB + 5), &[7; 900]);
        file.write_all_at(&torn[..700], used).unwrap();
        let journal = open(spool.path());
        assert_eq!(journal.end().unwrap().unwrap().1, Lsn(3 * MIB + 5));
        journal.append(TimelineId(1), Lsn(3 * MIB + 5), b"!").unwrap();
        assert_eq!(read(journal.directory(), cluster(), segment).unwrap().log, b"whole!");
        file.set_len(10).unwrap();
        assert!(read(journal.directory(), cluster(), segment).is_err(), "a cut header is damage");
    }
}
