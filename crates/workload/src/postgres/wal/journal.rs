//! A receiver's journal: log that is durable on its own disk and not yet in a location.
//!
//! Promise: what [`Journal::append`] returned for survives a crash of this machine, and [`read`] gives it back, up to the last
//! byte. One file per segment, in order; one write and one sync for all that came meanwhile. Files that are shipped whole
//! are removed by who shipped them.
//!
//! Every frame is sealed with the repository's key: what lies here is the database's log, and the disk may be another
//! machine's. Not here: shipping.

mod format;
mod reading;

pub use format::{FormatError, Frame, Header, parse_frame};
pub(crate) use reading::{JournalFile, clusters, histories, path_of, read, remove, segments};

use super::archive::ClusterIdentity;
use super::error::{Result, WalError};
use super::spool::{only_one, replace};
use format::{FileSeal, HEADER_BYTES};
use lifeboat_postgres::wal_file::{Segment, WalFileName};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::SpoolKeys;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const LOCK: &str = "lock";
/// How far ahead a file is filled with zeros, so that a sync writes data and nothing else.
const AHEAD_BYTES: u64 = 4 << 20;

/// The journal of one cluster, open for writing. One at a time.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    cluster: ClusterIdentity,
    keys: SpoolKeys,
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
    seal: FileSeal,
    used_bytes: u64,
    filled_bytes: u64,
}

/// Where the journal of a cluster lies below a workload's spool.
pub(crate) fn directory(spool: &Path, workload: &str, system_id: SystemId) -> PathBuf {
    spool.join(workload).join(system_id.to_string())
}

impl Journal {
    /// Opens the journal, made when missing. Refused while another receiver writes it.
    pub(crate) fn open(spool: &Path, workload: &str, cluster: ClusterIdentity, keys: SpoolKeys) -> Result<Self> {
        let directory = directory(spool, workload, cluster.system_id);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(WalError::file("create", &directory))?;
        sync_upwards(&directory, 3)?;
        let path = directory.join(LOCK);
        let seat = only_one(&path)?.ok_or_else(|| WalError::JournalInUse { path: directory.clone() })?;
        Ok(Self { directory, cluster, keys, state: Mutex::default(), _seat: seat })
    }

    /// Where it lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The last position that is durable here, and its timeline; `None` when the journal is empty.
    pub(crate) fn end(&self) -> Result<Option<(TimelineId, Lsn)>> {
        let Some(last) = segments(&self.directory, self.cluster)?.pop() else { return Ok(None) };
        let file = read(&self.directory, self.cluster, last, &self.keys)?;
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
            None => {
                let begun = self.begin(segment, state.confirmed.filter(|confirmed| confirmed.0 == segment))?;
                state.confirmed = Some((segment, begun.end, begun.used_bytes));
                begun
            }
        };
        if writer.end != start {
            return Err(WalError::Internal(format!("journal of {segment:?} ends at {}, not at {start}", writer.end)));
        }
        let frame = writer.seal.frame(start, log)?;
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
            Ok(_) => Some(read(&self.directory, self.cluster, segment, &self.keys)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("look at")(error)),
        };
        let start = segment.start(self.cluster.segment_size);
        let (header, mut used_bytes, mut end) = match known {
            Some(JournalFile { header: Some(header), used_bytes, log, .. }) => {
                (header, used_bytes, start.saturating_add(log.len() as u64))
            }
            _ => (self.header(segment)?, 0, start),
        };
        if let Some((_, confirmed_end, confirmed_bytes)) = confirmed {
            if end < confirmed_end {
                return Err(WalError::SpoolFile { path, source: FormatError::Broken { at: used_bytes } });
            }
            (end, used_bytes) = (confirmed_end, confirmed_bytes);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed("open"))?;
        // What a crash left behind the end could look like a frame some day.
        file.set_len(used_bytes).map_err(failed("cut"))?;
        let used_bytes = used_bytes.max(HEADER_BYTES as u64);
        file.write_all_at(&header.encode(), 0).map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))?;
        sync_upwards(&self.directory, 1)?;
        let seal = header.seal(&self.keys)?;
        Ok(Writer { segment, end, file, path, seal, used_bytes, filled_bytes: used_bytes })
    }

    /// Of a new file: its salt, and so its key, is its own.
    fn header(&self, segment: Segment) -> Result<Header> {
        let ClusterIdentity { system_id, segment_size } = self.cluster;
        let (repository, salt) = (self.keys.repository(), SpoolKeys::new_salt()?);
        Ok(Header { system_id, segment_size, segment, repository, salt })
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

#[cfg(test)]
mod tests;
